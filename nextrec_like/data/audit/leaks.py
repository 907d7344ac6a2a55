"""Features that give a label away."""

from collections.abc import Iterator, Sequence

import numpy as np

from nextrec_like.data.audit.columns import Column, codes
from nextrec_like.data.audit.findings import Finding
from nextrec_like.data.audit.targets import Target, association, targets_of
from nextrec_like.data.packed import PackedData
from nextrec_like.tasks import TaskSet

LIMIT = 0.995
"""AUC or absolute rank correlation of a single feature from which on it is too good to be true."""
FIRST_ROWS = 256
"""Rows that show most features not to be constant."""
LARGEST_LOGIT, STEPS = 16, 256
"""Scores are compared in steps of 1 / 256 of a logit, that is 0.4 percent of the odds, and end at odds of e ** 16."""


def find_leaks(sample: PackedData, columns: Sequence[Column], tasks: TaskSet) -> list[Finding]:
    """Copies of a label, and features with an AUC or rank correlation above `LIMIT`; of a vector the worst number.

    A number is ranked by itself, so that monotone leaks show. So that others do, any feature is ranked by the mean
    label of its values, which are bins of numbers, ids, or the ids of a sequence. The means are those of the other half
    of the rows: within the same rows an id with few rows would know its label.

    Args:
        sample: Training rows.
        columns: What to look at.
        tasks: The tasks of its labels.
    """
    if sample.labels is None:
        return []
    half = np.random.default_rng(0).integers(0, 2, len(sample))
    steps = {column.step(len(sample)) for column in columns}
    targets = {step: list(targets_of(sample.labels[::step], tasks)) for step in steps}
    worst: dict[tuple[str, str | None], Finding] = {}
    for column in columns:
        step = column.step(len(sample))
        for finding in _of_column(column, column.some(sample), half[::step], targets[step]):
            key = column.feature, finding.task
            worst[key] = max(finding, worst.get(key, finding), key=lambda each: each.value)
    return list(worst.values())


def _of_column(column: Column, values: np.ndarray, half: np.ndarray, targets: Sequence[Target]) -> Iterator[Finding]:
    code, size = codes(column, values)
    for target in targets:
        if _is_copy(values, target):
            yield Finding("label copy", column.name, "is a function of the label", 1.0, target.task.name)
            continue
        of_target = code[target.rows]
        found = association(target, _score(of_target, size, half[target.rows], target.value))
        if column.vocab_size is None:
            found = max(found, _either_way(target, association(target, of_target[:, 0])))
        if found > LIMIT:
            yield Finding("leak", column.name, f"{target.measure} {found:.4f}", found, target.task.name)


def _is_copy(values: np.ndarray, target: Target) -> bool:
    """Whether a feature is constant where the label is, and not everywhere."""
    for part in (slice(FIRST_ROWS), slice(FIRST_ROWS, None)):
        if not np.array_equal(values[target.judged[part]], values[target.like[part]]):
            return False
    return bool((values[target.like] != values[target.like[:1]]).any())


def _either_way(target: Target, found: float) -> float:
    """The larger of the association of a score and of its negative."""
    return max(found, 1 - found) if target.is_binary else abs(found)


def _score(code: np.ndarray, size: int, half: np.ndarray, value: np.ndarray) -> np.ndarray:
    """What the values of a row say about its label: the mean label of each over the other half, of these the mean.

    Each mean label counts one more row with the mean of all. So a value that the other half lacks stands above one that
    only negatives have, as where each positive has a number of its own and all negatives share one.

    Args:
        code: Values as integers, -1 for padding, at least one per row, shape ``(M, W)``.
        size: Larger than all of them.
        half: 0 or 1, shape ``(M,)``.
        value: Label, shape ``(M,)``.

    Returns:
        The score as a non-negative integer, shape ``(M,)``.
    """
    known = code >= 0
    cell = 2 * code + half[:, None]  # (M, W)
    labels = np.broadcast_to(value[:, None], code.shape)
    count = np.bincount(cell[known], minlength=2 * size)
    total = np.bincount(cell[known], labels[known], minlength=2 * size)
    count, total = (each.reshape(-1, 2)[:, ::-1].ravel() for each in (count, total))  # of the other half
    mean = (total + value.mean()) / (count + 1)  # (2 * size,) in (0, 1)
    score = np.where(known, mean[cell], 0).sum(axis=1) / known.sum(axis=1)
    logit = np.log(score / (1 - score)).clip(-LARGEST_LOGIT, LARGEST_LOGIT)
    return ((logit + LARGEST_LOGIT) * STEPS).astype(np.int64)
