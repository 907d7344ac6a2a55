"""One number per epoch to select the best by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nextrec_like.errors import InputError, check_keys, number_in, unknown
from nextrec_like.metrics import METRICS
from nextrec_like.metrics.evaluate import REGRESSION_DEFAULT
from nextrec_like.tasks import TaskSet
from nextrec_like.training.evaluation import output_names

MonitorSpec: TypeAlias = str | Mapping[str, object] | None
REDUCTIONS = ("mean", "min")


@dataclass(frozen=True)
class Monitor:
    """How the tasks' validation metrics become one score.

    Attributes:
        metric: Metric to read.
        weights: Weight of each task (or name such as ``conversion_given_click``) in a sum; None for `reduce`.
        reduce: ``mean`` over the tasks, or ``min``: the worst task.
        tasks: Tasks that are read without `weights`.
    """

    metric: str
    weights: Mapping[str, float] | None
    reduce: str
    tasks: tuple[str, ...]

    @classmethod
    def of(cls, spec: MonitorSpec, metrics: Sequence[str], tasks: TaskSet) -> "Monitor":
        """A monitor from what the user wrote.

        Args:
            spec: None or ``mean`` (mean of the first metric), ``min``, a metric such as ``logloss``, weights by
                task or by a name such as ``conversion_given_click``, or a dict with ``metric`` and ``reduce`` or
                ``weights``.
            metrics: Metrics that are computed.
            tasks: The tasks. With a metric that does not suit the kind of a task, that task is left out.

        Raises:
            InputError: For an unknown metric, task or key, or a metric without a direction.
        """
        outputs = output_names(tasks)
        options = _options(spec, outputs)
        computed = computed_metrics(metrics, {task.kind for task in tasks})
        metric = options.get("metric", computed[0])
        if not isinstance(metric, str) or metric not in computed:
            raise unknown("metric in `monitor`, which must be one of `metrics`", metric, computed)
        if METRICS[metric].higher_is_better is None:
            raise InputError(f"`monitor` is `{metric}`, which is best at 1, not high or low; choose another metric.")
        reduce, weights = options.get("reduce", "mean"), options.get("weights")
        if reduce not in REDUCTIONS:
            raise unknown("reduce in `monitor`", reduce, REDUCTIONS)
        if weights is not None:
            _check_weights(weights, outputs)
        return cls(metric, weights, reduce, tuple(tasks.names))

    def score(self, valid: Mapping[str, Mapping[str, float | int | None]]) -> float | None:
        """The monitored value, higher is better; None if it cannot be computed. A missing metric never wins."""
        sign = 1.0 if METRICS[self.metric].higher_is_better else -1.0
        if self.weights is not None:
            values = [valid[task].get(self.metric) for task in self.weights]
            if any(value is None for value in values):
                return None
            return sum(
                sign * weight * value for weight, value in zip(self.weights.values(), values) if value is not None
            )
        defined = [sign * value for task in self.tasks if (value := valid[task].get(self.metric)) is not None]
        if not defined:
            return None
        return min(defined) if self.reduce == "min" else sum(defined) / len(defined)

    def __str__(self) -> str:
        how = self.reduce if self.weights is None else "weighted"
        return f"{how} {self.metric}"


def _options(spec: MonitorSpec, outputs: Sequence[str]) -> dict[str, Any]:
    if spec is None:
        return {}
    if isinstance(spec, str):
        return {"reduce": spec} if spec in REDUCTIONS else {"metric": spec}
    if not isinstance(spec, Mapping):
        raise InputError(f"`monitor` should be a metric, 'mean', 'min' or a dict. Received {spec!r}.")
    if set(spec) <= {"metric", "reduce", "weights"} and not set(spec) & set(outputs):
        return dict(spec)
    check_keys("key of `monitor`", spec, ["metric", "reduce", "weights"] if "metric" in spec else outputs)
    return {"weights": dict(spec)}


def _check_weights(weights: Mapping[str, float], outputs: Sequence[str]) -> None:
    if not isinstance(weights, Mapping):
        raise InputError(f"`monitor` weights should be a dict by task. Received {weights!r}.")
    check_keys("task in `monitor`", weights, outputs)
    for task, weight in weights.items():
        number_in(f"`monitor` weight of `{task}`", weight)
    if not any(weights.values()):
        raise InputError("`monitor` weights are all 0, so no epoch could be the best; make at least one positive.")


def computed_metrics(metrics: Sequence[str], kinds: set[str]) -> list[str]:
    """The metrics that apply to some task; regressions for which none applies get RMSE and MAE."""
    if not metrics:
        raise InputError("`metrics` is empty; name at least one, such as 'auc'.")
    computed = [name for name in metrics if kinds & set(METRICS[name].kinds)]
    return computed or list(REGRESSION_DEFAULT)
