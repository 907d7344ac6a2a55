"""Metrics of the seeds of a run, together."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, TypeAlias

from nextrec_like.metrics import TaskMetrics
from nextrec_like.training.history import History
from nextrec_like.training.progress import format_table, metrics_table

Result: TypeAlias = dict[str, dict[str, TaskMetrics]]
"""Metrics by part (``valid``, ``test``) and task."""


def summarize(results: Mapping[Any, Result]) -> dict[str, Any]:
    """Content of ``metrics.json``: means over seeds of each part, seeds, reasons of missing values, error bounds."""
    parts = next(iter(results.values()))
    means: dict[str, Any] = {"valid": {}, "test": {}}
    for part in parts:
        means[part] = _over_seeds([result[part] for result in results.values()], _mean)
    return {
        **means,
        "seeds": {str(seed): result for seed, result in results.items()},
        "reasons": {part: _reasons([result[part] for result in results.values()]) for part in parts},
        "error_bounds": {part: _error_bounds([result[part] for result in results.values()]) for part in parts},
    }


def conflict_share(histories: Mapping[int, History]) -> dict[str, dict[str, float]]:
    """By seed, for each pair of tasks, the share of the probed steps in which their gradients were in conflict."""
    return {
        str(seed): {" and ".join(pair): share for pair, share in history.conflict_share().items()}
        for seed, history in histories.items()
    }


def describe_results(results: Mapping[Any, Result]) -> str:
    """A table of the last part, the test rows if there are any: the values, or mean and deviation over seeds."""
    parts = list(next(iter(results.values())))
    if not parts:
        return "no validation or test rows, so no metrics"
    part, by_seed = parts[-1], [result[parts[-1]] for result in results.values()]
    if len(by_seed) == 1:
        title, table = part, metrics_table(by_seed[0])
    else:
        title = f"{part}, mean and standard deviation of {len(by_seed)} seeds"
        cells = _over_seeds(by_seed, _mean_and_deviation)
        names = list(dict.fromkeys(name for values in cells.values() for name in values))
        rows = [[task, *(values.get(name, "") for name in names)] for task, values in cells.items()]
        table = format_table(["task", *names], rows)
    notes = [f"  {task} {name}: {why}" for task, whys in _reasons(by_seed).items() for name, why in whys.items()]
    notes += [
        f"  {task} {name}: within about {bound:.2g} of the exact value"
        for task, bounds in _error_bounds(by_seed).items()
        for name, bound in bounds.items()
    ]
    return "\n".join([title, table, *notes])


def _over_seeds(by_seed: Sequence[Mapping[str, TaskMetrics]], reduce: Callable[[list[Any]], Any]) -> dict[str, Any]:
    return {
        task: {metric: reduce([result[task][metric] for result in by_seed]) for metric in values}
        for task, values in by_seed[0].items()
    }


def _mean(values: list[Any]) -> float | int | None:
    if any(value is None for value in values):
        return None
    return values[0] if len(set(values)) == 1 else fmean(values)


def _mean_and_deviation(values: list[Any]) -> str:
    if any(value is None for value in values):
        return "-"
    if all(isinstance(value, int) for value in values):
        return f"{fmean(values):,.0f}"
    return f"{fmean(values):.5f} ± {stdev(values):.5f}"


def _reasons(by_seed: Sequence[Mapping[str, TaskMetrics]]) -> dict[str, dict[str, str]]:
    return {
        task: reasons
        for task in by_seed[0]
        if (reasons := {name: why for result in by_seed for name, why in result[task].reasons.items()})
    }


def _error_bounds(by_seed: Sequence[Mapping[str, TaskMetrics]]) -> dict[str, dict[str, float]]:
    """The largest bound of any seed, of the metrics that are not exact."""
    return {
        task: {name: max(result[task].error_bounds.get(name, 0.0) for result in by_seed) for name in names}
        for task in by_seed[0]
        if (names := list(dict.fromkeys(name for result in by_seed for name in result[task].error_bounds)))
    }
