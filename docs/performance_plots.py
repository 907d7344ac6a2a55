"""The plots of docs/performance.md: transparent, in colors that can be read on light and dark pages."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = list[dict[str, Any]]
COLORS = ["#3b82f6", "#ea7317", "#2f9e44", "#a855f7", "#d6336c", "#0c9aa5"]
GRAY = "#7a7a7a"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "performance",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GRAY),
}


@contextmanager
def drawn(path: Path, panels: int = 1) -> Iterator[list[Axes]]:
    """Axes side by side, written as an SVG that does not depend on when it was drawn."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.2 + 2.6 * panels, 2.8), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        yield list(axes)
        figure.savefig(path, transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))


def lines(
    axes: Axes, rows: Iterable[dict[str, Any]], series: str, x: str, y: str, xlabel: str, ylabel: str, scale: float = 1
) -> None:
    """One line per value of `series`; rows without a figure are left out."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row[y] is not None:
            points.setdefault(row[series], []).append((row[x], row[y] / scale))
    for name, found in points.items():
        axes.plot(*zip(*sorted(found)), marker="o", markersize=3, label=name)
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.margins(y=0.15)
    axes.set_ylim(bottom=0)
    if points:
        axes.legend(frameon=False, fontsize=8)


def vocabulary(rows: Rows, path: Path) -> None:
    """Speed against the size of the tables."""
    with drawn(path) as (axes,):
        lines(axes, rows, "embedding_optimizer", "vocabulary", "samples_per_second", "rows per table", "samples/s")


def peers(rows: Rows, path: Path) -> None:
    """A bar per program."""
    with drawn(path) as (axes,):
        names, speeds = [row["program"] for row in rows], [row["samples_per_second"] for row in rows]
        bars = axes.barh(names, speeds, color=[COLORS[0], *[GRAY] * (len(rows) - 1)])
        axes.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set_xlabel("samples/s")


def streaming(rows: Rows, path: Path) -> None:
    """Speed and memory against the number of rows."""
    with drawn(path, panels=2) as (speed, memory):
        memory.axhline(1.5, color=GRAY, linewidth=0.8, linestyle="--")
        lines(speed, rows, "way", "rows", "rows_per_second", "rows", "rows/s")
        lines(memory, rows, "way", "rows", "peak_memory", "rows", "peak memory, GB", scale=1e9)


def gpu(rows: Rows, path: Path) -> None:
    """Speed against batch size."""
    with drawn(path) as (axes,):
        lines(axes, rows, "variant", "batch_size", "samples_per_second", "batch size", "million samples/s", scale=1e6)


PLOTS: dict[str, Callable[[Rows, Path], None]] = {
    "vocabulary": vocabulary,
    "peers": peers,
    "streaming": streaming,
    "gpu_small": gpu,
    "gpu_large": gpu,
}
