"""Area under the precision-recall curve as average precision."""

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics._checks import UndefinedMetricError, binary_and_score


def pr_auc(label: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Average precision: the precision at each distinct score, weighted with the recall that the score adds.

    The step-wise sum of scikit-learn's `average_precision_score`. Linear interpolation between the points
    would be too optimistic: Davis and Goadrich, "The Relationship Between Precision-Recall and ROC Curves",
    ICML 2006.

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.

    Returns:
        A value in (0, 1]; the share of positives is chance.

    Raises:
        InputError: If there is no positive, or a column breaks a rule.
    """
    positive, scores = binary_and_score(label, score)
    if not positive.any():
        raise UndefinedMetricError(f"PR AUC needs a positive: 0 positives in {len(scores)} rows.")
    rank = np.unique(-scores, return_inverse=True)[1]
    rows = np.bincount(rank)  # (S,) distinct scores, descending
    positives = np.bincount(rank[positive], minlength=len(rows))  # (S,)
    precision = np.cumsum(positives) / np.cumsum(rows)
    return float(positives @ precision / positives.sum())
