"""The targets of docs/performance.md, and whether the results meet them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]
"""What each benchmark wrote, by its name."""


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Attributes:
        what: What is measured.
        benchmark: The name of the results.
        value: Finds the figure among their rows; None if it is not there.
        goal: What the figure should reach.
        at_least: Whether the goal is a lower bound, and not an upper one.
        text: How a figure is written.
    """

    what: str
    benchmark: str
    value: Callable[[list[dict[str, Any]]], float | None]
    goal: float
    at_least: bool
    text: str

    def row(self, results: Results) -> list[str]:
        """The cells: what, target, measured, verdict."""
        bound = f"at least {self.text}" if self.at_least else f"under {self.text}"
        found = self.value(results[self.benchmark]["results"]) if self.benchmark in results else None
        if found is None:
            return [self.what, bound.format(self.goal), "", "not measured"]
        is_met = found >= self.goal if self.at_least else found < self.goal
        return [self.what, bound.format(self.goal), self.text.format(found), "met" if is_met else "**missed**"]


def figure(key: str, unit: float = 1, **where: object) -> Callable[[list[dict[str, Any]]], float | None]:
    """Finds the value under a key, in a unit, in the row with these values under others."""

    def find(rows: list[dict[str, Any]]) -> float | None:
        found = next((row[key] for row in rows if all(row.get(name) == value for name, value in where.items())), None)
        return None if found is None else found / unit

    return find


def metric_seconds(name: str) -> Callable[[list[dict[str, Any]]], float | None]:
    """Finds the seconds of a metric of 10 M rows in 1 M groups."""

    def find(rows: list[dict[str, Any]]) -> float | None:
        wanted = ("functions", 10_000_000, 1_000_000)
        return next((row["seconds"][name] for row in rows if (row["case"], row["rows"], row["groups"]) == wanted), None)

    return find


def largest(key: str) -> Callable[[list[dict[str, Any]]], float | None]:
    """Finds the largest value under a key."""

    def find(rows: Iterable[dict[str, Any]]) -> float | None:
        return max((row[key] for row in rows if row.get(key) is not None), default=None)

    return find


TARGETS = [
    Target("`fit` against NextRec", "peers", figure("ratio", program="nextrec"), 11, True, "{:.1f} times"),
    Target("`fit` against torch-rechub", "peers", figure("ratio", program="torch_rechub"), 3.2, True, "{:.1f} times"),
    Target("`fit` against DeepCTR-Torch", "peers", figure("ratio", program="deepctr_torch"), 2.7, True, "{:.1f} times"),
    Target(
        "`fit` against the hand-written loop of the same mathematics",
        "throughput",
        figure("ratio", loop="fit, dense"),
        0.93,
        True,
        "{:.2f}",
    ),
    Target(
        "samples/s at 1 M rows per table against 10 k, `auto`",
        "vocabulary",
        figure("ratio", vocabulary=1_000_000, embedding_optimizer="auto"),
        0.8,
        True,
        "{:.2f}",
    ),
    Target(
        "streaming epoch against in-memory epoch, 10 M rows",
        "streaming",
        figure("ratio", rows=10_000_000, way="stream"),
        0.9,
        True,
        "{:.2f}",
    ),
    Target(
        "peak memory of streaming 50 M rows",
        "streaming",
        figure("peak_memory", 1e9, rows=50_000_000, way="stream"),
        1.5,
        False,
        "{:.2f} GB",
    ),
    Target(
        "processor, fit and transform, against NextRec's",
        "processor_peer",
        figure("ratio", program="nextrec"),
        10,
        True,
        "{:.1f} times",
    ),
    Target("AUC of 10 M rows", "metrics", metric_seconds("auc"), 2, False, "{:.2f} s"),
    Target("GAUC of 10 M rows, 1 M groups", "metrics", metric_seconds("gauc, integer groups"), 8, False, "{:.2f} s"),
    Target(
        "two processes against one, a core each",
        "scaling",
        figure("speedup", training="fixed weights"),
        1.7,
        True,
        "{:.2f} times",
    ),
    Target(
        "bytes sent a step, 10 x 1 M rows in tables, against the lower bound",
        "scaling",
        largest("of_lower_bound"),
        2,
        False,
        "{:.2f} times",
    ),
    Target("small MMoE on a GPU, samples/s", "gpu_small", largest("samples_per_second"), 10e6, True, "{:,.0f}"),
    Target("large MMoE on a GPU, share of the roofline", "gpu_large", largest("roofline_share"), 0.5, True, "{:.2f}"),
]
