"""Rows that are read from files whenever they are needed, because they may not fit in memory."""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np
import torch

from nextrec_like.batch import Batch
from nextrec_like.data.blocks import BLOCK_ROWS
from nextrec_like.data.digest import digest_of
from nextrec_like.data.packed import PackedData, join
from nextrec_like.data.prefetch import on_device, prefetched
from nextrec_like.data.recut import part_lengths, recut
from nextrec_like.errors import InputError
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

SHUFFLE_ROWS = 2**19
FEWEST_SHUFFLE_ROWS = 2**13
SHUFFLE_BYTES = 2**27
"""Of a window, of which a few are in memory at a time."""
OPEN_GROUPS = 4
"""Row groups that a shuffled epoch reads in turn."""
WINDOW_PIECES = 8
"""Turns that fill a window."""
PIECE_ROWS = SHUFFLE_ROWS // WINDOW_PIECES
SPREAD_GROUPS = 32
"""Row groups that a sample of all rows comes from, if these have enough rows."""


def row_bytes(features: FeatureSet, tasks: TaskSet | None) -> int:
    """Bytes of a packed row, whose labels are kept as float32 and as float64; without them if there are no tasks."""
    return 8 * features.num_id_columns + 4 * features.dense_dim + 12 * len(tasks or ())


