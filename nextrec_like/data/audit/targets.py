"""The labels as an audit looks at them, and how well a score tells them apart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nextrec_like.tasks import Task, TaskSet

FEWEST = 20
"""Rows of each label, below which a perfect score may be chance or an honest strong feature."""
REPEATED = 0.9
"""Share of the rows whose labels occur often enough, from which on a feature can be called a function of the label."""


@dataclass(frozen=True)
class Target:
    """The observed labels of a task; of one with a parent, only where that happened.

    So a feature that gives away the click is not said to give away the conversion, too.

    Attributes:
        task: The task.
        rows: Rows with a label, shape ``(M,)``.
        value: Binary: the label. Regression: its rank from 0 to 1, equal labels sharing one. Shape ``(M,)``.
        judged: Rows whose label occurs often; none if these are too few of all, shape ``(J,)``.
        like: For each of these, the first row with the same label, shape ``(J,)``.
    """

    task: Task
    rows: np.ndarray
    value: np.ndarray
    judged: np.ndarray
    like: np.ndarray

    @property
    def is_binary(self) -> bool:
        return self.task.kind == "binary"

    @property
    def measure(self) -> str:
        """What `association` is."""
        return "AUC" if self.is_binary else "rank correlation"


def targets_of(labels: np.ndarray, tasks: TaskSet) -> Iterator[Target]:
    """The tasks that have enough labels.

    Args:
        labels: NaN where not observed, shape ``(N, T)``.
        tasks: The tasks.
    """
    position = {name: index for index, name in enumerate(tasks.names)}
    for task in tasks:
        label = labels[:, position[task.name]]
        use = ~np.isnan(label)
        if task.parent is not None:
            use &= labels[:, position[task.parent]] == 1
        target = _target(task, np.flatnonzero(use), label[use])
        if target is not None:
            yield target


def _target(task: Task, rows: np.ndarray, label: np.ndarray) -> Target | None:
    values, first, group, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    fewest = count.min(initial=len(rows)) if task.kind == "binary" else len(rows)
    if len(values) < 2 or fewest < FEWEST:
        return None
    value = label if task.kind == "binary" else ((np.cumsum(count) - count / 2) / len(rows))[group]
    often = (count >= FEWEST)[group]
    often &= often.mean() >= REPEATED
    return Target(task, rows, value, rows[often], rows[first[group[often]]])


def association(target: Target, key: np.ndarray) -> float:
    """AUC of a key for a binary label, or its rank correlation (Spearman) with a regression's; ties share a rank.

    Both follow from the covariance of the ranks of the key with the labels, and that from counts by key.

    Args:
        target: The labels.
        key: Of its rows: non-negative integers, not much larger than the number of rows, shape ``(M,)``.
    """
    value = target.value
    count, total = np.bincount(key), np.bincount(key, value)
    rank = np.cumsum(count) - (count + len(key)) / 2  # (S,) minus its mean
    covariance = total @ rank
    if target.is_binary:
        positives = value.sum()
        return float(0.5 + covariance / (positives * (len(value) - positives)))
    spread = np.sqrt((count @ rank**2) * np.square(value - value.mean()).sum())
    return float(covariance / spread) if spread else 0.0
