"""Parquet files of any size, read in blocks that fit in memory."""

import os
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nextrec_like.data.arrow import check_columns, check_unique
from nextrec_like.data.files import files_at, files_error
from nextrec_like.data.schemas import as_joined, joined_schema
from nextrec_like.data.tables import without_pandas_index
from nextrec_like.errors import InputError, within

BLOCK_ROWS = 262_144
READING = {"buffer_size": 2**18, "pre_buffer": False, "page_checksum_verification": True}
"""Options of pyarrow: without a buffer, or with one filled in advance, it reads row groups whole, however large."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file.

    Attributes:
        file: Number of the file.
        index: Number of the row group in the file.
        num_rows: Its rows.
    """

    file: int
    index: int
    num_rows: int


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a row group.

    Attributes:
        table: The rows.
        place: Where they are, to be put before messages by `errors.within`.
    """

    table: pa.Table
    place: str


class ParquetBlocks:
    """The rows of parquet files, of which only a block is in memory at a time.

    The files are opened once, to compare their columns and count their rows, and must not change afterwards.

    Args:
        files: Parquet files with equal columns, whose types are joined as by `read_table`.
        columns: Names to read, in this order; by default all.
        block_rows: Largest number of rows of a block; a larger row group is read in pieces.

    Raises:
        InputError: For a file that cannot be read, a column that is not there, columns that differ between files, or
            no rows at all.
    """

    def __init__(
        self, files: Sequence[Path], columns: Sequence[str] | None = None, block_rows: int = BLOCK_ROWS
    ) -> None:
        if not files:
            raise InputError("The list of files is empty; give at least one path.")
        self.files, self.block_rows = list(files), block_rows
        self._identities = [identity(file) for file in self.files]
        self._footers = [_footer(file) for file in self.files]
        self.schema = _joined_schema(self.files, [footer.schema.to_arrow_schema() for footer in self._footers], columns)
        self.row_groups = [
            RowGroup(file, index, footer.row_group(index).num_rows)
            for file, footer in enumerate(self._footers)
            for index in range(footer.num_row_groups)
        ]
        self.num_rows = sum(group.num_rows for group in self.row_groups)
        if self.num_rows == 0:
            raise InputError(f"File `{self.files[0]}`{_others(self.files)} has no rows; give at least one row.")

    def select(self, columns: Sequence[str]) -> "ParquetBlocks":
        """The same rows with some of the columns."""
        fewer = copy(self)
        fewer.schema = pa.schema([self.schema.field(name) for name in columns], self.schema.metadata)
        return fewer

    def fingerprint(self) -> str:
        """A digest of the footers: rows, encodings, compressed sizes and extremes of all columns of all row groups."""
        digest = sha256()
        for footer in self._footers:
            written = pa.BufferOutputStream()
            footer.write_metadata_file(written)
            digest.update(written.getvalue())
        return digest.hexdigest()[:16]

    def tables(self) -> Iterator[pa.Table]:
        """All rows in order, at most `block_rows` a table."""
        for block in self.blocks():
            yield block.table

    def blocks(self) -> Iterator[Block]:
        """All rows in order, with the place of each block."""
        for group in self.row_groups:
            yield from self.read(group)

    def read(self, group: RowGroup, block_rows: int | None = None) -> Iterator[Block]:
        """The rows of a row group in pieces.

        Args:
            group: One of `row_groups`.
            block_rows: Largest number of rows of a piece; by default that of the constructor.

        Raises:
            InputError: If the file is damaged, gone, or not the one that was opened first, or has a value that the
                joined type of its column cannot hold.
        """
        place, start = f"In row group {group.index} of `{self.files[group.file]}`", 0
        for batch in self._batches(group, block_rows or self.block_rows):
            where = f"{place}, rows counted from its row {start:,}: " if start else f"{place}: "
            # Names are matched by prefix up to a dot, so `a` brings along a column `a.b`, which is left out here.
            with within(where):
                table = as_joined(pa.Table.from_batches([batch]), self.schema)
            yield Block(table, where)
            start += table.num_rows
        if start != group.num_rows:
            raise InputError(f"{place}: {start:,} rows of {group.num_rows:,} could be read; the file is damaged.")

    def _batches(self, group: RowGroup, block_rows: int) -> Iterator[pa.RecordBatch]:
        file = self.files[group.file]
        with within(f"In row group {group.index}: "):
            self._check_unchanged(group)
            try:
                with pq.ParquetFile(file, metadata=self._footers[group.file], **READING) as parquet:
                    for batch in parquet.iter_batches(
                        block_rows, row_groups=[group.index], columns=self.schema.names, use_threads=False
                    ):
                        self._check_unchanged(group)  # a file that is written in place may still decode
                        yield batch
            except (pa.ArrowException, OSError) as error:
                raise files_error(file, error) from error

    def _check_unchanged(self, group: RowGroup) -> None:
        file = self.files[group.file]
        if identity(file) != self._identities[group.file]:
            raise InputError(f"File `{file}` has changed since its rows were counted; start again.")


def parquet_files(data: object) -> list[Path] | None:
    """The parquet files that a path, a folder or a list of them names; None for any other kind of table.

    Raises:
        InputError: If a path does not exist, or a folder has nothing to read.
    """
    paths = [data] if isinstance(data, str | os.PathLike) else data
    if not isinstance(paths, list | tuple) or not all(isinstance(path, str | os.PathLike) for path in paths):
        return None
    files = [file for path in paths for file in files_at(Path(path))]
    return files if files and all(file.name.lower().endswith(".parquet") for file in files) else None


def identity(file: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, in nanoseconds.

    Raises:
        InputError: If the file is not there.
    """
    try:
        state = file.stat()
    except OSError as error:
        raise files_error(file, error) from error
    return state.st_size, state.st_mtime_ns


def _footer(file: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise files_error(file, error) from error


def _joined_schema(files: list[Path], schemas: list[pa.Schema], columns: Sequence[str] | None) -> pa.Schema:
    if columns is not None:
        schemas = [_chosen(schema, list(dict.fromkeys(columns))) for schema in schemas]
    return without_pandas_index(joined_schema(files, schemas).empty_table()).schema


def _chosen(schema: pa.Schema, names: list[str]) -> pa.Schema:
    check_unique(schema.names)
    check_columns(schema.names, names)
    return pa.schema([schema.field(name) for name in names], schema.metadata)


def _others(files: list[Path]) -> str:
    return f" (and {len(files) - 1} more)" if len(files) > 1 else ""
