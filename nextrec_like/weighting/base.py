"""The contract of a weighting: how T losses become one gradient."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextrec_like.errors import InputError


@dataclass(frozen=True)
class TaskStats:
    """What a weighting sees of one step; all tensors are detached and on one device.

    Attributes:
        losses: Mean loss of each task, float32, shape ``(T,)``.
        active: Tasks with an observed label in the batch, bool, shape ``(T,)``.
        norms: Norm of each task's unweighted gradient at the site, shape ``(T,)``; if `Weighting.needs` asks.
    """

    losses: Tensor
    active: Tensor
    norms: Tensor | None = None


class Weighting(nn.Module):
    """Gives each task a weight at every step. Knows nothing of recommenders.

    All state lies in buffers, so that it is saved and restored with the training. A weighting belongs to one
    model: `bind` makes its state for the tasks of that model.

    Attributes:
        needs: ``losses`` or ``norms``: what `TaskStats` must hold.
    """

    needs = "losses"

    def __init__(self) -> None:
        super().__init__()
        self.task_names: list[str] = []

    def bind(self, task_names: Sequence[str]) -> None:
        """Makes the state for these tasks.

        Raises:
            InputError: If it is already bound: state of one training must not leak into another.
        """
        if self.task_names:
            raise InputError(
                f"This {type(self).__name__} already belongs to a model with the tasks {', '.join(self.task_names)}; "
                f"create a new one."
            )
        self.task_names = list(task_names)
        self.make_state(len(task_names))

    def make_state(self, num_tasks: int) -> None:
        """Registers the buffers; a weighting without state has none."""

    @abstractmethod
    def forward(self, stats: TaskStats) -> Tensor:
        """Weights for this step, shape ``(T,)``; pure, given the buffers."""

    def observe(self, stats: TaskStats) -> None:
        """Updates the state after the step."""


def share_among_active(weights: Tensor, active: Tensor) -> Tensor:
    """Weights that sum to the number of active tasks; 0 for the others, which then might as well not exist."""
    kept = torch.where(active, weights, 0)
    return kept * active.sum() / kept.sum().clamp(min=torch.finfo(kept.dtype).tiny)
