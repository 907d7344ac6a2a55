"""Where the gradient of each task is probed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nextrec_like.errors import InputError


class Site:
    """The tensors at which gradients are probed.

    Args:
        declared: Parameters of the last shared layer, or a module whose output is probed. Where they are not
            trained, or with None, the site is all candidates that at least two losses reach.
        candidates: The parameters to search.
        task_names: For messages.
    """

    def __init__(
        self,
        declared: Sequence[nn.Parameter] | nn.Module | None,
        candidates: Sequence[nn.Parameter],
        task_names: Sequence[str],
    ) -> None:
        self._module = declared if isinstance(declared, nn.Module) else None
        self._parameters = [] if declared is None or self._module is not None else list(declared)  # type: ignore[arg-type]
        self._candidates = list(candidates)
        self._task_names = list(task_names)
        self._output: Tensor | None = None
        self._handle: RemovableHandle | None = None
        self._found: list[Tensor] | None = None
        self._checked = False

    def attach(self) -> None:
        """Begins to record the output of a declared module."""
        if self._module is not None:
            self._handle = self._module.register_forward_hook(self._record)

    def detach(self) -> None:
        """Stops recording."""
        if self._handle is not None:
            self._handle.remove()

    def release(self) -> None:
        """Lets go of the output of this step, and with it of its graph."""
        self._output = None

    def tensors(self, losses: Sequence[Tensor]) -> Sequence[Tensor]:
        """The site of this step.

        Raises:
            InputError: At the first step, if fewer than two tasks reach it.
        """
        site = self._declared_tensors() or self._search(losses)
        if not self._checked:
            self._check(losses, site)
            self._checked = True
        return site

    def _declared_tensors(self) -> list[Tensor]:
        declared = self._parameters if self._module is None else [self._output]
        return [tensor for tensor in declared if tensor is not None and tensor.requires_grad]

    def _search(self, losses: Sequence[Tensor]) -> list[Tensor]:
        if self._found is None:
            trained = [parameter for parameter in self._candidates if parameter.requires_grad]
            self._found = shared_parameters(losses, trained)
        return [tensor for tensor in self._found if tensor.requires_grad]

    def _record(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._output = output if module.training and output.requires_grad else None

    def _check(self, losses: Sequence[Tensor], site: Sequence[Tensor]) -> None:
        if len(self._task_names) < 2:
            raise InputError(
                f"This weighting balances tasks, but the model has only the task {self._task_names[0]}; use equal or "
                f"fixed weights."
            )
        if sum(any(reached) for reached in reach(losses, site)) < 2:
            raise InputError(
                f"This weighting compares gradients on parameters that tasks share, but the tasks "
                f"{', '.join(self._task_names)} share none that is trained in this model; use a model that shares "
                f"layers, or fixed weights."
            )


def reach(losses: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[list[bool]]:
    """For each loss, which of the tensors it depends on, from the autograd graph."""
    if not tensors:
        return [[] for _ in losses]
    return [[gradient is not None for gradient in task_gradients(loss, tensors)] for loss in losses]


def task_gradients(loss: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Gradient of a loss on each tensor, None where it does not depend on it; the graph stays."""
    if not loss.requires_grad:
        return [None] * len(tensors)
    return torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)


def shared_parameters(losses: Sequence[Tensor], candidates: Sequence[Tensor]) -> list[Tensor]:
    """The candidates that at least two losses reach."""
    reached = reach(losses, candidates)
    return [tensor for tensor, by_task in zip(candidates, zip(*reached)) if sum(by_task) >= 2]
