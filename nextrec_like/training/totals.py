"""Sums over the steps of an epoch."""

from collections.abc import Sequence

import torch

from nextrec_like.weighting import Step


class EpochTotals:
    """Sums over the steps of an epoch, on the device, so that no step waits for them.

    Args:
        num_tasks: Number of tasks.
        device: Where losses are.

    Attributes:
        steps: Steps so far, skipped ones included.
    """

    def __init__(self, num_tasks: int, device: torch.device) -> None:
        zeros = torch.zeros(num_tasks, dtype=torch.float64, device=device)
        self.losses, self.counts, self.weights, self.total = zeros, zeros.clone(), zeros.clone(), zeros.clone()
        self.last_skipped = zeros.clone()
        self._runs = torch.zeros(3, dtype=torch.int64, device=device)  # skipped, skipped in a row now, and at most
        self.steps = 0

    def add(self, step: Step) -> None:
        """Adds a step; one that is not finite counts as skipped."""
        self.steps += 1
        taken = step.is_finite
        self.losses += torch.where(taken, step.losses * step.counts, 0)
        self.total += torch.where(taken, step.losses * step.weights, 0)
        self.counts += torch.where(taken, step.counts, 0)
        self.weights += torch.where(taken, step.weights, 0)
        self.last_skipped = torch.where(taken, self.last_skipped, step.losses.double())
        skipped, row, longest = (self._runs + 1).unbind()
        now = torch.stack([skipped, row, torch.maximum(longest - 1, row)])
        self._runs = torch.where(taken, self._runs * self._runs.new_tensor([1, 0, 1]), now)

    def mean_total_loss(self) -> float:
        """Mean weighted loss of the epoch so far; waits for the device."""
        return float(self.total.sum()) / max(1, self.steps)

    def skipped(self) -> tuple[int, int]:
        """Steps that were skipped, and at most in a row; waits for the device."""
        skipped, _, longest = self._runs.tolist()
        return skipped, longest

    def read(self, names: Sequence[str]) -> tuple[dict[str, float | None], dict[str, float]]:
        """Mean loss over the observed rows, and mean weight over the steps, by task."""
        counts, taken = self.counts.tolist(), self.steps - self.skipped()[0]
        losses = [loss / count if count else None for loss, count in zip(self.losses.tolist(), counts)]
        return dict(zip(names, losses)), dict(zip(names, (self.weights / max(1, taken)).tolist()))
