"""Whether predicted probabilities have the right size, which ranking metrics cannot see."""

import numpy as np
import numpy.typing as npt

from nextrec_like.errors import InputError
from nextrec_like.metrics._checks import BoolArray, FloatArray, UndefinedMetricError, binary_and_probability

NUM_BINS = 15


def ece(label: npt.ArrayLike, probability: npt.ArrayLike, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error: the mean gap between prediction and label over bins of equal width.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3, with the probability of a 1 in
    place of the confidence in the predicted class. https://arxiv.org/abs/1706.04599

    Args:
        label: 0 or 1, shape ``(N,)``.
        probability: Predicted probability of a 1, shape ``(N,)``.
        num_bins: Number of bins; each includes its upper edge, and the first also 0.

    Returns:
        A value in [0, 1]; 0 is perfect. With rare positives most rows share the first bin.

    Raises:
        InputError: If `num_bins` is below 1, or a column breaks a rule.
    """
    if num_bins < 1:
        raise InputError(f"`num_bins` must be at least 1, not {num_bins}.")
    positive, p = binary_and_probability(label, probability)
    return float(np.abs(calibration_gaps(positive, p, num_bins)).sum() / len(p))


def calibration_gaps(positive: BoolArray, p: FloatArray, num_bins: int) -> FloatArray:
    """Rows of each bin times (accuracy - confidence), up to the last bin that has rows, shape ``(<= num_bins,)``."""
    inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1]
    bins = np.searchsorted(inner_edges, p, side="left")
    return np.asarray(np.bincount(bins, weights=positive - p), dtype=np.float64)


def pcoc(label: npt.ArrayLike, probability: npt.ArrayLike) -> float:
    """Predicted over observed positives ("predicted click over click"): above 1 the model promises too much.

    Args:
        label: 0 or 1, shape ``(N,)``.
        probability: Predicted probability of a 1, shape ``(N,)``.

    Returns:
        Mean prediction divided by mean label; 1 is perfect.

    Raises:
        InputError: If there is no positive, or a column breaks a rule.
    """
    positive, p = binary_and_probability(label, probability)
    if not positive.any():
        raise UndefinedMetricError(f"PCOC needs a positive: 0 positives in {len(p)} rows.")
    return float(p.sum() / np.count_nonzero(positive))
