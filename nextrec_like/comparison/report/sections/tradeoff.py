"""Trade-off plots: one task against another, and what fixed weights can reach."""

from collections.abc import Sequence
from itertools import combinations

from nextrec_like.comparison.report.content import ROLE_COLOURS, Content
from nextrec_like.comparison.report.sections.base import Entry, Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot, span
from nextrec_like.comparison.report.wording import estimate, number
from nextrec_like.comparison.results import Estimate, Output, VariantRecord

TEXT = (
    "Each number is a variant: mean over the seeds, with its standard deviation as a cross. The small dots are the "
    "fixed weights that were tried in the search, and the line joins those that no other one beats in both tasks. All "
    "are values on the test rows; the choice was made on the validation rows. The dots are means over the seeds of the "
    "search, which may be fewer than those of the variants: a gap between both is no verdict, the table is."
)
COLOURS = {**ROLE_COLOURS, "method": "c1"}
LETTER = (11.0, 11.0)
"""Room for one number in pixels."""
AROUND = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
PLACES = [(dx * reach, dy * reach) for reach in (8, 12, 17, 23, 30) for dx, dy in AROUND]
"""Where a number may stand, in pixels from its point; the nearest ones first."""

Point = tuple[float, float]


def tradeoff(content: Content) -> Section:
    """A plot for each pair of two or three tasks."""
    outputs = [output for output in content.judged if output.name == output.task]
    pictures, missing = [], []
    if 2 <= len(outputs) <= 3:
        pairs = combinations(outputs, 2)
        pictures = [_plot(content, f"tradeoff-{position}", *pair) for position, pair in enumerate(pairs)]
    else:
        missing = [f"The trade-off is drawn for two or three tasks that have values; there are {len(outputs)}."]
    legend = [Entry(each.name, COLOURS[each.role], str(content.numbers[each.name])) for each in content.variants]
    return Section("tradeoff", "Trade-off between tasks", TEXT, pictures, legend, missing)


def _plot(content: Content, key: str, first: Output, second: Output) -> Picture:
    metrics = [content.main_metrics[output.name] for output in (first, second)]
    names = [f"{output.name} {metric}" for output, metric in zip((first, second), metrics)]
    plot = Plot(key, f"{names[1]} against {names[0]}", (360, 330), (56, 12, 10, 42))
    points = [
        (variant, x, y)
        for variant in content.variants
        if (x := content.main_estimate(variant.name, first.name))
        and x.mean is not None
        and (y := content.main_estimate(variant.name, second.name))
        and y.mean is not None
    ]
    fronts = [_tried(variant, [first.name, second.name], metrics) for variant in content.variants]
    means = [(x.mean or 0.0, y.mean or 0.0) for _, x, y in points]
    best = [best_points(tried, [bool(content.directions[metric]) for metric in metrics]) for tried in fronts]
    shown = [*means, *(point for front in best for point in front)]
    plot.axes.set_xlim(*span([*(point[0] for point in shown), *(end for _, x, _ in points for end in _ends(x))]))
    plot.axes.set_ylim(*span([*(point[1] for point in shown), *(end for _, _, y in points for end in _ends(y))]))
    for tried, front in zip(fronts, best):
        plot.axes.plot([x for x, _ in front], [y for _, y in front], color=PALETTE["c2"], linewidth=1.2, alpha=0.7)
        for label_point in tried:
            plot.axes.plot(*label_point, "o", color=PALETTE["c2"], markersize=2.6, alpha=0.6)
    outside = [
        f"{variant.name} ({number(x)}, {number(y)})"
        for (variant, _, _), (x, y) in zip(points, means)
        if not _inside(plot, (x, y))
    ]
    inside = [each for each, point in zip(points, means) if _inside(plot, point)]
    _draw(plot, content, inside)
    plot.axes.grid()
    plot.plain_ticks("x", 4)
    plot.plain_ticks("y", 6)
    directions = ["higher" if content.directions[metric] else "lower" for metric in metrics]
    plot.axes.set_xlabel(f"{names[0][:40]}, {directions[0]} is better")
    plot.axes.set_ylabel(f"{names[1][:40]}, {directions[1]} is better")
    return Picture(plot.svg(), plot.title, f"Off the scale: {', '.join(outside)}." if outside else "")


def _draw(plot: Plot, content: Content, points: Sequence[tuple[VariantRecord, Estimate, Estimate]]) -> None:
    pixels = plot.axes.transData.transform([(x.mean or 0.0, y.mean or 0.0) for _, x, y in points] or [(0.0, 0.0)])
    taken: list[Point] = [(float(x), float(y)) for x, y in pixels]
    for (variant, x, y), pixel in zip(points, pixels):
        colour = PALETTE[COLOURS[variant.role]]
        bars = plot.axes.errorbar(
            x.mean or 0.0,
            y.mean or 0.0,
            xerr=x.deviation,
            yerr=y.deviation,
            fmt="o",
            color=colour,
            markersize=4.5,
            elinewidth=0.7,
        )
        for bar in bars.lines[2]:
            bar.set_alpha(0.35)
        values = f"{estimate(x.mean, x.deviation)} and {estimate(y.mean, y.deviation)}"
        plot.tip([bars.lines[0]], f"{variant.name}: {values}")
        place = _free_place(plot, (float(pixel[0]), float(pixel[1])), taken)
        taken.append((float(pixel[0]) + place[0], float(pixel[1]) + place[1]))
        plot.axes.annotate(
            str(content.numbers[variant.name]),
            (x.mean or 0.0, y.mean or 0.0),
            place,
            textcoords="offset pixels",
            ha="center",
            va="center",
            fontsize=10,
            color=colour,
        )


def _free_place(plot: Plot, pixel: Point, taken: Sequence[Point]) -> Point:
    def trouble(place: Point) -> float:
        x, y = pixel[0] + place[0], pixel[1] + place[1]
        hidden = 0.0 if plot.axes.bbox.contains(x, y) else 3.0
        return hidden + sum(abs(x - a) < LETTER[0] and abs(y - b) < LETTER[1] for a, b in taken if (a, b) != pixel)

    return min(PLACES, key=trouble)


def _ends(each: Estimate) -> Point:
    mean, deviation = each.mean or 0.0, each.deviation or 0.0
    return mean - deviation, mean + deviation


def _inside(plot: Plot, point: Point) -> bool:
    (left, right), (low, high) = plot.axes.get_xlim(), plot.axes.get_ylim()
    return left <= point[0] <= right and low <= point[1] <= high


def _tried(variant: VariantRecord, outputs: Sequence[str], metrics: Sequence[str]) -> list[Point]:
    if variant.role != "tuned_fixed":
        return []
    pairs = [
        [each.test.get(output, {}).get(metric) for output, metric in zip(outputs, metrics)]
        for each in variant.candidates
    ]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def best_points(points: Sequence[Point], higher: Sequence[bool]) -> list[Point]:
    """Points that no other one beats, by the first coordinate.

    Args:
        points: Pairs of values.
        higher: For each coordinate whether higher is better.
    """

    def beats(one: Point, other: Point) -> bool:
        gains = [(a - b) * (1 if up else -1) for a, b, up in zip(one, other, higher)]
        return min(gains) >= 0 and max(gains) > 0

    return sorted(point for point in set(points) if not any(beats(other, point) for other in points))
