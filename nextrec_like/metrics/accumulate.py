"""The metrics of one output from chunks of rows, in bounded memory."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy.typing as npt

from nextrec_like.errors import InputError, positive_int
from nextrec_like.metrics._checks import UndefinedMetricError
from nextrec_like.metrics.evaluate import TaskMetrics, applicable_metrics, check_metrics, metrics_of
from nextrec_like.metrics.group_sample import GroupSample
from nextrec_like.metrics.rows import Rows, joined, observed_rows
from nextrec_like.metrics.running_sums import ADDITIVE, RunningSums
from nextrec_like.metrics.score_counts import READINGS, ScoreCounts

PIECES = 8
"""Rows beyond those that are kept are summarized when there are one in so many of `max_rows`."""


S = TypeVar("S", bound="Summary")


class Summary(Protocol):
    """What is left of any number of rows, for some metrics."""

    def __init__(self, names: Sequence[str], max_rows: int) -> None: ...

    def add(self, rows: Rows) -> None:
        """Of observed rows."""

    def merge(self: S, other: S) -> None:
        """Of the same kind; it does not change."""

    def write(self, name: str, result: TaskMetrics) -> None:
        """Adds the value of a metric; raises `UndefinedMetricError` if it has none."""


SUMMARIES: dict[str, type[Summary]] = {
    **dict.fromkeys(ADDITIVE, RunningSums),
    **dict.fromkeys(READINGS, ScoreCounts),
    "gauc": GroupSample,
}
"""The summary that a metric is read from."""


class MetricsAccumulator:
    """Metrics of one output from chunks of rows: exact while the rows fit, then with a stated error.

    Up to `max_rows` rows with a label are kept, and the result is bitwise that of `compute_metrics`. With more:

    * ``logloss``, ``ece``, ``pcoc``, ``rmse`` and ``mae`` are running sums, exact but for rounding.
    * ``auc`` and ``pr_auc`` count the classes by score. While distinct scores are few (`ScoreCounts.capacity`) they are
      exact, then close scores are taken as tied, and `TaskMetrics.error_bounds` holds the largest possible error.
    * ``gauc`` is that of a random share of the groups with all their rows. `TaskMetrics.error_bounds` holds the margin
      that covers the exact value in 95 % of samples, `TaskMetrics.group_share` the share, and ``gauc_groups`` the
      number of groups used. Groups should be much smaller than `max_rows`.

    Which rows come in which chunk, order or part does not matter, except to the rounding of sums.

    Args:
        names: Names as for `compute_metrics`.
        kind: ``binary`` or ``regression``.
        max_rows: Rows that are kept, at 17 bytes a row with integer groups; while GAUC is computed, it takes at most
            some 170 bytes for each of them.

    Raises:
        InputError: For an unknown metric or kind, or a `max_rows` that is not a positive integer.
    """

    def __init__(self, names: str | Sequence[str], *, kind: str = "binary", max_rows: int = 2**24) -> None:
        self.metrics = applicable_metrics(check_metrics(names), kind)
        self.kind = kind
        self.max_rows = positive_int("`max_rows`", max_rows)
        self.num_rows = 0
        self._kept: list[Rows] = []
        self._num_kept = 0
        self._summaries: dict[type[Summary], Summary] | None = None  # until more rows came than are kept
        self._group_type: str | None = None  # until there is a group

    def add(self, label: npt.ArrayLike, prediction: npt.ArrayLike, group: npt.ArrayLike | None = None) -> None:
        """Adds a chunk of rows; they are copied.

        Args:
            label: Labels, NaN where not observed, shape ``(N,)``.
            prediction: Probabilities for a binary task, values for regression, shape ``(N,)``.
            group: Group of each row, for the metrics that need it, shape ``(N,)``. A group is the same integer, or
                the same text, in all chunks.

        Raises:
            InputError: As `compute_metrics`; rows are counted from the first chunk on. The chunk is not added.
        """
        rows, num_rows = observed_rows(self.metrics, self.kind, label, prediction, group, self.num_rows)
        self._check_group_type(rows.group_type)
        self.num_rows += num_rows
        self._include(rows)

    def merge(self, other: "MetricsAccumulator") -> None:
        """Adds the rows of another part, which does not change.

        Raises:
            InputError: If it has other metrics, another kind of task or another `max_rows`.
        """
        if _settings(self) != _settings(other):
            raise InputError(
                f"Only accumulators with the same settings can be merged: {_settings(self)} is not {_settings(other)}."
            )
        self._check_group_type(other._group_type)
        self.num_rows += other.num_rows
        if other._summaries is not None:
            summaries = self._summarize()
            for kind, summary in other._summaries.items():
                summaries[kind].merge(summary)
        for rows in list(other._kept):
            self._include(rows)

    def result(self) -> TaskMetrics:
        """The metrics of all rows so far; more may be added afterwards.

        Returns:
            Keys and reasons as those of `compute_metrics`; errors and share of the groups as stated above.
        """
        if self._summaries is None:
            no_rows, _ = observed_rows(self.metrics, self.kind, [], [], [])
            return metrics_of(self.metrics, joined(self._kept) if self._kept else no_rows)
        summaries, result = self._summarize(), TaskMetrics()
        for metric in self.metrics:
            try:
                summaries[SUMMARIES[metric.name]].write(metric.name, result)
            except UndefinedMetricError as error:
                result[metric.name] = None
                result.reasons[metric.name] = str(error)
        return result

    def _check_group_type(self, group_type: str | None) -> None:
        known, new = self._group_type, group_type
        if known is not None and new is not None and known != new:
            raise InputError(
                f"`group` is {new} from row {self.num_rows} on, before it is {known}; convert one of them."
            )
        self._group_type = known or new

    def _include(self, rows: Rows) -> None:
        if len(rows) == 0:
            return
        self._kept.append(rows)
        self._num_kept += len(rows)
        fits = self.max_rows if self._summaries is None else self.max_rows // PIECES
        if self._num_kept > fits:
            self._summarize()

    def _summarize(self) -> dict[type[Summary], Summary]:
        """Turns the kept rows into summaries."""
        if self._summaries is None:
            names: dict[type[Summary], list[str]] = {}
            for metric in self.metrics:
                names.setdefault(SUMMARIES[metric.name], []).append(metric.name)
            self._summaries = {kind: kind(own, self.max_rows) for kind, own in names.items()}
        if self._kept:
            rows = joined(self._kept)
            self._kept, self._num_kept = [], 0
            piece = max(self.max_rows // PIECES, 1)
            for start in range(0, len(rows), piece):
                for summary in self._summaries.values():
                    summary.add(rows[start : start + piece])
        return self._summaries


def _settings(accumulator: MetricsAccumulator) -> str:
    names = ", ".join(metric.name for metric in accumulator.metrics)
    return f"{names} ({accumulator.kind}, max_rows={accumulator.max_rows})"
