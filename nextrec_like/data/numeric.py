"""Numbers, scaled or put into buckets by what the training rows say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nextrec_like.data.arrow import decoded
from nextrec_like.data.columns import NumericColumn
from nextrec_like.data.ids import FIRST, MISSING
from nextrec_like.errors import InputError
from nextrec_like.features import DenseFeature, SparseFeature

Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScaledEncoder:
    """``(curve(x) - shift) / scale`` as float32, with missing values filled first."""

    column: NumericColumn
    fill: float | None
    shift: float
    scale: float

    @classmethod
    def fit(cls, column: NumericColumn, array: pa.ChunkedArray) -> "ScaledEncoder":
        numbers = read_numbers(column.name, array)
        fill = fill_number(column, numbers)
        _, spread = CURVES[column.scaling]
        with np.errstate(over="ignore"):
            shift, scale = spread(curved(column, numbers, fill))
        if not np.isfinite([shift, scale]).all():
            raise InputError(f"Column `{column.name}` has numbers too large to scale; use log1p or quantile scaling.")
        return cls(column, fill, shift, scale)

    @staticmethod
    def check(column: NumericColumn, array: pa.ChunkedArray) -> None:
        """Raises for the first row that `fit` would refuse."""
        # A value that stands for the one that `fit` finds, and that every curve takes.
        curved(column, read_numbers(column.name, array), None if column.fill_value is None else 0.0)

    def encode(self, array: pa.ChunkedArray) -> pa.ChunkedArray:
        name = self.column.name
        numbers = read_numbers(name, array)
        with np.errstate(over="ignore"):
            scaled = ((curved(self.column, numbers, self.fill) - self.shift) / self.scale).astype(np.float32)
        check_rows(name, numbers, ~np.isfinite(scaled), "is too large for a 32-bit number; use another scaling")
        return pa.chunked_array([pa.array(scaled)])

    def feature(self) -> DenseFeature:
        return DenseFeature(self.column.name)

    def state(self) -> dict[str, object]:
        """The fitted numbers."""
        return {"fill": self.fill, "shift": self.shift, "scale": self.scale}


@dataclass(frozen=True)
class BucketEncoder:
    """Ids of intervals that hold about equally many training rows: 1 is missing, 2 and up are the intervals.

    An interval contains its upper edge. The edges are training values, so that no interval is without a training row.
    The first and the last interval are open, for values outside of the training range.
    """

    column: NumericColumn
    fill: float | None
    edges: list[float]

    @classmethod
    def fit(cls, column: NumericColumn, array: pa.ChunkedArray) -> "BucketEncoder":
        numbers = read_numbers(column.name, array)
        fill = fill_number(column, numbers)
        known = finite(column.name, numbers if fill is None else filled(column.name, numbers, fill))
        inner = np.arange(1, column.num_buckets) / column.num_buckets
        edges = np.unique(np.quantile(known, inner, method="inverted_cdf"))
        return cls(column, fill, edges[edges < known.max()].tolist())

    @staticmethod
    def check(column: NumericColumn, array: pa.ChunkedArray) -> None:
        """Raises for a column that `fit` would refuse; every number has a bucket."""
        read_numbers(column.name, array)

    def encode(self, array: pa.ChunkedArray) -> pa.ChunkedArray:
        numbers = read_numbers(self.column.name, array)
        if self.fill is not None:
            numbers = filled(self.column.name, numbers, self.fill)
        buckets = np.searchsorted(np.asarray(self.edges), numbers, side="left") + FIRST
        return pa.chunked_array([pa.array(np.where(np.isfinite(numbers), buckets, MISSING).astype(np.int64))])

    def feature(self) -> SparseFeature:
        return SparseFeature(self.column.name, vocab_size=len(self.edges) + 1 + FIRST)

    def state(self) -> dict[str, object]:
        """The fitted numbers."""
        return {"fill": self.fill, "edges": self.edges}


def read_numbers(name: str, array: pa.ChunkedArray) -> Numbers:
    """The column as float64, with NaN where a value is missing, shape ``(N,)``.

    Raises:
        InputError: If the column holds something else than numbers.
    """
    array = decoded(array)
    kind = array.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (is_number or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"Column `{name}` should hold numbers, but holds {kind}; convert it to numbers, "
            "or use IdColumn for categories and SequenceColumn for lists."
        )
    return array.cast(pa.float64(), safe=False).to_numpy()


def finite(name: str, numbers: Numbers) -> Numbers:
    """The values that are neither missing nor infinite.

    Raises:
        InputError: If there is none.
    """
    known = numbers[np.isfinite(numbers)]
    if not known.size:
        raise InputError(f"Column `{name}` has no finite value in the training rows; leave the column out.")
    return known


def fill_number(column: NumericColumn, numbers: Numbers) -> float | None:
    """What replaces a missing value, from the training rows if the column says so."""
    known = finite(column.name, numbers)
    if isinstance(column.fill_value, str):
        return float(np.mean(known) if column.fill_value == "mean" else np.median(known))
    return None if column.fill_value is None else float(column.fill_value)


def filled(name: str, numbers: Numbers, fill: float | None) -> Numbers:
    """The values with `fill` in place of missing and infinite ones.

    Raises:
        InputError: If one is missing or infinite and `fill` is None.
    """
    bad = ~np.isfinite(numbers)
    if fill is None:
        check_rows(name, numbers, bad, 'is missing or infinite; set `fill_value`, for example fill_value="mean"')
        return numbers
    return np.where(bad, fill, numbers)


def curved(column: NumericColumn, numbers: Numbers, fill: float | None) -> Numbers:
    """The filled values on the curve of the scaling.

    Raises:
        InputError: If one is missing or infinite and `fill` is None, or lies outside of the domain of the curve.
    """
    curve, _ = CURVES[column.scaling]
    return curve(column.name, filled(column.name, numbers, fill))


def check_rows(name: str, numbers: Numbers, bad: npt.NDArray[np.bool_], rule: str) -> None:
    """Raises for the first row that is marked as bad.

    Raises:
        InputError: Names the column, the row, the value and the rule.
    """
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"Column `{name}`, row {row}: value {numbers[row]!s} {rule}.")


def _same(name: str, numbers: Numbers) -> Numbers:
    return numbers


def _log1p(name: str, numbers: Numbers) -> Numbers:
    check_rows(name, numbers, numbers <= -1, "is not above -1, as log1p needs; use another scaling")
    return np.log1p(numbers)


def _no_spread(numbers: Numbers) -> tuple[float, float]:
    return 0.0, 1.0


def _standard_spread(numbers: Numbers) -> tuple[float, float]:
    # The deviation of a constant column is rounding noise, by which one must not divide.
    if numbers.min() == numbers.max():
        return float(numbers[0]), 1.0
    return float(numbers.mean()), float(numbers.std())


def _range_spread(numbers: Numbers) -> tuple[float, float]:
    low, high = float(numbers.min()), float(numbers.max())
    return low, (high - low) or 1.0


Curve: TypeAlias = Callable[[str, Numbers], Numbers]
Spread: TypeAlias = Callable[[Numbers], tuple[float, float]]

CURVES: dict[str, tuple[Curve, Spread]] = {
    "none": (_same, _no_spread),
    "standard": (_same, _standard_spread),
    "min_max": (_same, _range_spread),
    "log1p": (_log1p, _standard_spread),
}

NUMERIC_ENCODERS: dict[str, type[ScaledEncoder] | type[BucketEncoder]] = {
    **dict.fromkeys(CURVES, ScaledEncoder),
    "quantile": BucketEncoder,
}
