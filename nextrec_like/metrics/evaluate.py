"""The metrics of one task by name; a metric without a value is None with a reason."""

from collections.abc import Iterable, Mapping, Sequence

import numpy.typing as npt

from nextrec_like.errors import InputError, check_keys, unknown
from nextrec_like.metrics._checks import IntArray, UndefinedMetricError
from nextrec_like.metrics.gauc import gauc_groups
from nextrec_like.metrics.groups import group_codes
from nextrec_like.metrics.registry import METRICS, Metric
from nextrec_like.metrics.rows import LABELS, Rows, observed_rows

REGRESSION_DEFAULT = ("rmse", "mae")


class TaskMetrics(dict[str, float | int | None]):
    """Values by metric name, as plain Python numbers.

    Args:
        values: The values; None where a metric could not be computed.
        reasons: For each metric that is None, why.
        error_bounds: For each metric that is not exact, how far it is at most from the exact value, or, for GAUC of
            a sample of the groups, in 95 % of all samples; see `MetricsAccumulator`.
        group_share: Share of all groups that the metrics within groups were computed on.
    """

    def __init__(
        self,
        values: Mapping[str, float | int | None] | Iterable[tuple[str, float | int | None]] = (),
        reasons: Mapping[str, str] | None = None,
        error_bounds: Mapping[str, float] | None = None,
        group_share: float = 1.0,
    ) -> None:
        super().__init__(values)
        self.reasons: dict[str, str] = dict(reasons or {})
        self.error_bounds: dict[str, float] = dict(error_bounds or {})
        self.group_share = group_share


def check_metrics(names: str | Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple without repetitions; one string is one name.

    Raises:
        InputError: For a name that is not in `METRICS`.
    """
    if not isinstance(names, (str, Sequence)):
        raise InputError(f"`metrics` should be a name or a list of names. Received {names!r}.")
    listed = (names,) if isinstance(names, str) else tuple(names)
    check_keys("metric", listed, METRICS)
    return tuple(dict.fromkeys(listed))


def compute_metrics(
    names: str | Sequence[str],
    label: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    kind: str = "binary",
    group: npt.ArrayLike | None = None,
) -> TaskMetrics:
    """Computes the named metrics that apply to the kind of task, over the rows with a label.

    Args:
        names: Names from `METRICS`. If none of them applies to a regression task, it gets RMSE and MAE.
        label: Labels, NaN where not observed, shape ``(N,)``.
        prediction: Probabilities for a binary task, values for regression, shape ``(N,)``.
        kind: ``binary`` or ``regression``.
        group: Group of each row, for the metrics that need it, shape ``(N,)``.

    Returns:
        The values by name, and for ``gauc`` also ``gauc_groups``, the number of groups used. A metric that has
        no value on these rows, such as the AUC of one class, is None, with an entry in `TaskMetrics.reasons`.

    Raises:
        InputError: For an unknown metric or kind, a missing group, or a column that breaks a rule, such as
            predictions that are not finite.
    """
    metrics = applicable_metrics(check_metrics(names), kind)
    return metrics_of(metrics, observed_rows(metrics, kind, label, prediction, group)[0])


def applicable_metrics(names: tuple[str, ...], kind: str) -> list[Metric]:
    """The named metrics for the kind of task; RMSE and MAE if there are names, but none applies.

    Raises:
        InputError: For an unknown kind.
    """
    if kind not in LABELS:
        raise unknown("kind of task", kind, LABELS)
    applicable = [METRICS[name] for name in names if kind in METRICS[name].kinds]
    return applicable if applicable or not names else [METRICS[name] for name in REGRESSION_DEFAULT]


def metrics_of(metrics: Sequence[Metric], rows: Rows) -> TaskMetrics:
    """The metrics of rows that are checked and have a label."""
    groups = None if rows.group is None else group_codes(rows.group)
    result = TaskMetrics()
    for metric in metrics:
        _add_metric(result, metric, rows, groups)
    return result


def _add_metric(result: TaskMetrics, metric: Metric, rows: Rows, groups: IntArray | None) -> None:
    arguments = (rows.label, rows.prediction, groups) if metric.needs_group else (rows.label, rows.prediction)
    try:
        if len(rows) == 0:
            raise UndefinedMetricError("No row has a label.")
        result[metric.name] = metric.function(*arguments)
    except UndefinedMetricError as error:
        result[metric.name] = None
        result.reasons[metric.name] = str(error)
    if groups is not None and metric.needs_group:
        result[f"{metric.name}_groups"] = gauc_groups(rows.label, groups) if len(rows) else 0
