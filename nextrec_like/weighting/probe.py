"""Gradients of each task at the site, and what they are reduced to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextrec_like.distributed import ALONE, Processes
from nextrec_like.weighting.site import Site, task_gradients, trained_leaves

CPU_CHUNK, GPU_CHUNK = 2**15, 2**22
"""Numbers of each task that are multiplied at a time: so many fit the cache of a CPU, or fill a GPU."""


class Probe:
    """The gradients of one step; the graph of the losses stays.

    Args:
        site: Where to look.
        losses: One scalar per task.
        scale: What losses are multiplied with on the way, so that small 16-bit gradients are not lost; the gradients
            here are free of it.
        processes: Those that have the losses of further rows.
        share: What the loss of each task counts among all processes, shape ``(T,)``.

    Attributes:
        tensors: The site.
        own: For each task the gradient of what this process adds to its loss, on each tensor; None where it does not
            reach it.
        gradients: The same of the losses of all processes; at activations those of the rows of this one.
    """

    def __init__(
        self,
        site: Site,
        losses: Sequence[Tensor],
        scale: Tensor | None = None,
        processes: Processes = ALONE,
        share: Tensor | None = None,
    ) -> None:
        self.tensors, self.scale, self._processes = site.tensors(losses), scale, processes
        if processes.size > 1:  # before the backward pass, in which joint batch normalisation adds up gradients of all
            assert share is not None
            losses = [loss * part for loss, part in zip(losses, share)]
        self.own = [self._gradients(loss) for loss in losses]
        self.gradients = self.own if processes.size == 1 else self._joint()
        self._site = site
        site.release()

    def _joint(self) -> list[Sequence[Tensor | None]]:
        """The gradients of the joint losses."""
        parts = [None if part is None else part.detach().float() for by_task in self.own for part in by_task]
        if self.is_at_parameters:
            like = [tensor.detach().float() for tensor in self.tensors] * len(self.own)
            parts = self._processes.sum_gradients(parts, like)
        size = len(self.tensors)
        return [parts[start : start + size] for start in range(0, len(parts), size)]

    def _gradients(self, loss: Tensor) -> Sequence[Tensor | None]:
        if self.scale is None:
            return task_gradients(loss, self.tensors)
        scaled = task_gradients(loss * self.scale, self.tensors)
        return [None if part is None else part.float() / self.scale for part in scaled]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Size of each tensor."""
        return tuple(tensor.numel() for tensor in self.tensors)

    @property
    def is_at_parameters(self) -> bool:
        """Whether the site is parameters, and not activations."""
        return all(tensor.is_leaf for tensor in self.tensors)

    def reached(self) -> Tensor:
        """Tasks whose loss depends on the site, bool, shape ``(T,)``."""
        found = tuple(any(part is not None for part in by_task) for by_task in self.gradients)
        return self._site.mask(found, self.tensors[0].device)

    def backward(self, total: Tensor, gradient: Sequence[Tensor | None] | None) -> None:
        """``total.backward()``, except that the gradient of the site, if any, is given, and not computed once more.

        At the last shared layer that saves about as much as the probe of a task costs.
        """
        known = {id(tensor) for tensor in self.tensors}
        others = [leaf for leaf in trained_leaves(total) if id(leaf) not in known]
        if others:
            total.backward(inputs=others)
        for tensor, part in zip(self.tensors, self.scaled(gradient or ())):
            if part is not None:
                tensor.grad = part if tensor.grad is None else tensor.grad + part

    def combined(self, weights: Tensor) -> list[Tensor | None]:
        """``sum_k weights_k g_k`` of this process on each tensor; None where no loss reaches it."""
        by_tensor: list[Tensor | None] = []
        for index in range(len(self.tensors)):
            pairs = [(weight, by_task[index]) for weight, by_task in zip(weights, self.own)]
            reached = [weight * part for weight, part in pairs if part is not None]
            by_tensor.append(torch.stack(reached).sum(dim=0) if reached else None)
        return by_tensor

    def split(self, vector: Tensor) -> list[Tensor]:
        """A vector of shape ``(M,)``, of the whole batch, as parts with the shapes of the tensors."""
        return [part.view_as(tensor) for part, tensor in zip(vector.split(list(self.blocks)), self.tensors)]

    def scaled(self, parts: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Gradients of the site as they would come through the graph."""
        return parts if self.scale is None else [None if part is None else part * self.scale for part in parts]

    def norms(self) -> Tensor:
        """Norm of each task's gradient, float32, shape ``(T,)``."""
        reached = [[part.float() for part in by_task if part is not None] for by_task in self.gradients]
        zero = torch.zeros((), device=self.tensors[0].device)
        norms = torch.stack([_norm(parts) if parts else zero for parts in reached])
        if self._processes.size == 1 or self.is_at_parameters:
            return norms
        return self._processes.sum(norms.double().square()).sqrt().float()

    def gramian(self) -> Tensor:
        """Inner products of the gradients, float64, shape ``(T, T)``."""
        exact = self.is_at_parameters
        products = torch.stack([gramian(self._rows(index), exact) for index in range(len(self.tensors))]).sum(dim=0)
        return products if exact else self._processes.sum(products)  # activations of all rows

    def matrix(self) -> Tensor:
        """All gradients as rows, float32, shape ``(T, M)``."""
        return torch.cat([torch.stack(self._rows(index)) for index in range(len(self.tensors))], dim=1)

    def _rows(self, index: int) -> list[Tensor]:
        """The gradient of each task on one tensor, flattened, float32."""
        tensor = self.tensors[index]
        zero = torch.zeros((), device=tensor.device).expand(tensor.numel())
        given = [by_task[index] for by_task in self.gradients]
        return [zero if part is None else part.detach().float().flatten() for part in given]


def gramian(rows: Sequence[Tensor], exact: bool = True) -> Tensor:
    """Inner products in float64, shape ``(T, T)``, of T vectors of the same length.

    Args:
        rows: The vectors.
        exact: Whether products are float64 as well. In float32, for the many numbers of activations, the error is
            some 1e-7 of the largest, and the time less than half.
    """
    device = rows[0].device
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=device)
    chunk = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK
    for parts in zip(*(row.split(chunk) for row in rows)):
        block = torch.stack(parts).double() if exact else torch.stack(parts)
        total += block @ block.T
    return total


def _norm(parts: list[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts)))


def cosines(gramian: Tensor) -> Tensor:
    """Cosine of each pair of gradients, NaN where one is 0, shape ``(T, T)``."""
    norms = gramian.diagonal().sqrt()
    return gramian / torch.outer(norms, norms)
