"""Gate use: how much each expert counts in each gate, a heat map with one row per variant."""

from typing import Any

import pandas as pd
from matplotlib.patches import Rectangle

from nextrec_like.comparison.report.content import Content, Reader
from nextrec_like.comparison.report.sections.base import Picture, Section
from nextrec_like.comparison.report.svg import PALETTE, Plot
from nextrec_like.comparison.store import RunFolder

TEXT = (
    "Mean share of each expert in per cent over the test rows and the seeds. A gate with all of its weight on one "
    "expert has collapsed; equal rows say that the weighting does not change who uses which expert. Experts of "
    "different seeds are not matched, so the mean over seeds evens them out."
)


def gates(content: Content) -> Section:
    """A heat map per gate."""
    reader = Reader(content)
    by_gate: dict[str, dict[str, list[float]]] = {}
    for variant in content.variants:
        for gate, shares in _mean(reader.each(variant.name, RunFolder.gates)).items():
            by_gate.setdefault(gate, {})[variant.name] = shares
    pictures = [_plot(f"gates-{number}", gate, rows) for number, (gate, rows) in enumerate(by_gate.items())]
    missing = reader.missing or ([] if pictures else ["No model of this comparison has gates."])
    return Section("gates", "Gate use per expert", TEXT, pictures, missing=missing, closed=True)


def _mean(runs: list[list[dict[str, Any]]]) -> dict[str, list[float]]:
    found: dict[str, list[list[float]]] = {}
    for gate in (gate for run in runs for gate in run):
        found.setdefault(gate["gate"], []).append(gate["shares"])
    return {name: pd.DataFrame(shares).mean().tolist() for name, shares in found.items()}


def _plot(key: str, gate: str, rows: dict[str, list[float]]) -> Picture:
    experts = max(map(len, rows.values()))
    plot = Plot(key, f"Gate use: {gate}", (360, 34 + 17 * len(rows)), (118, 8, 24, 6))
    axes = plot.axes
    plot.row_labels(rows)
    for row, (name, shares) in enumerate(rows.items()):
        for expert, share in enumerate(shares):
            cell = Rectangle((expert - 0.48, row - 0.46), 0.96, 0.92, facecolor=PALETTE["c1"], alpha=0.04 + 0.7 * share)
            axes.add_patch(cell)
            plot.tip([cell], f"{name}, expert {expert + 1}: {100 * share:.1f} %")
            if experts <= 12:
                axes.text(expert, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8.5)
    axes.set_xlim(-0.5, experts - 0.5)
    every = 1 + experts // 13
    axes.set_xticks(range(0, experts, every), [str(expert + 1) for expert in range(0, experts, every)])
    axes.xaxis.tick_top()
    axes.spines["bottom"].set_visible(False)
    return Picture(plot.svg(), f"{gate}")
