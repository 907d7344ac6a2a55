"""A stream of parts of any length as a stream of parts of given lengths."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TypeVar

from nextrec_like.batch import batch_bounds
from nextrec_like.errors import InputError

Part = TypeVar("Part", bound=Sized)


def recut(
    parts: Iterable[Part],
    lengths: Iterable[int],
    cut: Callable[[Part, int, int], Part],
    join: Callable[[Sequence[Part]], Part],
) -> Iterator[Part]:
    """The same rows in other parts.

    Args:
        parts: Rows, at least as many as the lengths add up to.
        lengths: Rows of each part to give; positive.
        cut: Rows ``start:stop`` of a part, without a copy.
        join: Several parts as one.
    """
    source = iter(parts)
    held: Part | None = None
    used = 0  # rows of the held part that were given already
    for length in lengths:
        pieces, missing = [], length
        while missing:
            if held is None:
                held, used = _next(source), 0
            stop = min(len(held), used + missing)
            if stop > used:
                pieces.append(cut(held, used, stop))
            missing -= stop - used
            held, used = (None, 0) if stop == len(held) else (held, stop)
        yield pieces[0] if len(pieces) == 1 else join(pieces)


def _next(source: Iterator[Part]) -> Part:
    for part in source:
        return part
    raise InputError("There are fewer rows than there were at first; did the data change meanwhile? Start again.")


def part_lengths(num_rows: int, part_rows: int) -> list[int]:
    """Rows of each part, if parts have `part_rows` each as far as that goes; see `batch_bounds`."""
    return [stop - start for start, stop in batch_bounds(num_rows, part_rows)]
