"""Log loss of predicted probabilities."""

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics._checks import binary_and_probability

# Keeps the loss of a certain and wrong prediction finite, at 36 nats. The value of scikit-learn for float64.
EPSILON = float(np.finfo(np.float64).eps)


def logloss(label: npt.ArrayLike, probability: npt.ArrayLike) -> float:
    """Mean negative log-likelihood, in nats.

    Args:
        label: 0 or 1, shape ``(N,)``.
        probability: Predicted probability of a 1, shape ``(N,)``.

    Returns:
        A value of at least 0; 0 is perfect.

    Raises:
        InputError: If a column breaks a rule.
    """
    positive, p = binary_and_probability(label, probability)
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return float(-np.log(np.where(positive, p, 1 - p)).mean())
