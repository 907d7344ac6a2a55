"""From raw columns to numbers and ids, fitted on training rows, saved beside the model."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from operator import methodcaller
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from nextrec_like.data.arrow import ENCODED, check_columns
from nextrec_like.data.blocks import Block, ParquetBlocks, parquet_files
from nextrec_like.data.columns import (
    Column,
    IdColumn,
    NumericColumn,
    checked_columns,
    owners,
    text_columns,
)
from nextrec_like.data.fitting import NumericFit, VocabularyFit, check_column, column_fits
from nextrec_like.data.ids import Hashing, IdEncoder, IdMap, Vocabulary
from nextrec_like.data.numeric import BucketEncoder, ScaledEncoder
from nextrec_like.data.parallel import for_each
from nextrec_like.data.saved_processor import (
    FILE,
    FIX,
    FORMAT,
    read_columns,
    read_id_maps,
    read_numeric,
    read_processor,
    write_vocabularies,
)
from nextrec_like.data.sequences import SequenceEncoder
from nextrec_like.data.tables import TableLike, read_table
from nextrec_like.data.unknown import warn_if_unknown
from nextrec_like.errors import InputError, unknown, within
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.storage.atomic import write_text, writing
from nextrec_like.storage.paths import named_path


class Encoder(Protocol):
    """A fitted column."""

    def encode(self, array: pa.ChunkedArray) -> pa.ChunkedArray:
        """What the model reads, one entry per row."""

    def feature(self) -> DenseFeature | SparseFeature | SequenceFeature:
        """What the encoded column means."""


class DataProcessor:
    """Scales numbers and turns values into ids, by rules learned from the training rows.

    Args:
        columns: What to do with which column. Other columns, such as labels, are passed through.

    Raises:
        InputError: For duplicate names, a `vocabulary_of` that is no `IdColumn`, or a `query` that is no sparse
            feature.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = checked_columns(columns)
        self._numeric: dict[str, ScaledEncoder | BucketEncoder] = {}
        self._id_maps: dict[str, IdMap] = {}
        self._fingerprint: str | None = None

    @property
    def is_fitted(self) -> bool:
        return self._fingerprint is not None

    @property
    def fingerprint(self) -> str:
        """Says whether two fitted processors do the same."""
        self._check_fitted()
        assert self._fingerprint is not None
        return self._fingerprint

    def read(self, data: TableLike) -> pa.Table:
        """The data as an Arrow table with all its columns; from CSV files ids are read as text, as `00501`."""
        return read_table(data, text=text_columns(self.columns))

    def check(self, data: TableLike) -> None:
        """Raises for a row that `fit` would refuse. Before a table is split, so that the error names the row in it.

        Needs no `fit`. A table that is encoded already has no raw columns to check.

        Raises:
            InputError: For a missing column, or a value that a column cannot hold.
        """
        for block in self._blocks(data):
            if is_encoded(block.table):
                return
            with within(block.place):
                for_each(partial(check_column, block.table), self.columns, block.table.num_rows)

    def fit(self, data: TableLike) -> "DataProcessor":
        """Learns scales and vocabularies. Give training rows only: others would leak into the model.

        Parquet files are read in one pass, and only a block of them is in memory at a time. The result is the same
        as from a table in memory. See `QuantileSketch` and `ValueCounts` for what that costs in exactness.

        Args:
            data: What `read_table` takes.

        Returns:
            The processor itself.

        Raises:
            InputError: For a missing column, a value that a column cannot hold, or data that is encoded already.
        """
        numeric, ids = column_fits(self.columns)
        num_rows = self._learn(data, [*numeric.values(), *ids.values()])
        vocabularies = for_each(VocabularyFit.finish, list(ids.values()), num_rows)
        for fit in ids.values():
            fit.warn_of_error()
        hashed = {column.name: Hashing(column.hash_size) for column in owners(self.columns) if column.hash_size}
        self._set({name: fit.finish() for name, fit in numeric.items()}, {**dict(zip(ids, vocabularies)), **hashed})
        return self

    def transform(self, data: TableLike) -> pa.Table:
        """The table with each column replaced by its encoded form: float32, int64 ids, or lists of int64 ids.

        The result is marked in its schema metadata. A table that this processor has encoded is returned as it is.

        Raises:
            InputError: Before `fit`; for a missing column, a value that a column cannot hold, or a table that another
                processor has encoded.
        """
        fingerprint = self.fingerprint.encode()
        table = self.read(data)
        mark = _mark(table)
        if mark == fingerprint:
            return table
        if mark is not None:
            raise InputError("The table was encoded by another processor; give the raw table, or that processor.")
        check_columns(table.column_names, [column.name for column in self.columns])
        raw = [(encoder, table[column.name]) for column, encoder in zip(self.columns, self._encoders())]
        encoded = for_each(lambda each: each[0].encode(each[1]), raw, table.num_rows)
        for column, ids in zip(self.columns, encoded):
            warn_if_unknown(column, table[column.name], ids)
            table = table.set_column(table.schema.get_field_index(column.name), column.name, ids)
        return table.replace_schema_metadata({**(table.schema.metadata or {}), ENCODED: fingerprint})

    def fit_transform(self, data: TableLike) -> pa.Table:
        """`fit`, then `transform` of the same rows."""
        table = self.read(data)
        return self.fit(table).transform(table)

    def features(self) -> dict[str, list[Any]]:
        """The features of an encoded table, as the keyword arguments of a model.

        Returns:
            Lists under ``dense_features``, ``sparse_features`` and ``sequence_features``.
        """
        self._check_fitted()
        kinds = {DenseFeature: "dense_features", SparseFeature: "sparse_features", SequenceFeature: "sequence_features"}
        features: dict[str, list[Any]] = {word: [] for word in kinds.values()}
        for encoder in self._encoders():
            feature = encoder.feature()
            features[kinds[type(feature)]].append(feature)
        return features

    def vocab_size(self, name: str) -> int:
        """Number of ids of a column, padding and missing included."""
        feature = self._encoder(name).feature()
        if isinstance(feature, DenseFeature):
            raise InputError(f"Column `{name}` holds numbers and has no ids.")
        return feature.vocab_size

    def vocabulary(self, name: str) -> pa.Array:
        """Known values of a column in the order of their ids, the first of which is 2."""
        id_map = getattr(self._encoder(name), "id_map", None)
        if not isinstance(id_map, Vocabulary):
            raise InputError(f"Column `{name}` has no vocabulary: it holds numbers, buckets or hashed ids.")
        return id_map.values

    def save(self, folder: str | Path) -> None:
        """Writes the fitted processor: JSON, and a parquet file for each vocabulary."""
        self._check_fitted()
        path = named_path("`folder`", folder)
        content = {"format": FORMAT, "fingerprint": self._fingerprint, **self._description()}
        with writing("The processor", path):
            path.mkdir(parents=True, exist_ok=True)
            write_vocabularies(path, self._vocabularies())
            write_text(path / FILE, json.dumps(content, indent=2, default=float))

    @classmethod
    def load(cls, folder: str | Path) -> "DataProcessor":
        """Reads what `save` has written.

        Raises:
            InputError: If a file is missing, damaged, of an unknown format, or does not belong to the others.
        """
        path = named_path("`folder`", folder)
        with within(f"In the processor saved in '{path}': "):
            saved = read_processor(path)
            processor = cls(read_columns(saved))
            processor._set(read_numeric(saved, processor.columns), read_id_maps(path, processor.columns))
            if processor.fingerprint != saved.fingerprint:
                raise InputError(f"its files do not belong together, or one was changed; {FIX}.")
        return processor

    def _blocks(self, data: TableLike) -> Iterator[Block]:
        """The raw rows: parquet files in blocks, anything else as one block."""
        names = [column.name for column in self.columns]
        files = parquet_files(data)
        if files is None:
            yield Block(read_table(data, names, text=text_columns(self.columns)), place="")
        else:
            yield from ParquetBlocks(files, names).blocks()

    def _learn(self, data: TableLike, fits: Sequence[NumericFit | VocabularyFit]) -> int:
        """Gives all rows to all fits, and returns their number."""
        num_rows = 0
        for block in self._blocks(data):
            if is_encoded(block.table):
                raise InputError("The table is encoded already; fit the processor on the raw training rows.")
            with within(block.place):
                for_each(methodcaller("add", block.table), fits, block.table.num_rows)
            num_rows += block.table.num_rows
        return num_rows

    def _set(self, numeric: dict[str, ScaledEncoder | BucketEncoder], id_maps: dict[str, IdMap]) -> None:
        self._numeric, self._id_maps = numeric, id_maps
        digest = blake2b(json.dumps(self._description(), default=float).encode(), digest_size=16)
        for position, vocabulary in self._vocabularies().items():
            digest.update(f"{position} ".encode())
            for part in vocabulary.content():
                digest.update(part)
        self._fingerprint = digest.hexdigest()

    def _description(self) -> dict[str, Any]:
        specs = [{"kind": type(column).__name__, **asdict(column)} for column in self.columns]
        return {"columns": specs, "numeric": {name: encoder.state() for name, encoder in self._numeric.items()}}

    def _vocabularies(self) -> dict[int, Vocabulary]:
        maps = [(position, self._id_maps.get(column.name)) for position, column in enumerate(self.columns)]
        return {position: id_map for position, id_map in maps if isinstance(id_map, Vocabulary)}

    def _encoders(self) -> list[Encoder]:
        return [self._encoder(column.name) for column in self.columns]

    def _encoder(self, name: str) -> Encoder:
        self._check_fitted()
        by_name = {column.name: column for column in self.columns}
        if name not in by_name:
            raise unknown("column", name, by_name)
        column = by_name[name]
        if isinstance(column, NumericColumn):
            return self._numeric[name]
        if isinstance(column, IdColumn):
            return IdEncoder(column, self._id_maps[name])
        owner = by_name[column.vocabulary_of or name]
        return SequenceEncoder(column, self._id_maps[owner.name], owner if isinstance(owner, IdColumn) else None)

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise InputError("The processor is not fitted; call `fit` with the training rows first.")


def is_encoded(table: object) -> bool:
    """Whether a processor has encoded this table."""
    return isinstance(table, pa.Table) and _mark(table) is not None


def _mark(table: pa.Table) -> bytes | None:
    return (table.schema.metadata or {}).get(ENCODED)
