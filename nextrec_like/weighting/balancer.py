"""From T losses to one gradient: the only code that touches autograd."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextrec_like.errors import InputError
from nextrec_like.weighting.base import TaskStats, Weighting
from nextrec_like.weighting.site import Site, task_gradients


class Balancer:
    """Probes the gradient of each task at a small site, asks the weighting, and runs one ordinary backward.

    Args:
        weighting: Bound to the tasks.
        site: Where gradients are probed.
    """

    def __init__(self, weighting: Weighting, site: Site) -> None:
        self.weighting = weighting
        self.site = site

    def backward(self, losses: Sequence[Tensor], active: Tensor) -> Tensor:
        """Accumulates ``grad(sum_k w_k L_k)`` in the parameters.

        Args:
            losses: One scalar per task.
            active: Tasks with an observed label, bool, shape ``(T,)``.

        Returns:
            The weights that were used, shape ``(T,)``.

        Raises:
            InputError: If the weighting needs gradients, but no two tasks share a parameter.
        """
        stacked = torch.stack(list(losses))
        if not stacked.requires_grad:
            raise InputError("No parameter of the model is trained: all have requires_grad=False; unfreeze some.")
        norms = self._probe_norms(losses) if self.weighting.needs == "norms" else None
        stats = TaskStats(stacked.detach(), active, norms)
        weights = self.weighting(stats)
        torch.dot(weights, stacked).backward()
        self.weighting.observe(stats)
        return weights

    def _probe_norms(self, losses: Sequence[Tensor]) -> Tensor:
        site = self.site.tensors(losses)
        gradients = [task_gradients(loss, site) for loss in losses]
        self.site.release()
        return torch.stack([_norm(by_task, loss) for by_task, loss in zip(gradients, losses)])


def _norm(gradients: Sequence[Tensor | None], loss: Tensor) -> Tensor:
    """Norm of all gradients as one vector; 0 for a loss that does not reach the site."""
    reached = [gradient for gradient in gradients if gradient is not None]
    if not reached:
        return torch.zeros_like(loss.detach())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(reached)))
