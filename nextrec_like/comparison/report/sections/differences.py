"""Forest plots: the difference of each variant to a reference, with both of its intervals."""

from collections.abc import Sequence

from nextrec_like.comparison.report.content import Content
from nextrec_like.comparison.report.sections.base import Entry, Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot, span
from nextrec_like.comparison.report.wording import interval, number
from nextrec_like.comparison.results import Difference

COLOURS = {"better": "good", "worse": "bad", "uncertain": "unsure", "none": "muted", "undefined": "muted"}
TEXT = (
    "Each row is a variant minus the reference, mean over the seeds. The thick line is the 95 % interval over seeds "
    "(paired t), the thin one with ends that of the test rows. An interval that crosses zero shows no difference; "
    "the verdict takes both together. "
    "Point at a row for its numbers."
)


def differences(content: Content) -> Section:
    """A plot for each output and reference, with the best variant on top."""
    pictures: list[Picture] = []
    for reference in content.references:
        for output in content.judged:
            metric = content.main_metrics[output.name]
            found = [each for each in content.differences(reference, output.name, metric) if each.mean is not None]
            if found:
                sign = -1 if content.directions[metric] else 1
                found.sort(key=lambda each: sign * (each.mean or 0.0))
                pictures.append(_forest(f"forest-{len(pictures)}", found))
    legend = [
        Entry("better", "good"),
        Entry("worse", "bad"),
        Entry("differs over seeds, but the test rows are too few", "unsure"),
        Entry("no difference seen, or no interval", "muted"),
    ]
    missing = [] if pictures else ["There is no difference to draw: no variant and its reference have a common seed."]
    return Section("differences", "Differences with their intervals", TEXT, pictures, legend, missing)


def _forest(key: str, found: Sequence[Difference]) -> Picture:
    first = found[0]
    caption = f"{first.output}: {first.metric} minus {first.reference}"
    plot = Plot(key, caption, (360, 44 + 17 * len(found)), (118, 14, 8, 36))
    axes = plot.axes
    plot.row_labels(each.variant for each in found)
    low, high = span((end for each in found for end in (each.mean, *_ends(each))), include=[0.0])
    axes.set_xlim(low, high)
    axes.axvline(0, color=PALETTE["muted"], linewidth=1)
    axes.grid(axis="x")
    outside = []
    for row, each in enumerate(found):
        plot.tip(_row(plot, row, each), _tip(each))
        if not low <= (each.mean or 0.0) <= high:
            outside.append(f"{each.variant} ({number(each.mean, True)})")
    plot.plain_ticks("x", 4, signed=True)
    axes.set_xlabel(f"difference in {first.metric}")
    return Picture(plot.svg(), caption, f"Off the scale: {', '.join(outside)}." if outside else "")


def _row(plot: Plot, row: int, each: Difference) -> list[object]:
    axes, colour = plot.axes, PALETTE[COLOURS[each.verdict]]
    artists: list[object] = []
    if each.low is not None and each.high is not None:
        artists += axes.plot([each.low, each.high], [row, row], color=colour, linewidth=5, alpha=0.4)
    if each.rows_low is not None and each.rows_high is not None:
        artists += axes.plot(
            [each.rows_low, each.rows_high], [row, row], color=colour, linewidth=1, marker="|", markersize=8
        )
    low, high = axes.get_xlim()
    mean = each.mean or 0.0
    if low <= mean <= high:
        artists += axes.plot([mean], [row], "o", color=colour, markersize=6.5)
    else:
        artists += axes.plot(
            [high if mean > high else low],
            [row],
            ">" if mean > high else "<",
            color=colour,
            markersize=7,
            clip_on=False,
        )
    return artists


def _ends(each: Difference) -> list[float | None]:
    return [each.low, each.high, each.rows_low, each.rows_high]


def _tip(each: Difference) -> str:
    rows = f"; {interval(each.rows_low, each.rows_high)} test rows ({each.rows_method})" if each.rows_method else ""
    return (
        f"{each.variant}: {number(each.mean, True)}, {interval(each.low, each.high)} over seeds{rows}; {each.verdict}"
    )
