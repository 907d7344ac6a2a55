"""What is in the folder of a saved processor: JSON, and a parquet file for each vocabulary."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from nextrec_like.data.columns import COLUMNS, Column, NumericColumn, checked_columns, owners
from nextrec_like.data.ids import Hashing, IdMap, Vocabulary
from nextrec_like.data.numeric import NUMERIC_ENCODERS, BucketEncoder, ScaledEncoder
from nextrec_like.errors import InputError
from nextrec_like.storage.atomic import whole
from nextrec_like.storage.reading import inside, read_description
from nextrec_like.storage.records import build

FORMAT = 2
FILE = "processor.json"
FIX = "save the processor again"
KINDS = (pa.int64(), pa.large_string(), pa.null())
MAX_VALUES = 20_000_000
"""Values of a vocabulary, as `VocabularyFit` learns them."""
MAX_RATIO = 50
"""Bytes of the content per byte of the file; Snappy saves at most about 95 %."""


@dataclass(frozen=True)
class SavedProcessor:
    """The content of ``processor.json``.

    Attributes:
        format: `FORMAT`.
        fingerprint: That of the fitted processor.
        columns: Fields of each column, and its class as ``kind``.
        numeric: What each numeric column has learned.
    """

    format: int
    fingerprint: str
    columns: list[dict[str, Any]]
    numeric: dict[str, dict[str, Any]]


def read_processor(folder: Path) -> SavedProcessor:
    """The description in the folder of a processor.

    Raises:
        InputError: If it is missing, damaged or of another format.
    """
    return build(SavedProcessor, read_description(folder, FILE, FORMAT, FIX), "the processor")


def read_columns(saved: SavedProcessor) -> tuple[Column, ...]:
    """The columns of a saved processor."""
    columns: list[Column] = []
    for position, spec in enumerate(saved.columns):
        place = f"column {position} of the processor"
        if spec.get("kind") not in list(COLUMNS):
            raise InputError(f"`kind` of {place} should be one of {', '.join(COLUMNS)}. Received {spec.get('kind')!r}.")
        columns.append(build(COLUMNS[spec["kind"]], {key: spec[key] for key in spec if key != "kind"}, place))
    return checked_columns(columns)


def read_numeric(saved: SavedProcessor, columns: tuple[Column, ...]) -> dict[str, ScaledEncoder | BucketEncoder]:
    """What each numeric column of a saved processor has learned."""
    encoders: dict[str, ScaledEncoder | BucketEncoder] = {}
    for column in columns:
        if isinstance(column, NumericColumn):
            state = {**saved.numeric.get(column.name, {}), "column": asdict(column)}
            encoders[column.name] = build(NUMERIC_ENCODERS[column.scaling], state, f"numeric column `{column.name}`")
    return encoders


def read_id_maps(folder: Path, columns: tuple[Column, ...]) -> dict[str, IdMap]:
    """The vocabularies and hashes of a saved processor by column."""
    return {
        column.name: Hashing(column.hash_size)
        if column.hash_size
        else _read_vocabulary(inside(folder, vocabulary_file(columns.index(column)), FIX))
        for column in owners(columns)
    }


def write_vocabularies(folder: Path, vocabularies: Mapping[int, Vocabulary]) -> None:
    """Writes a file for each vocabulary, by the position of its column."""
    for position, vocabulary in vocabularies.items():
        with whole(folder / vocabulary_file(position)) as part:
            pyarrow.parquet.write_table(pa.table({"value": vocabulary.values}), part)


def vocabulary_file(position: int) -> str:
    """Name of a file: by position, because a column name may hold characters that lead out of the folder."""
    return f"vocabulary_{position}.parquet"


def _read_vocabulary(file: Path) -> Vocabulary:
    """The vocabulary in a file, which may be crafted to be far larger in memory."""
    try:
        schema = pyarrow.parquet.read_schema(file)
        if schema.names != ["value"] or schema.types[0] not in KINDS:
            raise InputError(f"File `{file}` should have one column `value` of texts or integers; {FIX}.")
        with pyarrow.parquet.ParquetFile(file, read_dictionary=["value"]) as parquet:  # a text is then kept once
            _check_size(file, parquet.metadata)
            values = parquet.read()["value"]
            values.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"File `{file}` could not be read: {error}; {FIX}.") from error
    if values.null_count:
        raise InputError(f"File `{file}` has a missing value; {FIX}.")
    if pa.types.is_dictionary(values.type):
        _check_distinct(file, values)
        values = values.cast(pa.large_string())
    return Vocabulary(values.combine_chunks())


def _check_size(file: Path, metadata: pyarrow.parquet.FileMetaData) -> None:
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if metadata.num_rows > MAX_VALUES or size > MAX_RATIO * file.stat().st_size:
        raise InputError(f"File `{file}` has {metadata.num_rows:,} values in {size:,} bytes, too many; {FIX}.")


def _check_distinct(file: Path, values: pa.ChunkedArray) -> None:
    """Raises for a text that is there again: it takes no space in the file, and in memory it may take any."""
    for chunk in values.chunks:
        seen = np.zeros(len(chunk.dictionary), bool)
        seen[chunk.indices.to_numpy()] = True
        if seen.sum() != len(chunk):
            raise InputError(f"File `{file}` has a value twice; {FIX}.")
