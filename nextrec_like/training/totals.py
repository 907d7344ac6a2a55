"""Sums over the steps of an epoch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nextrec_like.weighting import Step


class EpochTotals:
    """Sums over the steps of an epoch, on the device, so that no step waits for them.

    Args:
        num_tasks: Number of tasks.
        device: Where losses are.

    Attributes:
        steps: Steps so far, skipped ones included.
        last_skipped: Losses of the last skipped step, shape ``(T,)``.
    """

    def __init__(self, num_tasks: int, device: torch.device) -> None:
        self._sums = torch.zeros(4, num_tasks, dtype=torch.float64, device=device)  # losses, shares, rows, weights
        self._taken, self._row, self._longest = torch.zeros(3, dtype=torch.int64, device=device).unbind()
        self.last_skipped = torch.zeros(num_tasks, device=device)
        self.steps = 0

    def add(self, step: Step, failed: Tensor | None = None) -> None:
        """Adds a step; one that is not finite counts as skipped.

        Args:
            step: The step.
            failed: Whether it counts in a row of skipped ones, bool, 0-dim; None: if it was skipped. One that was
                skipped and has not failed does not end the row either.
        """
        self.steps += 1
        taken, losses, weights = step.is_finite, step.losses.double(), step.weights
        figures = torch.stack([losses * step.counts, losses * weights, step.counts, weights])
        self._sums += torch.where(taken, figures, 0)
        self._taken = self._taken + taken
        self._row = (self._row + (~taken if failed is None else failed)) * ~taken
        self._longest = torch.maximum(self._longest, self._row)
        self.last_skipped = torch.where(taken, self.last_skipped, step.losses)

    def next_epoch(self) -> "EpochTotals":
        """Empty totals, in which a row of skipped steps goes on."""
        following = EpochTotals(self._sums.shape[1], self._sums.device)
        following._row = self._row
        return following

    def state_dict(self) -> dict[str, Tensor]:
        """All sums, for a checkpoint."""
        counts = torch.stack([torch.full_like(self._taken, self.steps), self._taken, self._row, self._longest])
        return {"sums": self._sums, "counts": counts, "last_skipped": self.last_skipped}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from these sums."""
        device = self._sums.device
        self._sums, self.last_skipped = state["sums"].to(device), state["last_skipped"].to(device)
        self.steps = int(state["counts"][0])
        self._taken, self._row, self._longest = state["counts"][1:].to(device).unbind()

    def wait(self) -> None:
        """Waits until the device has made all steps."""
        self._taken.item()

    def mean_total_loss(self) -> float:
        """Mean weighted loss of the epoch so far; waits for the device."""
        return float(self._sums[1].sum()) / max(1, self.steps)

    def skipped(self) -> tuple[int, int]:
        """Steps that were skipped, and how many have failed in a row at most; waits for the device."""
        taken, longest = torch.stack([self._taken, self._longest]).tolist()
        return self.steps - taken, longest

    def read(self, names: Sequence[str]) -> tuple[dict[str, float | None], dict[str, float]]:
        """Mean loss over the observed rows, and mean weight over the steps, by task."""
        losses, _, counts, weights = self._sums.tolist()
        taken = max(1, self.steps - self.skipped()[0])
        means = [loss / count if count else None for loss, count in zip(losses, counts)]
        return dict(zip(names, means)), {name: weight / taken for name, weight in zip(names, weights)}
