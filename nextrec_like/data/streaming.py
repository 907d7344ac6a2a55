"""Rows that are read from files whenever they are needed, because they may not fit in memory."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from hashlib import blake2b

import numpy as np
import torch

from nextrec_like.batch import WHOLE, Batch, Share, batch_bounds
from nextrec_like.data.blocks import BLOCK_ROWS
from nextrec_like.data.digest import digest_of
from nextrec_like.data.packed import PackedData, join
from nextrec_like.data.prefetch import on_device, prefetched
from nextrec_like.data.recut import part_lengths, recut
from nextrec_like.data.row_groups import RowGroups, Span, Window, read_pieces, spans_of
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


class StreamedData:
    """Rows in files, of which a few windows are in memory at a time.

    A shuffled epoch reads row groups in random order, four of them in turn, and shuffles each window of
    `shuffle_rows` rows. The order follows from the seed, the sizes of the row groups and `shuffle_rows` alone. Rows
    that lie in the same order as something they should not follow, such as time, are mixed better by more and
    smaller row groups.

    Processes that share out a shuffled epoch cut its row groups, put one after another in their random order, into as
    many streams of consecutive rows as `Share.streams` says. Each stream is read as said above and gives each batch the
    rows that `Share.of` says. A process reads its own streams, and of a row group that is cut also what is before them.
    Without shuffling every process reads all rows and takes its part of each batch.

    Args:
        source: The files.
        shuffle_rows: Rows that are shuffled together; see `window_rows`.
    """

    def __init__(self, source: RowGroups, shuffle_rows: int = SHUFFLE_ROWS) -> None:
        self.source, self.shuffle_rows = source, shuffle_rows
        self._piece_rows = min(PIECE_ROWS, max(1, shuffle_rows // WINDOW_PIECES))
        self._sizes = source.sizes
        self._spans = spans_of(self._sizes, range(len(self._sizes)), 0, len(self))
        self._window: PackedData | None = None

    def __len__(self) -> int:
        return sum(self._sizes)

    @property
    def order(self) -> str:
        """The sizes of the windows and of the row groups."""
        digest = blake2b(repr(self._sizes).encode(), digest_size=8).hexdigest()
        return f"streamed in windows of {self.shuffle_rows} from {len(self._sizes)} row groups {digest}"

    def fingerprint(self, *, labels: bool = True) -> dict[str, str]:
        """Digests of the labels, and of what the files say of their columns: sizes, encodings, extremes."""
        digest = f", {digest_of(self.label_blocks())}" if labels else ""
        return {"labels": f"{len(self)} rows{digest}", "files": self.source.fingerprint}

    def blocks(self) -> Iterator[PackedData]:
        """All rows in order, in blocks of `BLOCK_ROWS`."""
        pieces = prefetched(read_pieces(self.source, self._spans, self._piece_rows, full=True))
        return recut((piece.rest() for piece in pieces), part_lengths(len(self), BLOCK_ROWS), PackedData.slice, join)

    def label_blocks(self) -> Iterator[np.ndarray]:
        """The labels in order, at most `BLOCK_ROWS` at a time, float64, shape ``(n, T)``."""
        lengths = part_lengths(len(self), BLOCK_ROWS)
        return recut(self.source.labels(PIECE_ROWS), lengths, lambda rows, a, b: rows[a:b], np.concatenate)

    def batches(
        self,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        start: int = 0,
        share: Share = WHOLE,
    ) -> Generator[Batch, None, None]:
        """As `PackedData.batches`, with the order of this class; a background thread reads the next window.

        Batches that are left out at the start are not packed, and of row groups before them nothing is read.
        """
        return on_device(self._batches(batch_size, generator, start, share), device)

    def sample(self, num_rows: int, device: torch.device, generator: torch.Generator, share: Share = WHOLE) -> Batch:
        """A batch of rows drawn independently of each other, but only from the window of the present batch.

        Each process draws from a window of its own, of its first stream; there are no more rows than in a window.
        """
        window = self._at_hand()
        # The number of draws is the same for windows of any length, so that generators stay in the same state.
        index = torch.randint(len(window), (min(num_rows, len(self)),), generator=generator)[: len(window)]
        return window.rows.rows(index[slice(*share.of(0, len(index)))]).to(device)

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

    def _batches(
        self, batch_size: int, generator: torch.Generator | None, start: int, share: Share
    ) -> Generator[Batch, None, None]:
        bounds = batch_bounds(len(self), batch_size)
        if generator is None:
            seed, streams, taken = None, [WHOLE], share
        else:
            seed, count = int(torch.randint(2**63 - 1, (), generator=generator)), share.streams or share.count
            streams, taken = [Share(index, count) for index in range(*share.of(0, count))], WHOLE
        with ExitStack() as stack:  # so that an error in one stream ends the threads of the others
            parts = [
                stack.enter_context(closing(self._parts(bounds, start, seed, stream, notes=stream is streams[0])))
                for stream in streams
            ]
            for _ in bounds[start:]:
                rows = join([next(part) for part in parts] or [self._no_rows()])
                yield rows.slice(*taken.of(0, len(rows))).rows

    def _parts(
        self, bounds: list[tuple[int, int]], start: int, seed: int | None, stream: Share, *, notes: bool
    ) -> Generator[PackedData, None, None]:
        """What a stream gives each batch from `start` on; without a seed its rows are in the order of the files."""
        cuts = [stream.of(*batch) for batch in bounds]
        lengths = [stop - first for first, stop in cuts]
        before = sum(first - begin for (first, _), (begin, _) in zip(cuts, bounds))  # rows of the streams before
        groups = (
            np.arange(len(self._sizes)) if seed is None else np.random.default_rng(seed).permutation(len(self._sizes))
        )
        spans = spans_of(self._sizes, groups.tolist(), before, before + sum(lengths))
        windows = prefetched(self._windows(spans, sum(lengths[:start]), seed, stream.index))
        rows = self._noted(windows) if notes else (window.rest() for window in windows)
        parts = recut(rows, filter(None, lengths[start:]), PackedData.slice, join)
        for length in lengths[start:]:
            yield next(parts) if length else self._no_rows()

    def _windows(
        self, spans: Sequence[Span], skip: int, seed: int | None, stream: int
    ) -> Generator[Window, None, None]:
        """The rows of a stream from the window of row `skip` on; without a seed in their order, piece by piece."""
        if seed is None:
            yield from read_pieces(self.source, spans, self._piece_rows, skip=skip)
            return
        first, skip = divmod(skip, self.shuffle_rows)
        pieces = read_pieces(self.source, spans, self._piece_rows, OPEN_GROUPS, first * self.shuffle_rows)
        num_rows = sum(map(len, spans))
        lengths = [min(self.shuffle_rows, num_rows - start) for start in range(0, num_rows, self.shuffle_rows)]
        rows = (piece.rest() for piece in pieces)
        for number, window in enumerate(recut(rows, lengths[first:], PackedData.slice, join), first):
            # A seed for each window, because an epoch may begin at any of them.
            place = np.random.default_rng([seed, number, stream]).permutation(len(window))
            yield Window(window.take(place), skip)
            skip = 0

    def _noted(self, windows: Iterator[Window]) -> Iterator[PackedData]:
        for window in windows:
            self._window = window.rows
            yield window.rest()

    def _at_hand(self) -> PackedData:
        """The present window; before there is one, the first piece of the files."""
        if self._window is None:
            self._window = next(read_pieces(self.source, self._spans, self._piece_rows)).rows
        return self._window

    def _no_rows(self) -> PackedData:
        return self._at_hand().slice(0, 0)
