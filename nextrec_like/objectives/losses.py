"""How wrong one prediction is: element-wise losses."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nextrec_like.errors import InputError, number_in


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
        self.class_weight = None if class_weight is None else _checked_class_weight(class_weight)

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
        self.gamma = number_in("`gamma`", gamma)

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        margin = score * (2 * label - 1)  # logit of p(label)
        modulation = torch.exp(self.gamma * F.logsigmoid(-margin))  # (1 - p)^gamma, with a finite slope at p = 1
        return self._weigh(modulation * F.softplus(-margin), label)


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
        self.delta = number_in("`delta`", delta, above_low=True)

    def __call__(self, score: Tensor, label: Tensor) -> Tensor:
        return F.huber_loss(score, label, reduction="none", delta=self.delta)


def _checked_class_weight(class_weight: Sequence[float]) -> list[float]:
    listed = class_weight.tolist() if hasattr(class_weight, "tolist") else class_weight
    values = (
        [number_in("Each of `class_weight`", value) for value in listed] if isinstance(listed, (list, tuple)) else []
    )
    if len(values) != 2 or not any(values):
        raise InputError(
            f"`class_weight` should be a list of two numbers, for the classes 0 and 1, not both 0. "
            f"Received {class_weight!r}."
        )
    return values
