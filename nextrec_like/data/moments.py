"""Mean and deviation of numbers that come in parts."""

from math import inf, sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]


class Pieces:
    """Numbers, cut anew into arrays of one length.

    What is computed of these arrays depends on the order of the numbers, but not on the parts in which they came.

    Args:
        size: The length.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rest: Numbers = np.empty(0)

    def add(self, numbers: Numbers) -> list[Numbers]:
        """The pieces that are complete now; `rest` keeps what is left."""
        full: list[Numbers] = []
        start = min(self.size - len(self.rest), len(numbers))
        rest = np.concatenate([self.rest, numbers[:start]])
        while len(rest) == self.size:
            full.append(rest)
            rest = numbers[start : start + self.size]
            start += self.size
        self.rest = rest.copy()  # a view would keep all numbers alive
        return full


class Moments:
    """Count, mean, squared deviation and range of numbers.

    Parts are joined as in Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", COMPSTAT 1982, eq. 2.1. https://doi.org/10.1007/978-3-642-51461-6_3
    The last digits depend on the parts; `Pieces` makes them the same for the same numbers.

    Attributes:
        count: How many numbers.
        mean: Their mean.
        squares: Sum of the squared deviations from the mean.
        low: The smallest.
        high: The largest.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = inf, -inf

    @property
    def std(self) -> float:
        """Standard deviation of the numbers as a population."""
        return sqrt(self.squares / self.count)

    def add(self, numbers: Numbers) -> None:
        """Adds numbers, each of them finite. What overflows is infinite or NaN afterwards."""
        if not numbers.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = numbers.mean()
            squares = np.square(numbers - mean).sum()
        self._join(len(numbers), float(mean), float(squares))
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))

    def add_copies(self, number: float, count: int) -> None:
        """Adds the same number several times, at no cost."""
        if count:
            self._join(count, number, 0.0)
            self.low, self.high = min(self.low, number), max(self.high, number)

    def _join(self, count: int, mean: float, squares: float) -> None:
        delta, total = mean - self.mean, self.count + count
        # A product, unlike a power, overflows to infinity instead of an exception.
        self.squares += squares + delta * delta * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total
