"""What the test rows leave open about a difference: figures per row or group whose mean is the metric.

Such figures are linear in the runs: their mean over seeds has the mean metric, and the spread of the difference of two
such means over the rows is the uncertainty that further test rows would remove, and further seeds would not. Rows count
as independent, except for GAUC, where groups do.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics import Interval, UndefinedMetricError, placements
from nextrec_like.metrics.bootstrap import group_interval
from nextrec_like.metrics.delong import check_classes, placement_interval
from nextrec_like.metrics.gauc import aucs_of_groups, group_codes
from nextrec_like.metrics.interval import mean_interval
from nextrec_like.metrics.logloss import EPSILON

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
SEED = 0
"""The same resamples of groups for all pairs of variants."""


class RowMethod(Protocol):
    """A way from predictions to the interval of a difference."""

    name: str

    def figures(self, prediction: FloatArray) -> FloatArray:
        """Figures of one run, from predictions of shape ``(N,)``, shape ``(N,)`` or ``(G,)`` for groups."""

    def interval(self, difference: FloatArray) -> Interval:
        """The interval of a difference of metrics from the difference of figures."""


class DeLong:
    """AUC by placements.

    Args:
        label: 0 or 1, shape ``(N,)``.
        group: Not used.
    """

    name = "DeLong"

    def __init__(self, label: FloatArray, group: IntArray | None) -> None:
        self.label, self.positive = label, label == 1
        check_classes(self.positive)

    def figures(self, prediction: FloatArray) -> FloatArray:
        """Placement of each row."""
        return placements(self.label, prediction)

    def interval(self, difference: FloatArray) -> Interval:
        """DeLong's interval."""
        return placement_interval(self.positive, difference)


class GroupBootstrap:
    """GAUC by resampling groups.

    Args:
        label: 0 or 1, shape ``(N,)``.
        group: Group of each row, shape ``(N,)``; None raises.
    """

    name = "group bootstrap"

    def __init__(self, label: FloatArray, group: IntArray | None) -> None:
        if group is None:
            raise UndefinedMetricError("GAUC needs the group of each row.")
        self.positive, self.codes = label == 1, group_codes(group)
        _, self.weights = aucs_of_groups(self.codes, self.positive, np.zeros(len(label)))
        if len(self.weights) < 2:
            raise UndefinedMetricError("The group bootstrap needs two groups with both classes.")

    def figures(self, prediction: FloatArray) -> FloatArray:
        """AUC of each group with both classes."""
        return aucs_of_groups(self.codes, self.positive, prediction)[0]

    def interval(self, difference: FloatArray) -> Interval:
        """The percentile interval."""
        return group_interval(difference, self.weights, np.random.default_rng(SEED))


class RowMeans:
    """A metric that is a mean over rows, or nearly so, by the normal approximation.

    Args:
        label: Labels, shape ``(N,)``.
        group: Not used.
        figures: From labels and predictions, both of shape ``(N,)``, to figures of the same shape.
    """

    name = "row means"

    def __init__(
        self, label: FloatArray, group: IntArray | None, figures: Callable[[FloatArray, FloatArray], FloatArray]
    ) -> None:
        if len(label) < 2:
            raise UndefinedMetricError("The interval of a mean needs two rows.")
        self.label, self._figures = label, figures

    def figures(self, prediction: FloatArray) -> FloatArray:
        """Figure of each row."""
        return self._figures(self.label, prediction)

    def interval(self, difference: FloatArray) -> Interval:
        """The normal interval of the mean."""
        return mean_interval(difference)


def log_losses(label: FloatArray, probability: FloatArray) -> FloatArray:
    """Log loss of each row, shape ``(N,)``."""
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    return -np.log(np.where(label == 1, p, 1 - p))


def absolute_errors(label: FloatArray, prediction: FloatArray) -> FloatArray:
    """Absolute error of each row, shape ``(N,)``."""
    return np.abs(prediction - label)


def rooted_errors(label: FloatArray, prediction: FloatArray) -> FloatArray:
    """Figures with the root of the mean squared error as their mean, and its spread by the delta method, ``(N,)``."""
    squares = np.square(prediction - label)
    root = float(np.sqrt(squares.mean()))
    return root / 2 + squares / (2 * root) if root > 0 else squares


METHODS: Mapping[str, Callable[[FloatArray, IntArray | None], RowMethod]] = {
    "auc": DeLong,
    "gauc": GroupBootstrap,
    "logloss": lambda label, group: RowMeans(label, group, log_losses),
    "mae": lambda label, group: RowMeans(label, group, absolute_errors),
    "rmse": lambda label, group: RowMeans(label, group, rooted_errors),
}
"""By name of the metric; other metrics have no interval from the test rows."""


class JudgedRows:
    """The test rows on which an output is judged.

    Args:
        label: Labels, NaN where it is not judged, shape ``(N,)``.
        group: Group of each row, shape ``(N,)``, or None.
        metrics: Names of metrics; those without an interval on these rows are left out of `methods`.
    """

    def __init__(self, label: FloatArray, group: IntArray | None, metrics: Sequence[str]) -> None:
        self.observed = ~np.isnan(label)
        labels, groups = label[self.observed], None if group is None else group[self.observed]
        self.methods: dict[str, RowMethod] = {}
        for metric in metrics:
            # Too few rows of a class, or groups: the verdict then says that the part of the rows is not known.
            with suppress(UndefinedMetricError):
                if metric in METHODS:
                    self.methods[metric] = METHODS[metric](labels, groups)

    def mean_figures(self, predictions: Sequence[Callable[[], FloatArray]]) -> dict[str, FloatArray]:
        """Figures by metric, the mean over runs; one run at a time is held in memory.

        Args:
            predictions: Read the predictions of a run for all test rows, shape ``(N,)``; at least one.
        """
        means: dict[str, FloatArray] = {}
        for read in predictions:
            prediction = read()[self.observed]
            for metric, method in self.methods.items():
                figures = method.figures(prediction)
                means[metric] = means[metric] + figures if metric in means else figures
        return {metric: total / len(predictions) for metric, total in means.items()}

    def intervals(self, mine: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]) -> dict[str, Interval]:
        """The intervals of the differences, by metric."""
        return {metric: method.interval(mine[metric] - theirs[metric]) for metric, method in self.methods.items()}
