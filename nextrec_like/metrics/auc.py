"""Exact area under the ROC curve, against observed labels or against true probabilities."""

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics._checks import (
    UndefinedMetricError,
    as_columns,
    binary_and_score,
    check_finite,
    check_not_empty,
    check_probability,
)


def auc(label: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Share of the (positive, negative) pairs in which the positive has the higher score; a tie counts one half.

    Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other", Annals of Mathematical Statistics 1947. Pairs are counted in integers, so the value is exact.

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.

    Returns:
        A value in [0, 1]; 0.5 is chance.

    Raises:
        InputError: If a class is missing, or a column breaks a rule.
    """
    positive, scores = binary_and_score(label, score)
    above = np.sort(scores[positive])
    below = np.sort(scores[~positive])
    if len(above) == 0 or len(below) == 0:
        raise UndefinedMetricError(f"AUC needs both classes: {len(above)} positives in {len(scores)} rows.")
    wins = np.searchsorted(below, above, side="left").sum(dtype=np.int64)
    wins_and_ties = np.searchsorted(below, above, side="right").sum(dtype=np.int64)
    return (int(wins) + int(wins_and_ties)) / (2 * len(above) * len(below))


def expected_auc(probability: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """AUC against true probabilities: the pairs that labels drawn from them give on average, without the noise.

    Each row counts as a positive with weight ``p`` and as a negative with weight ``1 - p``::

        sum_ij p_i (1 - p_j) ([s_i > s_j] + [s_i = s_j] / 2)  /  (sum_i p_i  sum_j (1 - p_j))

    The pair of a row with itself counts as a tie, as in a table that holds each row once with each label. The
    quotient is that of the expected counts, not the expectation of the quotient; they agree for large ``N``.

    Args:
        probability: True probability of a positive, shape ``(N,)``.
        score: Any increasing function of the predicted probability, shape ``(N,)``.

    Returns:
        A value in [0, 1]; 0.5 is chance. The true probabilities themselves reach 1 only where all are 0 or 1.

    Raises:
        InputError: If all probabilities are 0 or all are 1, or a column breaks a rule.
    """
    p, scores = as_columns({"probability": probability, "score": score})
    check_not_empty(p)
    check_probability(p)
    check_finite("score", scores)
    distinct, rank = np.unique(scores, return_inverse=True)
    positives = np.bincount(rank, weights=p, minlength=len(distinct))  # (S,) distinct scores, ascending
    negatives = np.bincount(rank, weights=1 - p, minlength=len(distinct))  # (S,)
    pairs = float(positives.sum() * negatives.sum())
    if pairs == 0:
        raise UndefinedMetricError(f"Expected AUC needs both classes: all {len(p)} probabilities are {p[0]:g}.")
    below = np.cumsum(negatives) - negatives / 2
    return float(positives @ below) / pairs
