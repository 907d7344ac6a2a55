"""How much of an AUC, or of a difference of two, is owed to the rows that happen to be in the sample.

DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
Curves", Biometrics 1988, with the sorting of Sun and Xu, "Fast Implementation of DeLong's Algorithm for Comparing the
Areas Under Correlated Receiver Operating Characteristic Curves", IEEE Signal Processing Letters 2014.

Rows count as independent. Where the rows of one user hang together, the intervals are too narrow; the group bootstrap
of `gauc_difference_interval` draws whole groups. With few positives, say below 20, they are approximate.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics._checks import (
    BoolArray,
    FloatArray,
    UndefinedMetricError,
    as_columns,
    binary_and_score,
)
from nextrec_like.metrics.interval import Interval, normal_interval


def auc_interval(label: npt.ArrayLike, score: npt.ArrayLike) -> Interval:
    """An AUC with its 95 % interval by DeLong's method, and the p-value against chance.

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.

    Returns:
        The interval, cut to [0, 1]; without width if all pairs are in order, which says more of the method than
        of the score.

    Raises:
        InputError: If a class has fewer than two rows, or a column breaks a rule.
    """
    positive, scores = binary_and_score(label, score)
    interval = placement_interval(positive, _placements(positive, scores), null=0.5)
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))


def auc_difference_interval(label: npt.ArrayLike, score: npt.ArrayLike, other: npt.ArrayLike) -> Interval:
    """The AUC of a score minus that of another score of the same rows, with its 95 % interval by DeLong's method.

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.
        other: The other score, shape ``(N,)``.

    Returns:
        The interval of the difference, and the p-value against none. Scores that order the rows alike give an
        interval without width at 0, and 1.

    Raises:
        InputError: If a class has fewer than two rows, or a column breaks a rule.
    """
    return placement_interval(_positive(label), placements(label, score) - placements(label, other))


def placements(label: npt.ArrayLike, score: npt.ArrayLike) -> FloatArray:
    """For each row the share of the other class that it is in order with; a tie counts one half.

    For a positive this is the share of negatives below it, for a negative the share of positives above it: the
    components V10 and V01 of the paper, eq. 3. The mean over either class is the AUC. Since the mean of several
    scores' placements has the mean AUC, its interval follows from averaged placements.

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.

    Returns:
        Values in [0, 1], in the order of the rows, shape ``(N,)``.

    Raises:
        InputError: If a class is missing, or a column breaks a rule.
    """
    return _placements(*binary_and_score(label, score))


def placement_interval(positive: BoolArray, placement: FloatArray, null: float = 0.0) -> Interval:
    """The interval of an AUC, or of a linear combination of AUCs, from the same combination of placements.

    Args:
        positive: Whether the label is 1, shape ``(N,)``.
        placement: Combined placements, shape ``(N,)``.
        null: Value that the p-value is against.

    Raises:
        UndefinedMetricError: If a class has fewer than two rows.
    """
    check_classes(positive)
    above, below = placement[positive], placement[~positive]  # (P,), (N - P,)
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    return normal_interval(float(above.mean()), float(variance), null)


def check_classes(positive: BoolArray) -> None:
    """Raises `UndefinedMetricError` unless both classes have two rows, without which they have no variance."""
    positives = int(np.count_nonzero(positive))
    if not 2 <= positives <= len(positive) - 2:
        raise UndefinedMetricError(
            f"DeLong's interval needs two rows of each class: {positives} positives in {len(positive)} rows."
        )


def _positive(label: npt.ArrayLike) -> BoolArray:
    (labels,) = as_columns({"label": label})
    return labels == 1


def _placements(positive: BoolArray, scores: FloatArray) -> FloatArray:
    num_positives = int(np.count_nonzero(positive))
    num_negatives = len(scores) - num_positives
    if num_positives == 0 or num_negatives == 0:
        raise UndefinedMetricError(f"AUC needs both classes: {num_positives} positives in {len(scores)} rows.")
    order = np.argsort(scores)
    ranked, is_positive = scores[order], positive[order]
    is_first = np.empty(len(scores), dtype=bool)  # of a run of equal scores
    is_first[0] = True
    np.not_equal(ranked[1:], ranked[:-1], out=is_first[1:])
    first = np.flatnonzero(is_first)  # (K,)
    positives = np.add.reduceat(is_positive, first, dtype=np.int64)  # (K,)
    negatives = np.diff(first, append=len(scores)) - positives  # (K,)
    below = (np.cumsum(negatives) - negatives / 2) / num_negatives  # (K,)
    above = 1 - (np.cumsum(positives) - positives / 2) / num_positives  # (K,)
    run = np.cumsum(is_first) - 1  # (N,)
    placement = np.empty(len(scores))
    placement[order] = np.where(is_positive, below[run], above[run])
    return placement
