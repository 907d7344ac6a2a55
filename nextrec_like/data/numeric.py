"""Numbers, scaled or put into buckets by what the training rows say."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nextrec_like.data.arrow import decoded
from nextrec_like.data.columns import NumericColumn
from nextrec_like.data.ids import FIRST, MISSING
from nextrec_like.data.moments import Numbers
from nextrec_like.errors import InputError
from nextrec_like.features import DenseFeature, SparseFeature


@dataclass(frozen=True)
class ScaledEncoder:
    """``(curve(x) - shift) / scale`` as float32, with missing values filled first."""

    column: NumericColumn
    fill: float | None
    shift: float
    scale: float

    @staticmethod
    def check(column: NumericColumn, numbers: Numbers) -> None:
        """Raises for the first number that has no place on the curve."""
        # 0 stands for the value that replaces a missing one, which every curve takes.
        _on_domain(column, numbers, None if column.fill_value is None else 0.0)

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

    @staticmethod
    def check(column: NumericColumn, numbers: Numbers) -> None:
        """Raises for nothing: every number has a bucket."""

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


def checked_numbers(column: NumericColumn, array: pa.ChunkedArray) -> Numbers:
    """`read_numbers`, for learning from them.

    Raises:
        InputError: If the column holds something else than numbers, or one that its scaling cannot take.
    """
    numbers = read_numbers(column.name, array)
    NUMERIC_ENCODERS[column.scaling].check(column, numbers)
    return numbers


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
    return CURVES[column.scaling](_on_domain(column, numbers, fill))


def check_rows(name: str, numbers: Numbers, bad: npt.NDArray[np.bool_], rule: str) -> None:
    """Raises for the first row that is marked as bad.

    Raises:
        InputError: Names the column, the row, the value and the rule.
    """
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"Column `{name}`, row {row}: value {numbers[row]!s} {rule}.")


def _on_domain(column: NumericColumn, numbers: Numbers, fill: float | None) -> Numbers:
    numbers = filled(column.name, numbers, fill)
    if column.scaling in LOWER_BOUNDS:
        bound = LOWER_BOUNDS[column.scaling]
        rule = f"is not above {bound:g}, as {column.scaling} needs; use another scaling"
        check_rows(column.name, numbers, numbers <= bound, rule)
    return numbers


def _same(numbers: Numbers) -> Numbers:
    return numbers


CURVES: dict[str, Callable[[Numbers], Numbers]] = {
    **dict.fromkeys(("none", "standard", "min_max"), _same),
    "log1p": np.log1p,
}
"""From filled values to those that are shifted and scaled."""

LOWER_BOUNDS = {"log1p": -1.0}
"""Numbers must lie above, for the curves that not every number is on."""

NUMERIC_ENCODERS: dict[str, type[ScaledEncoder] | type[BucketEncoder]] = {
    **dict.fromkeys(CURVES, ScaledEncoder),
    "quantile": BucketEncoder,
}
