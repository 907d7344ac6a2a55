"""Where the gradient of each task is probed."""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nextrec_like.errors import InputError


class Site:
    """The tensors at which gradients are probed.

    Args:
        declared: Parameters, or a module whose output is probed. Where they are not trained, or with None, the site
            is all candidates that at least two losses reach.
        candidates: The parameters to search.
        task_names: For messages.
        fallback: A module whose output is probed where that finds nothing.
    """

    def __init__(
        self,
        declared: Sequence[nn.Parameter] | nn.Module | None,
        candidates: Sequence[nn.Parameter],
        task_names: Sequence[str],
        fallback: nn.Module | None = None,
    ) -> None:
        self._module = declared if isinstance(declared, nn.Module) else fallback
        self._module_first = isinstance(declared, nn.Module)
        self._parameters = [] if declared is None or self._module_first else list(declared)  # type: ignore[arg-type]
        self._candidates = list(candidates)
        self._task_names = list(task_names)
        self._output: Tensor | None = None
        self._handle: RemovableHandle | None = None
        self._found: list[Tensor] | None = None
        self._checked = False
        self._masks: dict[tuple[tuple[bool, ...], torch.device], Tensor] = {}

    def attach(self) -> None:
        """Begins to record the output of a declared module."""
        if self._module is not None and self._handle is None:
            self._handle = self._module.register_forward_hook(self._record)

    def detach(self) -> None:
        """Stops recording."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self.release()

    def release(self) -> None:
        """Lets go of the output of this step, and with it of its graph."""
        self._output = None

    def tensors(self, losses: Sequence[Tensor]) -> list[Tensor]:
        """The site of this step.

        Raises:
            InputError: At the first step, if fewer than two tasks reach it.
        """
        output = _trained([self._output])
        declared = output if self._module_first else _trained(self._parameters)
        site = declared or self._search(losses) or output
        if not self._checked:
            self._check(losses, site)
            self._checked = True
        return site

    def mask(self, values: tuple[bool, ...], device: torch.device) -> Tensor:
        """The values on a device, which a GPU is waited for only the first time, shape ``(T,)``."""
        key = (values, device)
        if key not in self._masks:
            self._masks[key] = torch.tensor(values, device=device)
        return self._masks[key]

    def _search(self, losses: Sequence[Tensor]) -> list[Tensor]:
        if self._found is None:
            self._found = shared_parameters(losses, _trained(self._candidates))
        return _trained(self._found)

    def _record(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._output = output if module.training and output.requires_grad else None

    def _check(self, losses: Sequence[Tensor], site: Sequence[Tensor]) -> None:
        if sum(any(reached) for reached in reach(losses, site)) < 2:
            raise InputError(
                f"Gradients are compared on parameters that tasks share, but the tasks {', '.join(self._task_names)} "
                f"share none that is trained and can be probed in this model; use a model that shares layers, another "
                f"`site` or method, or fixed weights without `diagnose`."
            )


def _trained(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None and tensor.requires_grad]


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


def own_leaves(losses: Sequence[Tensor]) -> list[list[Tensor]]:
    """For each loss, the trained tensors that no other loss depends on, from the autograd graph."""
    reached = [{id(leaf): leaf for leaf in trained_leaves(loss)} for loss in losses]
    counts = Counter(key for by_loss in reached for key in by_loss)
    return [[leaf for key, leaf in by_loss.items() if counts[key] == 1] for by_loss in reached]


def trained_leaves(loss: Tensor) -> Iterator[Tensor]:
    """The trained tensors that a loss depends on, from the autograd graph."""
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        nodes.extend(following for following, _ in node.next_functions)


def shared_parameters(losses: Sequence[Tensor], candidates: Sequence[Tensor]) -> list[Tensor]:
    """The candidates that at least two losses reach."""
    reached = reach(losses, candidates)
    return [tensor for tensor, by_task in zip(candidates, zip(*reached)) if sum(by_task) >= 2]
