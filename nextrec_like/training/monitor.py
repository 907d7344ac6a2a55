"""One number per epoch to select the best by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nextrec_like.errors import InputError, check_keys, number_in, one_of
from nextrec_like.metrics import METRICS
from nextrec_like.metrics.evaluate import REGRESSION_DEFAULT
from nextrec_like.tasks import TaskSet

MonitorSpec: TypeAlias = str | Mapping[str, object] | None
REDUCTIONS = ("mean", "min")
KEYS = ("metric", "reduce", "weights")


@dataclass(frozen=True)
class Term:
    """One figure that is read: a metric of a task, or of an output such as ``conversion_given_click``."""

    output: str
    metric: str
    weight: float = 1.0


@dataclass(frozen=True)
class Monitor:
    """How the tasks' validation metrics become one score.

    Attributes:
        terms: What is read.
        reduce: ``mean`` or ``min`` (the worst) of the terms, or ``sum``, weighted.
    """

    terms: tuple[Term, ...]
    reduce: str

    @classmethod
    def of(cls, spec: MonitorSpec, metrics: Sequence[str], tasks: TaskSet) -> "Monitor":
        """A monitor from what the user wrote.

        Args:
            spec: None or ``mean`` (mean of the first metric), ``min``, a metric such as ``logloss``, weights by task
                or by a name such as ``conversion_given_click``, or a dict with ``metric`` (one, or by task) and
                ``reduce`` or ``weights``.
            metrics: Metrics that are computed.
            tasks: The tasks. Without weights, those are left out to whose kind the metric does not apply.

        Raises:
            InputError: For an unknown metric, task or key, or a metric without a direction.
        """
        computed = _computed(metrics, tasks)
        options = _options(spec, computed)
        reduce, weights = options.get("reduce", "mean"), options.get("weights")
        one_of("reduce in `monitor`", reduce, REDUCTIONS)
        chosen = options.get("metric", _first(metrics, computed))
        if isinstance(chosen, Mapping):
            check_keys("task in `monitor`", chosen, computed)
            if not chosen:
                raise InputError("`monitor` names no metric; give one for at least one task.")
        weighted = weights is not None
        shares = _checked_weights(weights, computed) if weighted else dict.fromkeys(tasks.names, 1.0)
        names = list(shares)
        by_name = chosen if isinstance(chosen, Mapping) else _where_computed(chosen, names, computed, weighted)
        terms = [
            Term(name, _checked_metric(by_name[name], name, computed), float(shares[name]))
            for name in names
            if name in by_name and shares[name]
        ]
        missing = next((name for name in names if name not in by_name), None)
        if missing is not None and weighted:
            raise InputError(f"`monitor` gives a weight but no metric for `{missing}`; add it to `metric`.")
        return cls(tuple(terms), "sum" if weighted else reduce)

    def score(self, valid: Mapping[str, Mapping[str, float | int | None]]) -> float | None:
        """The monitored value, higher is better; None if it cannot be computed. A missing metric never wins."""
        values = []
        for term in self.terms:
            value = valid[term.output].get(term.metric)
            if value is not None:
                values.append(term.weight * (value if METRICS[term.metric].higher_is_better else -value))
        if not values or (self.reduce == "sum" and len(values) < len(self.terms)):
            return None
        return {"min": min(values), "sum": sum(values), "mean": sum(values) / len(values)}[self.reduce]

    def __str__(self) -> str:
        metrics = dict.fromkeys(term.metric for term in self.terms)
        return f"{'weighted' if self.reduce == 'sum' else self.reduce} {' and '.join(metrics)}"


def _computed(metrics: Sequence[str], tasks: TaskSet) -> dict[str, list[str]]:
    """Metrics of every output; a regression for which none of the named ones applies gets RMSE and MAE."""
    if not metrics:
        raise InputError("`metrics` is empty; name at least one, such as 'auc'.")
    computed = {}
    for task in tasks:
        names = [name for name in metrics if task.kind in METRICS[name].kinds] or list(REGRESSION_DEFAULT)
        computed[task.name] = names
        if task.parent is not None:
            computed[tasks.conditional_name(task)] = names
    return computed


def _first(metrics: Sequence[str], computed: Mapping[str, list[str]]) -> str:
    available = {name for names in computed.values() for name in names}
    return next((name for name in metrics if name in available), REGRESSION_DEFAULT[0])


def _options(spec: MonitorSpec, outputs: Mapping[str, object]) -> dict[str, Any]:
    if spec is None:
        return {}
    if isinstance(spec, str):
        return {"reduce": spec} if spec in REDUCTIONS else {"metric": spec}
    if not isinstance(spec, Mapping):
        raise InputError(f"`monitor` should be a metric, 'mean', 'min' or a dict. Received {spec!r}.")
    if set(spec) <= set(KEYS) and not set(spec) & set(outputs):
        return dict(spec)
    check_keys("key of `monitor`", spec, KEYS if "metric" in spec else outputs)
    return {"weights": dict(spec)}


def _where_computed(
    metric: object, names: Sequence[str], computed: Mapping[str, list[str]], all_needed: bool
) -> dict[str, object]:
    """The metric under each name that has it; under all names if nobody has it, for the error to come."""
    having = [name for name in names if isinstance(metric, str) and metric in computed[name]]
    return dict.fromkeys(names if all_needed or not having else having, metric)


def _checked_metric(metric: object, output: str, computed: Mapping[str, list[str]]) -> str:
    name = one_of(f"metric in `monitor` for `{output}`, which must be one of `metrics`", metric, computed[output])
    if METRICS[name].higher_is_better is None:
        raise InputError(f"`monitor` is `{name}`, which is best at 1, not high or low; choose another metric.")
    return name


def _checked_weights(weights: object, computed: Mapping[str, object]) -> Mapping[str, float]:
    if not isinstance(weights, Mapping):
        raise InputError(f"`monitor` weights should be a dict by task. Received {weights!r}.")
    check_keys("task in `monitor`", weights, computed)
    values = [number_in(f"`monitor` weight of `{task}`", weight) for task, weight in weights.items()]
    if not any(values):
        raise InputError("`monitor` weights are all 0, so no epoch could be the best; make at least one positive.")
    return weights
