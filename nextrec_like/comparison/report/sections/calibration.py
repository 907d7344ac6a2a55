"""Calibration curves: what was predicted against what was observed."""

from functools import partial

import numpy as np
import pandas as pd

from nextrec_like.comparison.report.content import Content, Reader
from nextrec_like.comparison.report.sections.base import Entry, Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot
from nextrec_like.comparison.results import Output
from nextrec_like.comparison.store import RunFolder

BINS = 10
WIDE = 20.0
"""Largest over smallest value above which the axes are logarithmic: rare positives would all lie in one corner."""
TEXT = (
    "The test rows in ten parts of equal size by prediction; each point is the mean prediction and the mean label of "
    "a part, mean over the seeds. On the diagonal predictions are right on average, below it they promise too much."
)
Curve = tuple[np.ndarray, np.ndarray]


def calibration(content: Content) -> Section:
    """A plot per output with all variants."""
    reader = Reader(content)
    pictures = []
    for number, output in enumerate(content.results.outputs):
        labels = reader.shared(partial(content.store.labels, output.name))
        if labels is None or not np.isfinite(labels).any():
            continue
        curves = _curves(content, reader, output, labels)
        if curves:
            pictures.append(_plot(content, f"calibration-{number}", output, curves))
    legend = [*(Entry(text, colour) for colour, text in content.legend()), Entry("right on average", "grid")]
    missing = reader.missing or ([] if pictures else ["There are no predictions of test rows with labels."])
    return Section("calibration", "Calibration", TEXT, pictures, legend, missing, closed=True)


def _curves(content: Content, reader: Reader, output: Output, labels: np.ndarray) -> dict[str, Curve]:
    def read(run: RunFolder) -> Curve:
        return reliability(labels, run.predictions(output.name))

    found = {variant.name: reader.each(variant.name, read) for variant in content.variants}
    return {name: (_mean([x for x, _ in runs]), _mean([y for _, y in runs])) for name, runs in found.items() if runs}


def reliability(labels: np.ndarray, predictions: np.ndarray) -> Curve:
    """Mean prediction and mean label in ten parts of equal size by prediction, each shape ``(10,)``.

    Equal predictions lie in the same part, so that a part can be empty: it is NaN.
    """
    judged = np.isfinite(labels) & np.isfinite(predictions)
    label, prediction = labels[judged], predictions[judged]
    if not len(label):
        return np.full(BINS, np.nan), np.full(BINS, np.nan)
    edges = np.quantile(prediction, np.linspace(0, 1, BINS + 1)[1:-1])
    part = np.searchsorted(edges, prediction, side="left")
    rows = np.bincount(part, minlength=BINS)
    sums = [np.bincount(part, weights=values, minlength=BINS) for values in (prediction, label)]
    predicted, observed = (np.where(rows > 0, total / np.maximum(rows, 1), np.nan) for total in sums)
    return predicted, observed


def _mean(runs: list[np.ndarray]) -> np.ndarray:
    return pd.DataFrame(np.stack(runs)).mean().to_numpy()


def _plot(content: Content, key: str, output: Output, curves: dict[str, Curve]) -> Picture:
    title = f"{output.name}: mean label against mean prediction"
    plot = Plot(key, title, (360, 330), (56, 12, 8, 40))
    axes = plot.axes
    values = np.concatenate([np.concatenate(curve) for curve in curves.values()])
    positive = values[values > 0]
    rare = output.kind == "binary" and len(positive) > 0 and positive.max() / positive.min() > WIDE
    low, high = (positive.min() / 1.4, positive.max() * 1.2) if rare else _room(values)
    axes.plot([low, high], [low, high], color=PALETTE["grid"], linewidth=2)
    for name, (predicted, observed) in curves.items():
        kept = np.isfinite(predicted) & np.isfinite(observed) & ((observed > 0) | (not rare))
        colour = content.colours[name]
        order = 2 if colour == "faint" else 3
        line = axes.plot(predicted[kept], observed[kept], ".-", ms=5, lw=1.1, color=PALETTE[colour], zorder=order)
        plot.tip(line, name)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for axis in ("x", "y"):
        if rare:
            plot.logarithmic(axis, 7)
        else:
            plot.plain_ticks(axis, 5)
    axes.grid()
    axes.set_xlabel("mean prediction")
    axes.set_ylabel("mean label")
    return Picture(plot.svg(), title, "Logarithmic; parts without a positive are left out." if rare else "")


def _room(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room
