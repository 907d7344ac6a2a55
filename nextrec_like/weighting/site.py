"""Where the gradient of each task is probed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nextrec_like.errors import InputError


class Site:
    """The tensors at which gradients are probed, found once and checked at the first step.

    Args:
        declared: Parameters of the last shared layer; or a module whose output is probed (no parameters need be
            shared); or None: all candidates that at least two losses reach.
        candidates: The parameters to search if none are declared.
        task_names: For messages.
    """

    def __init__(
        self,
        declared: Sequence[nn.Parameter] | nn.Module | None,
        candidates: Sequence[nn.Parameter],
        task_names: Sequence[str],
    ) -> None:
        self._parameters: Sequence[Tensor] | None = None
        self._output: Tensor | None = None
        self._hook = None
        if isinstance(declared, nn.Module):
            self._hook = declared.register_forward_hook(self._record)
        elif declared is not None:
            self._parameters = list(declared)
        self._candidates = list(candidates)
        self._task_names = list(task_names)
        self._checked = False

    def tensors(self, losses: Sequence[Tensor]) -> Sequence[Tensor]:
        """The site of this step.

        Raises:
            InputError: At the first step, if fewer than two tasks reach it.
        """
        if self._hook is not None:
            assert self._output is not None, "the probed module did not run in this step"
            site: Sequence[Tensor] = [self._output]
        else:
            if self._parameters is None:
                self._parameters = shared_parameters(losses, self._candidates)
            site = self._parameters
        if not self._checked:
            self._check(losses, site)
            self._checked = True
        return site

    def close(self) -> None:
        """Stops recording outputs."""
        if self._hook is not None:
            self._hook.remove()
        self._output = None

    def _record(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._output = output if output.requires_grad else None

    def _check(self, losses: Sequence[Tensor], site: Sequence[Tensor]) -> None:
        if sum(any(reached) for reached in reach(losses, site)) < 2:
            raise InputError(
                f"This weighting compares gradients on parameters that tasks share, but the tasks "
                f"{', '.join(self._task_names)} share none in this model; use a model that shares layers, or fixed "
                f"weights."
            )


def reach(losses: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[list[bool]]:
    """For each loss, which of the tensors it depends on, from the autograd graph."""
    if not tensors:
        return [[] for _ in losses]
    gradients = [torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True) for loss in losses]
    return [[gradient is not None for gradient in by_task] for by_task in gradients]


def shared_parameters(losses: Sequence[Tensor], candidates: Sequence[Tensor]) -> list[Tensor]:
    """The candidates that at least two losses reach."""
    reached = reach(losses, candidates)
    return [tensor for tensor, by_task in zip(candidates, zip(*reached)) if sum(by_task) >= 2]
