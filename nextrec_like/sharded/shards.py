"""Parts of embedding tables: their initial values, and their files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextrec_like.errors import InputError
from nextrec_like.layers.embedding import INITIAL_STD
from nextrec_like.storage.reading import inside
from nextrec_like.storage.tensors import write_tensors

DRAWN_ROWS = 2**16
"""Rows that are drawn together, from a seed of their own."""
NAME = re.compile(r"(.+)/(\w+)/(\d{1,18})-(\d{1,18})/(\d{1,18})-(\d{1,18})", re.DOTALL)
WEIGHT, SUM, BEST = "weight", "sum", "best"
"""What a shard is a part of: the table, the sums of Adagrad, the table at the end of the best epoch."""


@dataclass(frozen=True)
class Shard:
    """A part of a table, or of what belongs to it.

    Attributes:
        table: Name of the table: the `embedding_name` of its features.
        slot: ``weight``, ``sum`` or ``best``.
        row: Its first row in the table.
        column: Its first column.
        values: Float32, shape ``(R, C)``.
    """

    table: str
    slot: str
    row: int
    column: int
    values: Tensor

    @property
    def rows(self) -> range:
        """Its rows in the table."""
        return range(self.row, self.row + self.values.shape[0])

    @property
    def columns(self) -> range:
        """Its columns."""
        return range(self.column, self.column + self.values.shape[1])

    @property
    def name(self) -> str:
        """As which it stands in a file."""
        rows, columns = self.rows, self.columns
        return f"{self.table}/{self.slot}/{rows.start}-{rows.stop}/{columns.start}-{columns.stop}"


def draw(shard: Shard, dim: int, seed: int, *, padding: bool) -> None:
    """Fills a shard with small random numbers, the same however the table is cut.

    Args:
        shard: The shard.
        dim: Width of the table.
        seed: The seed.
        padding: Whether row 0 is the padding of sequences, which is zero.
    """
    first = shard.row - shard.row % DRAWN_ROWS
    for start in range(first, shard.rows.stop, DRAWN_ROWS):
        key = np.random.SeedSequence([seed, start, *shard.table.encode()]).generate_state(1, np.uint64)[0]
        drawn = torch.empty(DRAWN_ROWS, dim).normal_(std=INITIAL_STD, generator=torch.Generator().manual_seed(int(key)))
        if padding and start == 0:
            drawn[0] = 0
        _copy_overlap(Shard(shard.table, shard.slot, start, 0, drawn), shard)


def write_shards(file: Path, shards: Sequence[Shard]) -> None:
    """Writes the shards of a process.

    Raises:
        OSError: If the file cannot be written.
    """
    write_tensors(file, {shard.name: shard.values.contiguous() for shard in shards})


def read_shards(folder: Path, shards: Sequence[Shard], fix: str) -> None:
    """Fills shards from the files in a folder, whose shards may be cut in other ways; reads nothing else of them.

    Args:
        folder: With one file from each process.
        shards: What to fill.
        fix: What the user can do about files that are not as they should be.

    Raises:
        InputError: If a file is damaged, or some numbers of a shard are in none.
    """
    for shard in shards:
        shard.values.fill_(nan)
    for file in sorted(folder.glob("*.safetensors")):
        path = inside(folder, file.name, fix)
        try:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no dict
                    _read(opened, name, shards)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise InputError(f"File `{path}` could not be read: {error}; {fix}.") from error
    for shard in shards:
        if shard.values.isnan().any():
            raise InputError(f"The files in `{folder}` lack numbers of `{shard.name}`; {fix}.")


def read_table(folder: Path, table: str, num_rows: int, dim: int, fix: str) -> Tensor:
    """A whole table from shards, shape ``(V, H)``; see `read_shards`."""
    whole = Shard(table, WEIGHT, 0, 0, torch.empty(num_rows, dim))
    read_shards(folder, [whole], fix)
    return whole.values


def _read(opened: "safe_open", name: str, shards: Sequence[Shard]) -> None:
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"`{name[:100]}` names no part of a table")
    first_row, row_stop, first_column, column_stop = map(int, match.groups()[2:])
    part = opened.get_slice(name)
    if part.get_shape() != [row_stop - first_row, column_stop - first_column] or part.get_dtype() != "F32":
        raise ValueError(f"`{name[:100]}` has another shape or type than its name says")
    for shard in shards:
        if (shard.table, shard.slot) == match.groups()[:2]:
            rows = _overlap(shard.rows, range(first_row, row_stop))
            columns = _overlap(shard.columns, range(first_column, column_stop))
            if rows and columns:
                values = part[rows.start - first_row : rows.stop - first_row]
                values = values[:, columns.start - first_column : columns.stop - first_column]
                _copy_overlap(Shard(shard.table, shard.slot, rows.start, columns.start, values), shard)


def copy_shards(source: Sequence[Shard], target: Sequence[Shard]) -> None:
    """Copies what each two have in common."""
    for one in source:
        for other in target:
            if (one.table, one.slot) == (other.table, other.slot):
                _copy_overlap(one, other)


def _copy_overlap(source: Shard, target: Shard) -> None:
    rows, columns = _overlap(source.rows, target.rows), _overlap(source.columns, target.columns)
    if rows and columns:
        target.values[_within(rows, target.rows), _within(columns, target.columns)] = source.values[
            _within(rows, source.rows), _within(columns, source.columns)
        ]


def _overlap(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


def _within(part: range, whole: range) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
