"""What is kept of single steps."""

import torch
from torch import Tensor

from nextrec_like.training.history import StepRecord
from nextrec_like.weighting import Step, cosines


class StepLog:
    """Keeps figures of steps on the device, so that no step waits for them.

    Args:
        task_names: The tasks.
    """

    def __init__(self, task_names: list[str]) -> None:
        self.task_names = task_names
        self._pending: list[tuple[int, int, Tensor, Tensor, Tensor | None, Tensor | None]] = []

    def add(self, epoch: int, number: int, step: Step) -> None:
        """Notes a step; `number` counts from 1 over all epochs."""
        losses = torch.where(step.active, step.losses, torch.nan)
        norms = step.stats.norms
        norms = None if norms is None else torch.where(step.active.to(norms.device), norms, torch.nan)
        figures = torch.stack([losses, step.weights])
        self._pending.append((epoch, number, step.is_finite, figures, norms, step.stats.gramian))

    def read(self) -> list[StepRecord]:
        """The steps since the last call that were not skipped; waits for the device."""
        records = [
            self._record(epoch, number, figures, norms, gramian)
            for epoch, number, taken, figures, norms, gramian in self._pending
            if taken
        ]
        self._pending.clear()
        return records

    def _record(
        self, epoch: int, number: int, figures: Tensor, norms: Tensor | None, gramian: Tensor | None
    ) -> StepRecord:
        losses, weights = figures.tolist()
        norm = {} if norms is None else self._by_task(norms.tolist())
        cosine = {} if gramian is None else self._by_pair(cosines(gramian).tolist())
        return StepRecord(epoch, number, self._by_task(losses), self._by_task(weights), norm, cosine)

    def _by_task(self, values: list[float]) -> dict[str, float | None]:
        return {name: _finite(value) for name, value in zip(self.task_names, values)}

    def _by_pair(self, matrix: list[list[float]]) -> dict[str, dict[str, float | None]]:
        return {
            name: {other: _finite(matrix[i][j]) for j, other in enumerate(self.task_names) if j > i}
            for i, name in enumerate(self.task_names[:-1])
        }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
