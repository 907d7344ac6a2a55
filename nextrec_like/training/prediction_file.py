"""Predictions as a parquet file, written block by block."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextrec_like.errors import InputError
from nextrec_like.output import whole

Blocks: TypeAlias = Iterable[tuple[Mapping[str, np.ndarray], pa.Table | None]]


def checked_output(output: str | Path) -> Path:
    """The file to write.

    Raises:
        InputError: If it is no parquet file, or its folder is not there.
    """
    file = Path(output).expanduser()
    if file.suffix.lower() != ".parquet":
        raise InputError(f"`output` should be a .parquet file. Received '{output}'.")
    if not file.parent.is_dir():
        raise InputError(f"`output` is '{output}', but there is no folder '{file.parent}'; make it first.")
    return file


def write_predictions(file: Path, names: Sequence[str], blocks: Blocks) -> None:
    """Writes columns that are kept, then predictions; the file is complete or as it was.

    Args:
        file: What to write.
        names: Names of the predictions; a kept column with one of them is renamed to ``<name>_label``.
        blocks: Predictions by name, and the kept columns of the same rows, if any.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        with whole(file) as part:
            _write(part, names, blocks)
    except OSError as error:
        raise InputError(f"`output` '{file}' cannot be written: {error}.") from error


def _write(file: Path, names: Sequence[str], blocks: Blocks) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for predictions, kept in blocks:
            table = _joined(names, predictions, kept)
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _joined(names: Sequence[str], predictions: Mapping[str, np.ndarray], kept: pa.Table | None) -> pa.Table:
    table = pa.table({name: predictions[name] for name in names})
    if kept is None:
        return table
    renamed = [f"{name}_label" if name in names else name for name in kept.column_names]
    fields = [field.with_name(name) for field, name in zip(kept.schema, renamed)]
    return pa.table([*kept.columns, *table.columns], pa.schema([*fields, *table.schema]))
