"""What goes into a step of the balancer, and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from nextrec_like.weighting.base import TaskStats


class Losses(Protocol):
    """The losses of a batch or of a part of it: one mean per task, and its observed rows, shape ``(T,)``."""

    @property
    def values(self) -> Sequence[Tensor]: ...

    @property
    def counts(self) -> Tensor: ...


@dataclass
class Step:
    """A step whose gradients lie in the parameters.

    Attributes:
        stats: What the weighting saw, or would have seen.
        asked: Whether it was asked.
        own_weights: Its answer, where weights are normalized with mean 1, shape ``(T,)``.
        weights: What the losses were multiplied with: the answer times the user's priorities, normalized.
        counts: Observed rows of each task in the batch of all processes, shape ``(T,)``.
        losses: Mean loss of each task over these rows, detached, shape ``(T,)``.
        is_finite: Whether all losses and gradients are finite, bool, 0-dim; whoever takes the step finds out.
        moves: Parameters that bypass the optimizer, each with its step for a learning rate of 1.
    """

    stats: TaskStats
    asked: bool
    own_weights: Tensor
    weights: Tensor
    counts: Tensor
    losses: Tensor
    is_finite: Tensor = field(default_factory=lambda: torch.tensor(True))
    moves: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def active(self) -> Tensor:
        """Tasks with an observed label in the batch, bool, shape ``(T,)``."""
        return self.counts > 0
