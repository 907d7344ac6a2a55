"""Metrics that are functions of sums over the rows: any number of rows needs a few numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from nextrec_like.metrics._checks import FloatArray, UndefinedMetricError
from nextrec_like.metrics.calibration import NUM_BINS, calibration_gaps
from nextrec_like.metrics.evaluate import TaskMetrics
from nextrec_like.metrics.logloss import logloss
from nextrec_like.metrics.regression import mae, rmse
from nextrec_like.metrics.rows import Rows


@dataclass(frozen=True)
class Additive:
    """The sums of some rows, the number of rows last, and the metric from the sums of all rows."""

    sums: Callable[[Rows], FloatArray]
    value: Callable[[FloatArray], float]


class RunningSums:
    """Metrics of all rows added so far, from their running sums: exact but for the rounding of sums."""

    def __init__(self, names: Sequence[str], max_rows: int) -> None:
        self.totals: dict[str, FloatArray] = {name: np.zeros(1) for name in names}

    def add(self, rows: Rows) -> None:
        for name, total in self.totals.items():
            self.totals[name] = total + ADDITIVE[name].sums(rows)

    def merge(self, other: "RunningSums") -> None:
        for name, total in self.totals.items():
            self.totals[name] = total + other.totals[name]

    def write(self, name: str, result: TaskMetrics) -> None:
        """Adds the metric, which is exact."""
        result[name] = ADDITIVE[name].value(self.totals[name])


def _logloss_sums(rows: Rows) -> FloatArray:
    return np.array([len(rows) * logloss(rows.label, rows.prediction), len(rows)])


def _mae_sums(rows: Rows) -> FloatArray:
    return np.array([len(rows) * mae(rows.label, rows.prediction), len(rows)])


def _rmse_sums(rows: Rows) -> FloatArray:
    return np.array([len(rows) * rmse(rows.label, rows.prediction) ** 2, len(rows)])


def _ece_sums(rows: Rows) -> FloatArray:
    gaps = calibration_gaps(rows.label == 1, rows.prediction, NUM_BINS)
    return np.append(np.pad(gaps, (0, NUM_BINS - len(gaps))), len(rows))


def _pcoc_sums(rows: Rows) -> FloatArray:
    return np.array([rows.prediction.sum(), np.count_nonzero(rows.label), len(rows)])


def _mean(sums: FloatArray) -> float:
    return float(sums[0] / sums[-1])


def _pcoc(sums: FloatArray) -> float:
    if sums[1] == 0:
        raise UndefinedMetricError(f"PCOC needs a positive: 0 positives in {int(sums[-1])} rows.")
    return float(sums[0] / sums[1])


ADDITIVE = {
    "logloss": Additive(_logloss_sums, _mean),
    "ece": Additive(_ece_sums, lambda sums: float(np.abs(sums[:-1]).sum() / sums[-1])),
    "pcoc": Additive(_pcoc_sums, _pcoc),
    "rmse": Additive(_rmse_sums, lambda sums: sqrt(_mean(sums))),
    "mae": Additive(_mae_sums, _mean),
}
