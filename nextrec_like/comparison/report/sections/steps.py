"""What happened in the steps of the training: weights, gradient norms and cosines, one small plot per variant."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd
from markupsafe import Markup

from nextrec_like.comparison.report.content import Content, Reader
from nextrec_like.comparison.report.sections.base import Entry, Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot
from nextrec_like.comparison.store import RunFolder

POINTS = 60
"""Points of a line; more cannot be seen in a small plot."""
Lines: TypeAlias = dict[str, tuple[list[float], list[float]]]
MARGINS = (30, 8, 6, 20)


@dataclass(frozen=True)
class Figure:
    """A figure of the step log.

    Args:
        key: In the step log.
        title: Heading of the section.
        text: How to read it.
        empty: What to say if no run has it.
        prepare: Makes the values of the runs comparable.
        limits: Limits of the vertical axis; None: those of the values.
        middle: A value to draw a line at.
        logarithmic: Whether the vertical axis is.
    """

    key: str
    title: str
    text: str
    empty: str
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    limits: tuple[float, float] | None = None
    middle: float | None = None
    logarithmic: bool = False


def _shares(frame: pd.DataFrame) -> pd.DataFrame:
    total = frame["value"].abs().groupby(frame["step"]).transform("sum")
    return frame.assign(value=frame["value"] / total.where(total > 0))


FIGURES = (
    Figure(
        "weight",
        "Weights",
        "Share of each task in the sum of the weights over the steps of the training, mean over the seeds. "
        "The line in the middle is equal weights.",
        "No run has logged weights.",
        prepare=_shares,
        limits=(0.0, 1.0),
    ),
    Figure(
        "cosine",
        "Conflict between gradients",
        "Cosine of the gradients of two tasks at the place where they are probed, mean over the seeds. "
        "Below zero the tasks pull in different directions.",
        "No weighting here probes gradients, so there is no cosine.",
        limits=(-1.0, 1.0),
        middle=0.0,
    ),
    Figure(
        "norm",
        "Gradient norms",
        "Norm of the gradient of each task at the place where it is probed, mean over the seeds, logarithmic. "
        "A task far above the others rules the shared layers when weights are equal.",
        "No weighting here probes gradients, so there are no norms.",
        logarithmic=True,
    ),
)


def steps(content: Content) -> list[Section]:
    """A section for each figure of the step log; each step log is read once."""
    reader = Reader(content)
    frames = {variant.name: reader.each(variant.name, RunFolder.steps) for variant in content.variants}
    return [_section(content, figure, frames, list(reader.missing)) for figure in FIGURES]


def _section(content: Content, figure: Figure, frames: dict[str, list[pd.DataFrame]], missing: list[str]) -> Section:
    lines = {name: found for name, runs in frames.items() if (found := mean_lines(figure, runs))}
    labels = list(dict.fromkeys(label for found in lines.values() for label in found))
    colours = {label: f"c{1 + number % 8}" for number, label in enumerate(labels)}
    limits = figure.limits or _limits(value for found in lines.values() for _, line in found.values() for value in line)
    pictures = [
        Picture(_plot(figure, content.numbers[name], name, found, colours, limits), name, link=content.numbers[name])
        for name, found in lines.items()
    ]
    legend = [Entry(label, colour) for label, colour in colours.items()]
    missing = missing if pictures else [*missing, figure.empty]
    return Section(figure.key, figure.title, figure.text, pictures, legend, missing, small=True, closed=True)


def mean_lines(figure: Figure, runs: Sequence[pd.DataFrame]) -> Lines:
    """Means over runs of one variant, and over neighbouring steps so that at most `POINTS` remain.

    Args:
        figure: Which figure of the step log.
        runs: Step logs, as `RunFolder.steps` gives them.

    Returns:
        Steps and values by task, or by pair of tasks; empty if no run has the figure.
    """
    found = [figure.prepare(run[run["figure"] == figure.key]).dropna(subset="value") for run in runs]
    found = [run for run in found if len(run)]
    if not found:
        return {}
    table = pd.concat(found, ignore_index=True)
    label = table["task"].where(table["other"].isna(), table["task"] + " · " + table["other"].fillna(""))
    part = (table["step"] - 1) * POINTS // table["step"].max()
    means = table.assign(label=label, part=part).groupby(["label", "part"])[["step", "value"]].mean()
    by_label = {each: means.loc[each] for each in dict.fromkeys(label)}
    return {each: (line["step"].tolist(), line["value"].tolist()) for each, line in by_label.items()}


def _limits(values: Iterable[float]) -> tuple[float, float]:
    positive = sorted(value for value in values if value > 0)
    return (positive[0] / 1.5, positive[-1] * 1.5) if positive else (0.1, 1.0)


def _plot(
    figure: Figure, number: int, name: str, lines: Lines, colours: dict[str, str], limits: tuple[float, float]
) -> Markup:
    plot = Plot(f"{figure.key}-{number}", f"{figure.title}: {name}", (170, 120), MARGINS)
    axes = plot.axes
    middle = 1 / len(lines) if figure.key == "weight" else figure.middle
    if middle is not None:
        axes.axhline(middle, color=PALETTE["muted"], linewidth=0.6)
    for label, (at, values) in lines.items():
        marker = "." if len(at) == 1 else None
        plot.tip(axes.plot(at, values, color=PALETTE[colours[label]], linewidth=1.3, marker=marker), label)
    axes.set_xlim(0, 1.03 * max(at[-1] for at, _ in lines.values()))
    axes.set_ylim(*limits)
    axes.grid(axis="y")
    plot.plain_ticks("x", 2, whole=True)
    if figure.logarithmic:
        plot.logarithmic("y", 3)
    else:
        plot.plain_ticks("y", 2)
    return plot.svg()
