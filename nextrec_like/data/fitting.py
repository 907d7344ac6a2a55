"""What a processor learns from a column, block by block, in bounded memory.

The result depends on the rows and their order alone, not on where they are cut into blocks.
"""

from collections.abc import Callable, Sequence
from math import inf, isfinite

import numpy as np
import pyarrow as pa

from nextrec_like.data.columns import Column, IdColumn, NumericColumn, SequenceColumn, followers, owners
from nextrec_like.data.counts import ValueCounts
from nextrec_like.data.ids import Vocabulary
from nextrec_like.data.moments import Moments, Numbers, Pieces
from nextrec_like.data.numeric import CURVES, BucketEncoder, ScaledEncoder, checked_numbers
from nextrec_like.data.quantiles import QuantileSketch
from nextrec_like.data.sequences import raw_ids
from nextrec_like.errors import InputError, warn

PIECE = 2**16
"""Numbers that are added up at once."""


class Fill:
    """What replaces a missing value: a given number, or the mean or median of the known ones."""

    def __init__(self, value: float | str | None) -> None:
        self._value = value
        self._moments, self._sketch = Moments(), QuantileSketch()

    def add(self, known: Numbers) -> None:
        """Learns from finite numbers."""
        if self._value == "mean":
            self._moments.add(known)
        elif self._value == "median":
            self._sketch.add(known)

    def number(self) -> float | None:
        """The replacement, or None if there is none."""
        if isinstance(self._value, str):
            return self._moments.mean if self._value == "mean" else self._sketch.median()
        return None if self._value is None else float(self._value)


class NumericFit:
    """Reads a column of numbers: counts the missing ones, and learns from the known ones in pieces of one length."""

    def __init__(self, column: NumericColumn) -> None:
        self.column, self.fill = column, Fill(column.fill_value)
        self.known, self.missing = 0, 0
        self._pieces = Pieces(PIECE)

    def add(self, table: pa.Table) -> None:
        """Learns from a block of rows.

        Raises:
            InputError: For a value that the column cannot hold.
        """
        numbers = checked_numbers(self.column, table[self.column.name])
        known = numbers[np.isfinite(numbers)]
        self.known += len(known)
        self.missing += len(numbers) - len(known)
        for piece in self._pieces.add(known):
            self._learn(piece)

    def _learn(self, known: Numbers) -> None:
        self.fill.add(known)

    def _fill_number(self) -> float | None:
        """Learns from the last numbers, and returns what replaces a missing one."""
        if not self.known:
            raise InputError(
                f"Column `{self.column.name}` has no finite value in the training rows; leave the column out."
            )
        self._learn(self._pieces.rest)
        return self.fill.number()


class ScaledFit(NumericFit):
    """Shift and scale of the numbers on the curve of the scaling."""

    def __init__(self, column: NumericColumn) -> None:
        super().__init__(column)
        self._curved = Moments()

    def finish(self) -> ScaledEncoder:
        """The encoder; no more rows can be added.

        Raises:
            InputError: For a column without a finite number, or with numbers too large to scale.
        """
        fill, name = self._fill_number(), self.column.name
        if fill is not None and isfinite(fill):
            self._curved.add_copies(float(CURVES[self.column.scaling](np.array([fill]))[0]), self.missing)
        shift, scale = SPREADS[self.column.scaling](self._curved)
        if not (isfinite(shift) and isfinite(scale) and isfinite(fill or 0.0)):
            raise InputError(f"Column `{name}` has numbers too large to scale; use log1p or quantile scaling.")
        return ScaledEncoder(self.column, fill, shift, scale)

    def _learn(self, known: Numbers) -> None:
        super()._learn(known)
        # On pieces, because vector instructions may round the numbers at the end of an array in another way.
        self._curved.add(CURVES[self.column.scaling](known))


class BucketFit(NumericFit):
    """Edges of intervals that hold about equally many numbers; see `QuantileSketch` for the error."""

    def __init__(self, column: NumericColumn) -> None:
        super().__init__(column)
        self._sketch, self._high = QuantileSketch(), -inf

    def finish(self) -> BucketEncoder:
        """The encoder; no more rows can be added.

        Raises:
            InputError: For a column without a finite number.
        """
        fill = self._fill_number()
        if fill is not None and self.missing:
            self._sketch.add_copies(fill, self.missing)
            self._high = max(self._high, fill)
        buckets, count = self.column.num_buckets, self._sketch.count
        edges = np.unique(self._sketch.at([-(-place * count // buckets) for place in range(1, buckets)]))
        return BucketEncoder(self.column, fill, edges[edges < self._high].tolist())

    def _learn(self, known: Numbers) -> None:
        super()._learn(known)
        self._sketch.add(known)
        self._high = max(self._high, float(known.max(initial=-inf)))


class VocabularyFit:
    """Counts of the values of a column, and of those that share its ids."""

    def __init__(self, column: IdColumn | SequenceColumn, followers: Sequence[SequenceColumn]) -> None:
        self.column = column
        self._counts = [(each, ValueCounts()) for each in (column, *followers)]

    def add(self, table: pa.Table) -> None:
        """Learns from a block of rows.

        Raises:
            InputError: For a value that a column cannot hold.
        """
        for column, counts in self._counts:
            counts.add(raw_ids(column, table[column.name]))

    def finish(self) -> Vocabulary:
        """The vocabulary; no more rows can be added."""
        _, total = self._counts[0]
        for _, counts in self._counts[1:]:
            total.join(counts)
        return Vocabulary.fit(total.table(), self.column.min_count)

    def warn_of_error(self) -> None:
        """Warns if values were forgotten, after `finish`."""
        _, total = self._counts[0]
        if total.error:
            warn(
                f"Column `{self.column.name}` has more than {total.capacity:,} different values; those in fewer than "
                f"{self.column.min_count + total.error:,} rows may count as unknown. Set `hash_size` to know them all."
            )


def _no_spread(moments: Moments) -> tuple[float, float]:
    return 0.0, 1.0


def _standard_spread(moments: Moments) -> tuple[float, float]:
    # The deviation of a constant column is rounding noise, by which one must not divide.
    return (moments.low, 1.0) if moments.low == moments.high else (moments.mean, moments.std)


def _range_spread(moments: Moments) -> tuple[float, float]:
    return moments.low, (moments.high - moments.low) or 1.0


SPREADS: dict[str, Callable[[Moments], tuple[float, float]]] = {
    "none": _no_spread,
    "standard": _standard_spread,
    "min_max": _range_spread,
    "log1p": _standard_spread,
}
"""Shift and scale of each scaling."""

NUMERIC_FITS: dict[str, type[ScaledFit] | type[BucketFit]] = {
    **dict.fromkeys(SPREADS, ScaledFit),
    "quantile": BucketFit,
}


def column_fits(columns: Sequence[Column]) -> tuple[dict[str, ScaledFit | BucketFit], dict[str, VocabularyFit]]:
    """What is to be learned from the columns: from each with numbers, and from each with a vocabulary of its own."""
    numeric = {
        column.name: NUMERIC_FITS[column.scaling](column) for column in columns if isinstance(column, NumericColumn)
    }
    ids = {
        column.name: VocabularyFit(column, followers(columns, column.name))
        for column in owners(columns)
        if column.hash_size is None
    }
    return numeric, ids


def check_column(table: pa.Table, column: Column) -> None:
    """Raises for a row that cannot be learned from.

    Raises:
        InputError: For a value that the column cannot hold.
    """
    if isinstance(column, NumericColumn):
        checked_numbers(column, table[column.name])
    else:
        raw_ids(column, table[column.name])
