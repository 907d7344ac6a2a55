"""Quantiles of numbers that come in parts, in bounded memory and with a known error."""

import numpy as np
import numpy.typing as npt

from nextrec_like.data.moments import Numbers, Pieces

BUFFER = 2**18
"""Numbers per buffer: 2 MiB."""


class QuantileSketch:
    """The number at any rank, exact for few numbers and with a bounded rank error for many.

    Manku, Rajagopalan and Lindsay, "Approximate Medians and other Quantiles in One Pass and with Limited Memory",
    SIGMOD 1998, with the collapsing policy of Munro and Paterson. https://doi.org/10.1145/276305.276342
    Sorted buffers of ``k`` numbers wait on levels; a number on level ``h`` stands for ``2**h``. Two buffers of a level
    collapse to one of the next: their ``2 k`` numbers are sorted, and every other one is kept, the odd and the even
    ones by turns.

    A collapse from level ``h`` moves the count of the numbers below any bound by 0 or ``2**h``, upwards for the odd
    and downwards for the even ones. So ``c`` collapses move it by at most ``ceil(c / 2) * 2**h``, and the rank is wrong
    by at most `rank_error`, the sum of that over the levels: 0 for fewer than ``2 k`` numbers, and about
    ``n log2(n / k) / (4 k)`` for ``n`` numbers, which is 12 of a million ranks for a billion numbers.

    Nothing is drawn by chance: the sketch depends on the numbers and their order alone, not on the parts.

    Args:
        size: Numbers per buffer, ``k``.
    """

    def __init__(self, size: int = BUFFER) -> None:
        self.count = 0
        self._pieces = Pieces(size)
        self._waiting: list[Numbers | None] = []
        self._collapses: list[int] = []
        self._copies: list[tuple[float, int]] = []

    @property
    def rank_error(self) -> int:
        """By how much the rank of a found number may differ from the wanted one, at most."""
        return sum((collapses + 1) // 2 * 2**level for level, collapses in enumerate(self._collapses))

    def add(self, numbers: Numbers) -> None:
        """Adds numbers, each of them finite."""
        self.count += len(numbers)
        for piece in self._pieces.add(numbers):
            self._put(np.sort(piece))

    def add_copies(self, number: float, count: int) -> None:
        """Adds the same number several times, exactly and at no cost."""
        self.count += count
        self._copies.append((number, count))

    def at(self, ranks: npt.ArrayLike) -> Numbers:
        """The numbers at ranks from 1 to `count`, where 1 is the smallest number."""
        parts = [(np.array([number]), count) for number, count in self._copies]
        parts += [(buffer, 2**level) for level, buffer in enumerate(self._waiting) if buffer is not None]
        parts.append((self._pieces.rest, 1))
        numbers = np.concatenate([part for part, _ in parts])
        weights = np.concatenate([np.full(len(part), weight, np.int64) for part, weight in parts])
        order = np.argsort(numbers, kind="stable")
        return numbers[order][np.searchsorted(np.cumsum(weights[order]), ranks)]

    def median(self) -> float:
        """The middle number, or the mean of the two middle ones."""
        low, high = self.at([(self.count + 1) // 2, self.count // 2 + 1])
        return float(low / 2 + high / 2)

    def _put(self, buffer: Numbers) -> None:
        level = 0
        while level < len(self._waiting) and (other := self._waiting[level]) is not None:
            both = np.sort(np.concatenate([other, buffer]), kind="stable")  # which merges sorted halves
            buffer = both[self._collapses[level] % 2 :: 2].copy()
            self._waiting[level] = None
            self._collapses[level] += 1
            level += 1
        if level == len(self._waiting):
            self._waiting.append(None)
            self._collapses.append(0)
        self._waiting[level] = buffer
