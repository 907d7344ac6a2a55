"""GAUC of any number of rows: all rows of as many groups as fit, drawn by the hash of the group."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from nextrec_like.metrics._checks import BoolArray, FloatArray, IntArray, UndefinedMetricError
from nextrec_like.metrics.evaluate import TaskMetrics
from nextrec_like.metrics.gauc import aucs_of_groups
from nextrec_like.metrics.groups import KeyArray, group_keys
from nextrec_like.metrics.rows import Rows

Part: TypeAlias = tuple[KeyArray, BoolArray, FloatArray]
"""Hash of the group, whether the label is 1, and score of some rows."""
NORMAL_QUANTILE = 1.959963984540054
"""Of 97.5 %."""


class GroupSample:
    """All rows of the groups whose hash is in the kept share, which is halved when they are more than fit.

    Shares are nested: a group of a share belongs to every larger one. So which groups are kept depends on all the
    rows that were seen, not on their order, chunks or merges.

    Args:
        names: Not needed: there is one such metric.
        max_rows: Rows that fit.
    """

    def __init__(self, names: Sequence[str], max_rows: int) -> None:
        self.max_rows = max_rows
        self.halvings = 0
        self.parts: list[Part] = []

    @property
    def share(self) -> float:
        """Share of all groups that is kept."""
        return 0.5**self.halvings

    def add(self, rows: Rows) -> None:
        assert rows.group is not None
        self._include([(group_keys(rows.group), rows.label == 1, rows.prediction)])

    def merge(self, other: "GroupSample") -> None:
        if self.halvings < other.halvings:
            self.halvings = other.halvings
            self.parts = self._kept(self.parts)
        self._include(other.parts)

    def write(self, name: str, result: TaskMetrics) -> None:
        """Adds GAUC over the kept groups, their number, their share, and half the width of the 95 % interval.

        Groups are drawn each with probability ``q``, so the total of ``e = rows x (AUC - GAUC)`` over those kept,
        scaled up by ``1 / q``, has the variance ``(1 - q) / q^2  sum e^2`` (Horvitz and Thompson, "A Generalization of
        Sampling Without Replacement from a Finite Universe", Journal of the American Statistical Association 1952).
        GAUC is a ratio of totals; by the delta method its variance is::

            (1 - q)  G / (G - 1)  sum e^2  /  (sum rows)^2,    sums over the G kept groups with both classes.

        The interval is too narrow with fewer than some 30 groups. Of one group nothing is known: the margin is 1.

        Raises:
            UndefinedMetricError: If no kept group has both classes.
        """
        result.group_share = self.share
        result[name], result[f"{name}_groups"] = None, 0
        aucs, rows = self._aucs()
        value = np.average(aucs, weights=rows)
        num_groups = len(aucs)
        error_of_total = np.square(rows * (aucs - value)).sum() * num_groups / max(num_groups - 1, 1)
        margin = NORMAL_QUANTILE * np.sqrt((1 - self.share) * error_of_total) / rows.sum()
        result[name], result[f"{name}_groups"] = float(value), num_groups
        if self.halvings:
            result.error_bounds[name] = float(min(margin, 1.0)) if num_groups > 1 else 1.0

    def _aucs(self) -> tuple[FloatArray, IntArray]:
        keys, positive, scores = (np.concatenate(columns) for columns in zip(*self.parts))
        try:
            return aucs_of_groups(np.unique(keys, return_inverse=True)[1], positive, scores)
        except UndefinedMetricError as error:
            kept = f"the share of 1/{2**self.halvings} that fits `max_rows`; raise it"
            raise UndefinedMetricError(f"GAUC needs a group with both classes: there is none in {kept}.") from error

    def _include(self, parts: list[Part]) -> None:
        self.parts = self.parts + self._kept(parts)
        while sum(len(keys) for keys, _, _ in self.parts) > self.max_rows:
            self.halvings += 1
            self.parts = self._kept(self.parts)

    def _kept(self, parts: list[Part]) -> list[Part]:
        end = np.uint64((2**64 - 1) >> self.halvings)  # 0 in the end, so that halving comes to one
        masks = [keys < end for keys, _, _ in parts]
        return [(keys[mask], positive[mask], scores[mask]) for (keys, positive, scores), mask in zip(parts, masks)]
