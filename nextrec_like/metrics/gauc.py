"""AUC within groups, for recommenders that rank the items of one user against each other."""

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics._checks import (
    BoolArray,
    FloatArray,
    IntArray,
    UndefinedMetricError,
    as_columns,
    binary_and_score,
    check_binary,
    check_lengths,
    check_not_empty,
)
from nextrec_like.metrics.groups import group_codes


def gauc(label: npt.ArrayLike, score: npt.ArrayLike, group: npt.ArrayLike) -> float:
    """AUC within each group, averaged with the impressions of the group as weights.

    Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", KDD 2017, section 4.
    https://arxiv.org/abs/1703.02091

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.
        group: Group of each row, usually the user, as integers or strings, shape ``(N,)``.

    Returns:
        A value in [0, 1]; 0.5 is chance. Groups with a single class are left out.

    Raises:
        InputError: If no group has both classes, or a column breaks a rule.
    """
    positive, scores = binary_and_score(label, score)
    codes = group_codes(group)
    check_lengths({"label": positive, "group": codes})
    aucs, rows = aucs_of_groups(codes, positive, scores)
    return float(np.average(aucs, weights=rows))


def gauc_groups(label: npt.ArrayLike, group: npt.ArrayLike) -> int:
    """Number of groups with both classes, which are the groups that `gauc` averages over.

    Args:
        label: 0 or 1, shape ``(N,)``.
        group: Group of each row, as integers or strings, shape ``(N,)``.

    Raises:
        InputError: If a column breaks a rule.
    """
    (labels,) = as_columns({"label": label})
    check_not_empty(labels)
    check_binary(labels)
    codes = group_codes(group)
    check_lengths({"label": labels, "group": codes})
    positives, negatives = _count_classes(codes, labels == 1)
    return int(np.count_nonzero(positives * negatives))


def aucs_of_groups(codes: IntArray, positive: BoolArray, scores: FloatArray) -> tuple[FloatArray, IntArray]:
    """AUC and number of rows of each group with both classes, in the order of the codes.

    Args:
        codes: Group of each row, numbered from 0 without gaps, shape ``(N,)``.
        positive: Whether the label is 1, shape ``(N,)``.
        scores: Finite scores, shape ``(N,)``.

    Returns:
        Both of shape ``(G,)``; `gauc` is the mean of the first, weighted with the second.

    Raises:
        UndefinedMetricError: If no group has both classes.
    """
    positives, negatives = _count_classes(codes, positive)  # one of each per group
    pairs = positives * negatives
    used = pairs > 0
    if not used.any():
        raise UndefinedMetricError(f"GAUC needs a group with both classes: none of {len(pairs)} groups has them.")
    wins = _doubled_wins(codes, scores, positive, negatives)
    return wins[used] / (2 * pairs[used]), (positives + negatives)[used]


def _count_classes(codes: IntArray, positive: BoolArray) -> tuple[IntArray, IntArray]:
    rows = np.bincount(codes)
    positives = np.bincount(codes[positive], minlength=len(rows))
    return positives, rows - positives


def _doubled_wins(codes: IntArray, scores: FloatArray, positive: BoolArray, negatives: IntArray) -> IntArray:
    """Pairs of each group in which the positive is above the negative, counted as 2, and ties, counted as 1."""
    distinct, rank = np.unique(scores, return_inverse=True)
    # Group, score and label in one integer: sorting integers is several times faster than sorting indices.
    key = np.sort(((codes * len(distinct) + rank) << 1) | positive)
    tie = key >> 1
    first = _starts(tie)  # (K,) the first row of each run with equal group and score
    positives_at = np.add.reduceat(key & 1, first)  # (K,)
    negatives_at = np.diff(first, append=len(key)) - positives_at  # (K,)
    group = tie[first] // len(distinct)  # (K,)
    negatives_before_group = np.cumsum(negatives) - negatives  # (G,)
    below = np.cumsum(negatives_at) - negatives_at - negatives_before_group[group]  # (K,)
    return np.add.reduceat(positives_at * (2 * below + negatives_at), _starts(group))  # (G,)


def _starts(column: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(column, prepend=-1))
