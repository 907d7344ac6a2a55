"""Distance between labels and predictions, in the unit of the label."""

import numpy as np
import numpy.typing as npt

from nextrec_like.metrics._checks import value_and_prediction


def rmse(label: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Root of the mean squared error.

    Args:
        label: Finite values, shape ``(N,)``; for a binary task 0 or 1.
        prediction: Finite values, shape ``(N,)``; for a binary task the probability of a 1.

    Raises:
        InputError: If a column breaks a rule.
    """
    labels, predictions = value_and_prediction(label, prediction)
    return float(np.sqrt(np.square(predictions - labels).mean()))


def mae(label: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Mean absolute error.

    Args:
        label: Finite values, shape ``(N,)``; for a binary task 0 or 1.
        prediction: Finite values, shape ``(N,)``; for a binary task the probability of a 1.

    Raises:
        InputError: If a column breaks a rule.
    """
    labels, predictions = value_and_prediction(label, prediction)
    return float(np.abs(predictions - labels).mean())
