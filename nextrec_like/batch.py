"""The rows that a model reads, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Logits: TypeAlias = dict[str, Tensor]
"""Task name to logit, shape ``(B,)``."""


@dataclass(frozen=True)
class Batch:
    """Rows as a model reads them.

    Attributes:
        ids: All ids, in the layout of `FeatureSet.id_slices`, int64, shape ``(B, C)``.
        dense: All numbers, float32, shape ``(B, D)``.
        labels: One column per task, NaN where not observed, float32, shape ``(B, T)``; None if not packed.
    """

    ids: Tensor
    dense: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Batch":
        """The same rows on a device; from pinned memory the copy is asynchronous."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, index: Tensor) -> "Batch":
        """The rows with the given numbers."""
        return self._map(lambda tensor: tensor.index_select(0, index))

    def slice(self, start: int, stop: int) -> "Batch":
        """Rows ``start:stop``, without a copy."""
        return self._map(lambda tensor: tensor[start:stop])

    def pinned(self) -> "Batch":
        """The same rows in pinned memory, from which a GPU copies asynchronously."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        labels = None if self.labels is None else function(self.labels)
        return Batch(function(self.ids), function(self.dense), labels)


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of rows that they share out: by default a single one takes all.

    Attributes:
        index: Number of the process.
        count: Number of processes.
        streams: Stretches into which streamed rows are cut while they are shuffled; 0: one for each process. A process
            reads those that `of` gives it, so that any number of processes can end what others have begun.
    """

    index: int = 0
    count: int = 1
    streams: int = 0

    def of(self, start: int, stop: int) -> tuple[int, int]:
        """The part of rows ``start:stop``; those of all processes are these rows, in order and as even as can be."""
        size = stop - start
        return start + size * self.index // self.count, start + size * (self.index + 1) // self.count


WHOLE = Share()


def batch_bounds(num_rows: int, batch_size: int) -> list[tuple[int, int]]:
    """First and one-past-last row of each batch."""
    bounds = [(start, min(start + batch_size, num_rows)) for start in range(0, num_rows, batch_size)]
    if batch_size > 1 and len(bounds) > 1 and bounds[-1] == (num_rows - 1, num_rows):
        bounds[-2:] = [(bounds[-2][0], num_rows)]
    return bounds
