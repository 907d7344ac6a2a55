"""Rows in files, in groups that are read independently of each other, piece by piece."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nextrec_like.data.packed import PackedData


class RowGroups(Protocol):
    """Packed rows in files, in groups that are read independently: `ParquetRows` or `CachedRows`."""

    @property
    def sizes(self) -> list[int]:
        """Rows of each group."""

    @property
    def fingerprint(self) -> str:
        """A digest of the footers of the parquet files."""

    def read(self, group: int, start: int, piece_rows: int, full: bool = False) -> Iterator[PackedData]:
        """The rows of a group from `start`, a multiple of `piece_rows`, on; `full` with what only metrics need."""

    def labels(self, piece_rows: int) -> Iterator[np.ndarray]:
        """The labels of all rows in order, float64, shape ``(n, T)``."""


@dataclass(frozen=True)
class Window:
    """Rows that are in memory together, of which the first `used` are left out: an epoch may begin anywhere."""

    rows: PackedData
    used: int

    def rest(self) -> PackedData:
        """The rows that are not left out."""
        return self.rows.slice(self.used, len(self.rows)) if self.used else self.rows


@dataclass(frozen=True)
class Span:
    """Rows ``start:stop`` of a group."""

    group: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def spans_of(sizes: Sequence[int], order: Sequence[int], start: int, stop: int) -> list[Span]:
    """Rows ``start:stop`` of groups of these sizes, put one after another in this order."""
    spans, before = [], 0
    for group in order:
        first, last = max(start - before, 0), min(stop - before, sizes[group])
        if first < last:
            spans.append(Span(group, first, last))
        before += sizes[group]
    return spans


def read_pieces(
    source: RowGroups, spans: Sequence[Span], piece_rows: int, num_open: int = 1, skip: int = 0, full: bool = False
) -> Generator[Window, None, None]:
    """The rows of all spans piece by piece, from the piece of row `skip` on.

    Args:
        source: The files.
        spans: At most one of each group.
        piece_rows: Largest number of rows of a piece.
        num_open: Spans that are read in turn.
        skip: Rows to leave out.
        full: As for `RowGroups.read`.
    """
    readers: dict[int, Iterator[PackedData]] = {}
    for piece, is_last in _in_turn(spans, num_open, piece_rows):
        if skip >= len(piece):
            skip -= len(piece)
            continue
        before = piece.start % piece_rows  # rows that are read, but belong to no span
        if piece.group not in readers:
            readers[piece.group] = source.read(piece.group, piece.start - before, piece_rows, full)
        packed = next(readers[piece.group])
        if is_last:
            del readers[piece.group]
        yield Window(packed.slice(before, before + len(piece)), skip)
        skip = 0


def _in_turn(spans: Sequence[Span], num_open: int, piece_rows: int) -> Iterator[tuple[Span, bool]]:
    """One piece of each open span in turn, where the next span takes the place of a read one.

    Pieces end at multiples of `piece_rows`, and with their span; the second value says that they do that.
    """
    waiting = deque(spans)
    turns = deque(waiting.popleft() for _ in range(min(num_open, len(waiting))))
    while turns:
        span = turns.popleft()
        stop = min(span.start - span.start % piece_rows + piece_rows, span.stop)
        yield Span(span.group, span.start, stop), stop == span.stop
        if stop < span.stop:
            turns.append(Span(span.group, stop, span.stop))
        elif waiting:
            turns.append(waiting.popleft())
