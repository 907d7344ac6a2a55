"""The metrics of one task by name; a metric without a value is None with a reason."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nextrec_like.errors import InputError, check_keys, unknown
from nextrec_like.metrics._checks import (
    BoolArray,
    FloatArray,
    IntArray,
    UndefinedMetricError,
    as_columns,
    check_binary,
    check_finite,
    check_lengths,
    check_value,
)
from nextrec_like.metrics.gauc import gauc_groups, group_codes
from nextrec_like.metrics.registry import METRICS, Metric

LABEL_CHECKS = {"binary": check_binary, "regression": check_value}
REGRESSION_DEFAULT = ("rmse", "mae")


class TaskMetrics(dict[str, float | int | None]):
    """Values by metric name, as plain Python numbers.

    Args:
        values: The values; None where a metric could not be computed.
        reasons: For each metric that is None, why.
    """

    def __init__(
        self,
        values: Mapping[str, float | int | None] | Iterable[tuple[str, float | int | None]] = (),
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(values)
        self.reasons: dict[str, str] = dict(reasons or {})


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
    metrics = _applicable(check_metrics(names), kind)
    labels, predictions = as_columns({"label": label, "prediction": prediction})
    observed = ~np.isnan(labels)
    # Checked before rows are dropped, so that errors name the row that the caller sees.
    LABEL_CHECKS[kind](np.where(observed, labels, 0))
    check_finite("prediction", np.where(observed, predictions, 0))
    groups = _groups(metrics, group, observed)
    result = TaskMetrics()
    for metric in metrics:
        _add_metric(result, metric, labels[observed], predictions[observed], groups)
    return result


def _applicable(names: tuple[str, ...], kind: str) -> list[Metric]:
    if kind not in LABEL_CHECKS:
        raise unknown("kind of task", kind, LABEL_CHECKS)
    applicable = [METRICS[name] for name in names if kind in METRICS[name].kinds]
    return applicable if applicable or not names else [METRICS[name] for name in REGRESSION_DEFAULT]


def _groups(metrics: list[Metric], group: npt.ArrayLike | None, observed: BoolArray) -> IntArray | None:
    needing = [metric.name for metric in metrics if metric.needs_group]
    if not needing:
        return None
    if group is None:
        raise InputError(f"Metric `{needing[0]}` needs the group of each row, usually the user; pass `group_id`.")
    codes = group_codes(group)
    check_lengths({"label": observed, "group": codes})
    return codes[observed]


def _add_metric(
    result: TaskMetrics, metric: Metric, label: FloatArray, prediction: FloatArray, groups: IntArray | None
) -> None:
    arguments = (label, prediction, groups) if metric.needs_group else (label, prediction)
    try:
        if len(label) == 0:
            raise UndefinedMetricError("No row has a label.")
        result[metric.name] = metric.function(*arguments)
    except UndefinedMetricError as error:
        result[metric.name] = None
        result.reasons[metric.name] = str(error)
    if groups is not None and metric.needs_group:
        result[f"{metric.name}_groups"] = gauc_groups(label, groups) if len(label) else 0
