"""Cost: time and memory of each variant, relative to equal weights."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from nextrec_like.comparison.report.content import Content
from nextrec_like.comparison.report.sections.base import Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot, span
from nextrec_like.comparison.report.wording import megabytes, ratio, seconds
from nextrec_like.comparison.results import RunRecord

TEXT = (
    "Mean over the finished runs, relative to equal weights of the same model and objective. Wall time depends on what "
    "else ran on the machine, processor time much less. The memory on a CPU is the peak of the whole process."
)


@dataclass(frozen=True)
class Measure:
    """What a run costs.

    Args:
        title: In words.
        of: Reads it from a run.
        text: A value in words.
    """

    title: str
    of: Callable[[RunRecord], float | None]
    text: Callable[[float | None], str]


MEASURES = (
    Measure("Wall time", lambda run: run.seconds, seconds),
    Measure("Processor time", lambda run: run.cpu_seconds, seconds),
    Measure("Peak memory", lambda run: run.peak_memory, megabytes),
)


@dataclass(frozen=True)
class Cost:
    """Cost of one variant.

    Args:
        variant: Its name.
        values: Mean over the finished runs, by measure; None if there is none.
        ratios: The same relative to equal weights.
    """

    variant: str
    values: list[float | None]
    ratios: list[float | None]


def costs(content: Content) -> list[Cost]:
    """The cost of each variant."""
    means = {
        variant.name: [_mean(content, variant.name, measure) for measure in MEASURES] for variant in content.variants
    }
    equals = {(each.model, each.objective): each.name for each in reversed(content.variants) if each.role == "equal"}
    first = next(iter(reversed(equals.values())), None)
    found = []
    for variant in content.variants:
        base = means.get(equals.get((variant.model, variant.objective), first or ""), [None] * len(MEASURES))
        ratios = [
            value / unit if value is not None and unit else None for value, unit in zip(means[variant.name], base)
        ]
        found.append(Cost(variant.name, means[variant.name], ratios))
    return found


def cost(content: Content) -> Section:
    """A plot per measure."""
    found = costs(content)
    pictures = []
    for number, measure in enumerate(MEASURES):
        rows = [(each.variant, each.values[number], each.ratios[number]) for each in found]
        known = [(name, value, times) for name, value, times in rows if times is not None]
        if known:
            pictures.append(_plot(f"cost-{number}", measure, known))
    missing = [] if pictures else ["No finished run says what it cost."]
    return Section("cost", "Cost", TEXT, pictures, missing=missing)


def _mean(content: Content, variant: str, measure: Measure) -> float | None:
    found = [value for run in content.runs(variant) if (value := measure.of(run)) is not None]
    return fmean(found) if found else None


def _plot(key: str, measure: Measure, rows: list[tuple[str, float | None, float]]) -> Picture:
    title = f"{measure.title} relative to equal weights"
    plot = Plot(key, title, (360, 26 + 17 * len(rows)), (118, 46, 4, 20))
    axes = plot.axes
    plot.row_labels(name for name, _, _ in rows)
    high = span((times for _, _, times in rows), include=[0.0, 1.0])[1]
    for row, (name, value, times) in enumerate(rows):
        bar = axes.barh(row, min(times, high), height=0.62, color=PALETTE["c1"], alpha=0.75)
        plot.tip(bar.patches, f"{name}: {measure.text(value)}, {ratio(times)}")
        axes.text(1.02, row, ratio(times), va="center", fontsize=9, transform=axes.get_yaxis_transform())
    axes.set_xlim(0, high)
    axes.axvline(1, color=PALETTE["muted"], linewidth=0.8)
    plot.plain_ticks("x", 4)
    return Picture(plot.svg(), title)
