"""How wrong one prediction is: element-wise losses."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nextrec_like.errors import InputError


class Loss(ABC):
    """An element-wise loss, ``(B,), (B,) -> (B,)``.

    Attributes:
        kinds: Kinds of task that it suits.
        needs_logit: For a binary task, whether it takes the logit; otherwise it takes the probability.
    """

    kinds: tuple[str, ...] = ("binary", "regression")
    needs_logit = False

    @abstractmethod
    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        """Loss of each row.

        Args:
            score: Logit, probability or value, shape ``(B,)``.
            label: Observed label, finite, shape ``(B,)``.
        """


class ClassWeighted(Loss):
    """A loss for labels 0 and 1 that can weigh the two classes.

    Args:
        class_weight: Weights of the classes 0 and 1.
    """

    kinds = ("binary",)
    needs_logit = True

    def __init__(self, class_weight: Sequence[float] | None = None) -> None:
        if class_weight is not None:
            _check_class_weight(class_weight)
        self.class_weight = class_weight

    def _weigh(self, loss: Tensor, label: Tensor) -> Tensor:
        if self.class_weight is None:
            return loss
        negative, positive = self.class_weight
        return loss * (negative + (positive - negative) * label)


class BCE(ClassWeighted):
    """Binary cross-entropy of a logit, in nats."""

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        return self._weigh(F.binary_cross_entropy_with_logits(score, label, reduction="none"), label)


class Focal(ClassWeighted):
    """Cross-entropy that counts rows less the better they are predicted.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4; `class_weight` is the paper's alpha.
    https://arxiv.org/abs/1708.02002

    Args:
        gamma: Exponent of 1 - p(label); 0 is cross-entropy.
        class_weight: Weights of the classes 0 and 1.
    """

    def __init__(self, gamma: float = 2.0, class_weight: Sequence[float] | None = None) -> None:
        super().__init__(class_weight)
        self.gamma = _checked_positive("gamma", gamma, allow_zero=True)

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        margin = score * (2 * label - 1)  # logit of p(label)
        return self._weigh(torch.sigmoid(-margin) ** self.gamma * F.softplus(-margin), label)


class MSE(Loss):
    """Squared error; of the probability for a binary task (Brier score)."""

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        return (score - label) ** 2


class MAE(Loss):
    """Absolute error; of the probability for a binary task."""

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        return (score - label).abs()


class Huber(Loss):
    """Squared error near 0, absolute error beyond `delta`.

    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.

    Args:
        delta: Error, in the unit of the label, where the loss becomes linear.
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = _checked_positive("delta", delta)

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        return F.huber_loss(score, label, reduction="none", delta=self.delta)


def _check_class_weight(class_weight: Sequence[float]) -> None:
    values = list(class_weight) if isinstance(class_weight, (list, tuple)) else []
    valid = [value for value in values if isinstance(value, (int, float)) and 0 <= value < float("inf")]
    if len(values) != 2 or len(valid) != 2 or not any(valid):
        raise InputError(
            f"`class_weight` should be two finite non-negative numbers, for the classes 0 and 1, not both 0. "
            f"Received {class_weight!r}."
        )


def _checked_positive(parameter: str, value: float, *, allow_zero: bool = False) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value >= 0 if allow_zero else value > 0) or value == float("inf"):
        raise InputError(
            f"`{parameter}` should be a {'non-negative' if allow_zero else 'positive'} number. Received {value!r}."
        )
    return float(value)