def window_rows(features: FeatureSet, tasks: TaskSet | None) -> int:
    """Rows to shuffle together: fewer where they are wide, so that a window has a bounded size."""
    return min(SHUFFLE_ROWS, max(FEWEST_SHUFFLE_ROWS, SHUFFLE_BYTES // row_bytes(features, tasks)))


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


class StreamedData:
    """Rows in files, of which a few windows are in memory at a time.

    A shuffled epoch reads row groups in random order, four of them in turn, and shuffles each window of
    `shuffle_rows` rows. The order follows from the seed, the sizes of the row groups and `shuffle_rows` alone. Rows
    that lie in the same order as something they should not follow, such as time, are mixed better by more and
    smaller row groups.

    Args:
        source: The files.
        shuffle_rows: Rows that are shuffled together; see `window_rows`.
    """

    def __init__(self, source: RowGroups, shuffle_rows: int = SHUFFLE_ROWS) -> None:
        self.source, self.shuffle_rows = source, shuffle_rows
        self._piece_rows = min(PIECE_ROWS, max(1, shuffle_rows // WINDOW_PIECES))
        self._sizes = source.sizes
        self._window: PackedData | None = None

    def __len__(self) -> int:
        return sum(self._sizes)

    @property
    def order(self) -> str:
        """The sizes of the windows and of the row groups."""
        digest = blake2b(repr(self._sizes).encode(), digest_size=8).hexdigest()
        return f"streamed in windows of {self.shuffle_rows} from {len(self._sizes)} row groups {digest}"

    def fingerprint(self) -> dict[str, str]:
        """Digests of the labels, and of what the files say of their columns: sizes, encodings, extremes."""
        labels = f"{len(self)} rows, {digest_of(self.label_blocks())}"
        return {"labels": labels, "files": self.source.fingerprint}

    def blocks(self) -> Iterator[PackedData]:
        """All rows in order, in blocks of `BLOCK_ROWS`."""
        pieces = prefetched(self._pieces(range(len(self._sizes)), full=True))
        return recut((piece.rest() for piece in pieces), part_lengths(len(self), BLOCK_ROWS), PackedData.slice, join)

    def label_blocks(self) -> Iterator[np.ndarray]:
        """The labels in order, at most `BLOCK_ROWS` at a time, float64, shape ``(n, T)``."""
        lengths = part_lengths(len(self), BLOCK_ROWS)
        return recut(self.source.labels(PIECE_ROWS), lengths, lambda rows, a, b: rows[a:b], np.concatenate)

    def batches(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None, start: int = 0
    ) -> Generator[Batch, None, None]:
        """As `PackedData.batches`, with the order of this class; a background thread reads the next window.

        Batches that are left out at the start are not packed, and of row groups before them nothing is read.
        """
        return on_device(self._batches(batch_size, generator, start), device)

    def sample(self, num_rows: int, device: torch.device, generator: torch.Generator) -> Batch:
        """A batch of rows drawn independently of each other, but only from the window of the present batch."""
        window = next(self._windows(None, 0)).rows if self._window is None else self._window
        return window.sample(num_rows, device, generator)

    def spread(self, num_rows: int) -> list[PackedData]:
        """The first rows of `SPREAD_GROUPS` or more row groups that lie evenly, so that little else is read."""
        groups = [group for group, size in enumerate(self._sizes) if size]
        needed = max(SPREAD_GROUPS, math.ceil(num_rows * len(groups) / len(self)))
        if needed < len(groups):
            groups = [groups[index * len(groups) // needed] for index in range(needed)]
        of_each = max(self._sizes) if num_rows >= len(self) else math.ceil(num_rows / len(groups))
        return [next(self.source.read(group, 0, of_each, full=True)) for group in groups]

    def on(self, device: torch.device, device_data: bool | str = "auto") -> "StreamedData":
        """The rows stay in their files.

        Raises:
            InputError: If they have to be on a GPU.
        """
        if device.type == "cuda" and device_data is True:
            raise InputError("Streamed rows are not kept on the device; give `streaming=False`, or no `device_data`.")
        return self

    def _batches(self, batch_size: int, generator: torch.Generator | None, start: int) -> Generator[Batch, None, None]:
        seed = None if generator is None else int(torch.randint(2**63 - 1, (), generator=generator))
        windows = self._noted(prefetched(self._windows(seed, start * batch_size)))
        lengths = part_lengths(len(self), batch_size)[start:]
        for part in recut(windows, lengths, PackedData.slice, join):
            yield part.rows

    def _noted(self, windows: Iterator["_Window"]) -> Iterator[PackedData]:
        for window in windows:
            self._window = window.rows
            yield window.rest()

    def _windows(self, seed: int | None, skip: int) -> Generator["_Window", None, None]:
        """The rows of an epoch in their order from the window of row `skip` on; without a seed as in the files."""
        if seed is None:
            yield from self._pieces(range(len(self._sizes)), skip=skip)
            return
        first, skip = divmod(skip, self.shuffle_rows)
        order = np.random.default_rng(seed).permutation(len(self._sizes)).tolist()
        pieces = self._pieces(order, num_open=OPEN_GROUPS, skip=first * self.shuffle_rows)
        lengths = [min(self.shuffle_rows, len(self) - start) for start in range(0, len(self), self.shuffle_rows)]
        rows = (piece.rest() for piece in pieces)
        for number, window in enumerate(recut(rows, lengths[first:], PackedData.slice, join), first):
            # A seed for each window, because an epoch may begin at any of them.
            place = np.random.default_rng([seed, number]).permutation(len(window))
            yield _Window(window.take(place), skip)
            skip = 0

    def _pieces(
        self, order: Sequence[int], num_open: int = 1, skip: int = 0, full: bool = False
    ) -> Generator["_Window", None, None]:
        """The rows of all row groups piece by piece, from the piece of row `skip` on."""
        readers: dict[int, Iterator[PackedData]] = {}
        for piece in _in_turn(self._sizes, order, num_open, self._piece_rows):
            if skip >= piece.stop - piece.start:
                skip -= piece.stop - piece.start
                continue
            if piece.group not in readers:
                readers[piece.group] = self.source.read(piece.group, piece.start, self._piece_rows, full)
            packed = next(readers[piece.group])
            if piece.is_last:
                del readers[piece.group]
            yield _Window(packed, skip)
            skip = 0


@dataclass(frozen=True)
class _Window:
    """Rows that are in memory together, of which the first `used` are left out: an epoch may begin anywhere."""

    rows: PackedData
    used: int

    def rest(self) -> PackedData:
        return self.rows.slice(self.used, len(self.rows)) if self.used else self.rows


@dataclass(frozen=True)
class _Piece:
    group: int
    start: int
    stop: int
    is_last: bool


def _in_turn(sizes: Sequence[int], order: Sequence[int], num_open: int, piece_rows: int) -> Iterator[_Piece]:
    """All pieces of all groups: one of each open group in turn, where the next group takes the place of a read one."""
    waiting = deque(group for group in order if sizes[group])
    turns = deque((waiting.popleft(), 0) for _ in range(min(num_open, len(waiting))))
    while turns:
        group, start = turns.popleft()
        stop = min(start + piece_rows, sizes[group])
        yield _Piece(group, start, stop, is_last=stop == sizes[group])
        if stop < sizes[group]:
            turns.append((group, stop))
        elif waiting:
            turns.append((waiting.popleft(), 0))
