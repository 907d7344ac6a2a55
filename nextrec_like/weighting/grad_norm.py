"""GradNorm: weights that bring the gradient norms of all tasks to a common, pace-dependent level."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nextrec_like.errors import integer_in, number_in
from nextrec_like.weighting.base import TaskStats, Weighting, share_among_active
from nextrec_like.weighting.numbers import task_numbers

MIN_WEIGHT = 1e-3
"""Smallest weight: a task below it would not recover within an epoch."""


class GradNorm(Weighting):
    """Raises the weight of tasks whose gradient is small for how far behind they are.

    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks",
    ICML 2018, eq. 1 and 2, algorithm 1. https://arxiv.org/abs/1711.02257

    With ``n_k`` the norm of the gradient of ``L_k`` on the last shared layer, ``G_k = w_k n_k`` and
    ``r_k = (L_k / L_k(0)) / mean_j (L_j / L_j(0))``, the weights descend ``sum_k |G_k - mean(G) r_k^alpha|`` by
    Adam and sum to T. As ``n_k`` is free of ``w``, that gradient is ``n_k sign(G_k - target_k)``: no double
    backward. Deviations: the target is divided by ``mean_j r_j^alpha``, so that it can be reached by all tasks at
    once for every alpha; ``L_k(0)`` is an average over the first steps, during which the weights stay as they are;
    weights are held above `MIN_WEIGHT` before they are scaled to their sum.

    Args:
        alpha: Strength of the pull towards tasks that are behind; 0 makes all gradient norms equal.
        lr: Step of the weights.
        init_weights: Weights at the start, as a number, list or dict by task name; scaled to sum to T.
        ema_decay: Decay of the moving average of each task's current loss; 0 or None uses the loss of the batch.
        init_ema_steps: Observed batches of a task over which its initial loss is averaged.
        init_ema_decay: Decay of that average.
        eps: Loss, relative to the initial loss, that counts as 0.
    """

    needs = "norms"

    def __init__(
        self,
        alpha: float = 1.5,
        lr: float = 0.025,
        init_weights: float | Sequence[float] | Mapping[str, float] | None = None,
        ema_decay: float | None = 0.9,
        init_ema_steps: int = 20,
        init_ema_decay: float = 0.9,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        self.alpha = number_in("`alpha` of grad_norm", alpha)
        self.lr = number_in("`lr` of grad_norm", lr)
        self.ema_decay = number_in("`ema_decay` of grad_norm", ema_decay or 0, 0, 1)
        self.init_ema_steps = max(1, integer_in("`init_ema_steps` of grad_norm", init_ema_steps))
        self.init_ema_decay = number_in("`init_ema_decay` of grad_norm", init_ema_decay, 0, 1)
        self.eps = number_in("`eps` of grad_norm", eps, 0, 1)
        self.init_weights = init_weights
        self.weights: Tensor
        self.steps: Tensor
        self.initial_sum: Tensor
        self.current_sum: Tensor
        self.updates: Tensor
        self.moment: Tensor
        self.square: Tensor

    def make_state(self, num_tasks: int) -> None:
        """Weights, the averages of initial and current losses, and Adam's moments."""
        given = 1.0 if self.init_weights is None else self.init_weights
        weights = torch.tensor(task_numbers("init_weights", given, self.task_names))
        weights = (weights * num_tasks / weights.sum()).clamp(min=MIN_WEIGHT)
        self.register_buffer("weights", weights * num_tasks / weights.sum())
        self.register_buffer("steps", torch.zeros(num_tasks))
        self.register_buffer("updates", torch.zeros(num_tasks))
        for name in ("initial_sum", "current_sum", "moment", "square"):
            self.register_buffer(name, torch.zeros(num_tasks))

    def forward(self, stats: TaskStats) -> Tensor:
        return share_among_active(self.weights, stats.active)

    def observe(self, stats: TaskStats) -> None:
        """One step of the averages and, once the initial losses are known, of the weights."""
        assert stats.norms is not None
        usable = stats.active & torch.isfinite(stats.losses) & torch.isfinite(stats.norms)
        self._average_losses(torch.where(usable, stats.losses, 0), usable)
        ready = usable & (self.steps > self.init_ema_steps)
        gradient = weight_gradient(
            torch.where(ready, self.weights, 0), torch.where(ready, stats.norms, 0), self._pace(), ready, self.alpha
        )
        self._descend(gradient, ready)

    def _average_losses(self, losses: Tensor, usable: Tensor) -> None:
        self.steps += usable
        in_start = usable & (self.steps <= self.init_ema_steps)
        initial = torch.lerp(losses, self.initial_sum, self.init_ema_decay)
        self.initial_sum.copy_(torch.where(in_start, initial, self.initial_sum))
        current = torch.lerp(losses, self.current_sum, self.ema_decay)
        self.current_sum.copy_(torch.where(usable, current, self.current_sum))

    def _pace(self) -> Tensor:
        """``L_k / L_k(0)`` from the bias-corrected averages, shape ``(T,)``."""
        initial = self.initial_sum / (1 - self.init_ema_decay ** self.steps.clamp(1, self.init_ema_steps))
        current = self.current_sum / (1 - self.ema_decay ** self.steps.clamp(min=1))
        return (current / initial.clamp(min=torch.finfo(initial.dtype).tiny)).clamp(min=self.eps)

    def _descend(self, gradient: Tensor, ready: Tensor) -> None:
        """Adam on the weights of the tasks that are ready, which keep their share of the sum."""
        self.updates += ready
        self.moment.copy_(torch.where(ready, torch.lerp(gradient, self.moment, 0.9), self.moment))
        self.square.copy_(torch.where(ready, torch.lerp(gradient**2, self.square, 0.999), self.square))
        count = self.updates.clamp(min=1)
        moment, square = self.moment / (1 - 0.9**count), self.square / (1 - 0.999**count)
        step = self.lr * moment / square.sqrt().clamp(min=torch.finfo(square.dtype).tiny)
        moved = torch.where(ready, (self.weights - step).clamp(min=MIN_WEIGHT), 0)
        share = torch.where(ready, self.weights, 0).sum() / moved.sum().clamp(min=MIN_WEIGHT)
        self.weights.copy_(torch.where(ready, moved * share, self.weights))


def weight_gradient(weights: Tensor, norms: Tensor, pace: Tensor, active: Tensor, alpha: float) -> Tensor:
    """``d/dw_k sum_j |w_j n_j - target_j|`` with constant targets, relative to the mean norm.

    Args:
        weights: ``w``, 0 for inactive tasks, shape ``(T,)``.
        norms: ``n``, 0 for inactive tasks, shape ``(T,)``.
        pace: ``L_k / L_k(0)``, positive, shape ``(T,)``.
        active: Tasks that take part, bool, shape ``(T,)``.
        alpha: Exponent of the relative pace.

    Returns:
        The gradient divided by the mean norm, so that it is free of the scale of the losses, shape ``(T,)``.
    """
    log_rate = torch.where(active, alpha * pace.log(), -torch.inf)
    share = torch.where(active, log_rate.softmax(dim=0), 0)  # r^alpha / sum r^alpha
    magnitude = weights * norms
    target = magnitude.sum() * share
    mean_norm = norms.sum() / active.sum().clamp(min=1)
    return norms / mean_norm.clamp(min=torch.finfo(norms.dtype).tiny) * torch.sign(magnitude - target)
