"""A figure with what the sample leaves open about it."""

from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

from nextrec_like.metrics._checks import FloatArray, UndefinedMetricError

QUANTILE = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
        p_value: Two-sided, against no difference, or for one AUC against chance.
    """

    value: float
    low: float
    high: float
    p_value: float


def normal_interval(value: float, variance: float, null: float = 0.0) -> Interval:
    """The interval of an estimate that is normal around its true value.

    Args:
        value: The estimate.
        variance: Its variance; 0 gives an interval without width.
        null: Value that the p-value is against.
    """
    error = sqrt(variance)
    return Interval(value, value - QUANTILE * error, value + QUANTILE * error, normal_p_value(value - null, error))


def normal_p_value(distance: float, error: float) -> float:
    """Two-sided p-value of a distance with a normal error; without an error 1 for no distance, else 0."""
    if error == 0:
        return float(distance == 0)
    return erfc(abs(distance) / (error * sqrt(2)))


def mean_interval(values: FloatArray) -> Interval:
    """The interval of a mean over independent rows, or of a mean difference if the values are differences.

    Args:
        values: One figure per row, shape ``(N,)``.

    Raises:
        UndefinedMetricError: For fewer than two rows.
    """
    if len(values) < 2:
        raise UndefinedMetricError(f"The interval of a mean needs two rows: there are {len(values)}.")
    return normal_interval(float(values.mean()), float(values.var(ddof=1)) / len(values))
