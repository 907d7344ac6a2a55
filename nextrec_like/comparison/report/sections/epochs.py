"""What happened from epoch to epoch: training losses and validation metrics, one plot per task with all variants."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from nextrec_like.comparison.report.content import Content, Reader
from nextrec_like.comparison.report.sections.base import Entry, Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot, span
from nextrec_like.comparison.store import RunFolder

History = list[dict[str, Any]]
Line = tuple[list[int], list[float]]


def epochs(content: Content) -> list[Section]:
    """Losses of the training rows and main metrics of the validation rows; each history is read once."""
    reader = Reader(content)
    histories = {variant.name: reader.each(variant.name, RunFolder.history) for variant in content.variants}
    legend = [Entry(text, colour) for colour, text in content.legend()]
    tasks = list(dict.fromkeys(output.task for output in content.results.outputs))
    losses = {f"{task}: training loss": _lines(histories, ("loss", task)) for task in tasks}
    metrics = {
        f"{output}: {metric} on the validation rows": _lines(histories, ("valid", output, metric))
        for output, metric in content.main_metrics.items()
    }
    return [
        Section(
            "loss",
            "Task losses",
            "Loss of each task over the training rows, without weights; mean over the seeds that reached the epoch.",
            _pictures(content, "loss", losses),
            legend,
            reader.missing or ([] if any(losses.values()) else ["No run has recorded a loss."]),
            closed=True,
        ),
        Section(
            "valid",
            "Validation metrics",
            "Mean over the seeds that reached the epoch. Epochs and settings are chosen by these rows only.",
            _pictures(content, "valid", metrics),
            legend,
            reader.missing or ([] if any(metrics.values()) else ["No run has a validation metric."]),
            closed=True,
        ),
    ]


def _lines(histories: Mapping[str, list[History]], keys: Sequence[str]) -> dict[str, Line]:
    found = {}
    for name, runs in histories.items():
        by_epoch: dict[int, list[float]] = {}
        for epoch in (epoch for run in runs for epoch in run):
            value = _at(epoch, keys)
            if value is not None:
                by_epoch.setdefault(epoch["epoch"], []).append(value)
        if by_epoch:
            found[name] = (sorted(by_epoch), [fmean(by_epoch[epoch]) for epoch in sorted(by_epoch)])
    return found


def _at(epoch: dict[str, Any], keys: Sequence[str]) -> float | None:
    found: Any = epoch
    for key in keys:
        found = (found or {}).get(key)
    return found


def _pictures(content: Content, key: str, plots: Mapping[str, Mapping[str, Line]]) -> list[Picture]:
    return [
        _plot(content, f"{key}-{number}", title, lines) for number, (title, lines) in enumerate(plots.items()) if lines
    ]


def _plot(content: Content, key: str, title: str, lines: Mapping[str, Line]) -> Picture:
    plot = Plot(key, title, (360, 230), (52, 12, 8, 36))
    axes = plot.axes
    marker = "o" if max(len(at) for at, _ in lines.values()) == 1 else "."
    for name, (at, values) in lines.items():
        colour = content.colours[name]
        order = 2 if colour == "faint" else 3
        drawn = axes.plot(at, values, marker=marker, markersize=4, color=PALETTE[colour], zorder=order)
        plot.tip(drawn, f"{name}: {values[-1]:.5g} in epoch {at[-1]}")
    axes.set_ylim(*span(value for _, values in lines.values() for value in values))
    axes.set_xlim(0.7, 0.3 + max(at[-1] for at, _ in lines.values()))
    axes.grid()
    plot.plain_ticks("x", 6, whole=True)
    plot.plain_ticks("y", 5)
    axes.set_xlabel("epoch")
    return Picture(plot.svg(), title)
