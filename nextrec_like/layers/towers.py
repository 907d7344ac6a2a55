"""The gates and towers of all tasks, one after the other or together."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nextrec_like.layers.experts import Gate, mixtures
from nextrec_like.layers.mlp import ACTIVATIONS, MLP, Tower, parallel_linear
from nextrec_like.layers.per_task import PerTask

Joined: TypeAlias = Callable[[Sequence[Any], Tensor], Tensor]
"""Layers of K tasks on their inputs: ``(B, in_dim)`` for all or ``(B, K, in_dim) -> (B, K, out_dim)``."""

FEWEST = 3
"""Tasks from which together is faster; two are as fast alone: see tests/benchmarks/towers.py."""


@contextmanager
def batch_tasks(model: nn.Module, on: bool) -> Iterator[None]:
    """Within the context, the tasks of a model in training mode are computed together, if `on`.

    Only for steps with one backward pass, that of the weighted sum of all losses: see `TaskLayers`.

    Args:
        model: Any model; in one without `TaskLayers` nothing changes.
        on: Whether to.
    """
    layers = [module for module in model.modules() if isinstance(module, TaskLayers)]
    try:
        for each in layers:
            each.batch(on)
        yield
    finally:
        for each in layers:
            each.batch(False)


class TaskLayers(PerTask):
    """Layers of every task, ``{task: (B, in_dim)} -> {task: output}``, which can be computed together.

    Together, the tasks are a few large matrix products in place of many small ones: the same up to rounding, with
    dropout drawn differently. But then every loss depends on the layers of every task, so that the autograd graph no
    longer tells what tasks share, and the gradient of one task costs as much as that of all. Therefore tasks are
    computed one after the other until `batch`, and in evaluation, where results are to be those of each task alone.

    Tasks that too few others have the shape of are always computed alone, and so are those with hooks, or with
    something of their own that cannot be joined, such as the running statistics of a batch norm.
    """

    def __init__(self, names: Sequence[str], build: Callable[[str], nn.Module]) -> None:
        super().__init__(names, build)
        self._alone = [[name] for name in self.names]
        self._groups = self._alone

    def batch(self, on: bool, fewest: int = FEWEST) -> None:
        """From now on computes `fewest` or more tasks of one shape together in training mode; or none, if not `on`."""
        joined = [group for group in self._alike() if len(group) >= fewest] if on else []
        self._groups = joined + [[name] for name in self.names if not any(name in group for group in joined)]

    def forward(self, x: Mapping[str, Tensor], *shared: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        for names in self._groups if self.training else self._alone:
            layers, inputs = [self[name] for name in names], [x[name] for name in names]
            if len(names) > 1:
                outputs.update(zip(names, self._together(layers, side_by_side(inputs), *shared)))
            else:
                outputs[names[0]] = layers[0](inputs[0], *shared)
        return {name: outputs[name] for name in self.names}

    @abstractmethod
    def _together(self, layers: Sequence[Any], x: Tensor, *shared: Tensor) -> Sequence[Tensor]:
        """The output of each task, from inputs as `Joined` takes them."""

    def _alike(self) -> list[list[str]]:
        """The tasks in groups that can be computed together. The repr of a module tells its shape and options."""
        keys = {name: repr(self[name]) if can_join(self[name]) else f"alone: {name}" for name in self.names}
        return [list(group) for _, group in groupby(sorted(keys, key=keys.__getitem__), keys.__getitem__)]


class Towers(TaskLayers):
    """The tower of every task, ``{task: (B, in_dim)} -> {task: (B,)}``."""

    def _together(self, layers: Sequence[Tower], x: Tensor, *shared: Tensor) -> Sequence[Tensor]:
        for hidden in zip(*(tower.hidden for tower in layers)):
            x = JOINED[type(hidden[0])](hidden, x)  # (B, K, H)
        return _linear([tower.logit for tower in layers], x).squeeze(-1).unbind(dim=1)  # (B,) each


class Gates(TaskLayers):
    """The mixture of the same experts for every task, ``{task: (B, D)}, (B, E, H) -> {task: (B, H)}``."""

    def _together(self, layers: Sequence[Gate], x: Tensor, *shared: Tensor) -> Sequence[Tensor]:
        share = _linear([gate.score for gate in layers], x).softmax(dim=-1)  # (B, K, E)
        return mixtures(share, *shared)  # (B, H) each


def side_by_side(inputs: Sequence[Tensor]) -> Tensor:
    """One tensor for all tasks: their input ``(B, H)`` where it is the same, otherwise ``(B, K, H)``."""
    first = inputs[0]
    return first if all(each is first for each in inputs) else torch.stack(list(inputs)).transpose(0, 1)


def can_join(module: nn.Module) -> bool:
    """Whether a tower or gate consists of layers that can be computed together, and nobody listens to them."""
    return all(type(part) in KNOWN and _is_plain(part) for part in module.modules())


def _is_plain(part: nn.Module) -> bool:
    hooks = (part._forward_pre_hooks, part._forward_hooks, part._backward_pre_hooks, part._backward_hooks)
    return not any(hooks) and all(parameter is not None for parameter in part._parameters.values())


def _linear(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    weight, bias = torch.stack([layer.weight for layer in layers]), torch.stack([layer.bias for layer in layers])
    return parallel_linear(x, weight, bias)


def _layer_norm(layers: Sequence[nn.LayerNorm], x: Tensor) -> Tensor:
    scale, shift = torch.stack([layer.weight for layer in layers]), torch.stack([layer.bias for layer in layers])
    return F.layer_norm(x, x.shape[-1:], eps=layers[0].eps) * scale + shift


def _elementwise(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    return layers[0](x)


JOINED: dict[type[nn.Module], Joined] = {
    **dict.fromkeys({*ACTIVATIONS.values(), nn.Dropout} - {nn.PReLU}, _elementwise),  # the slope of PReLU is learned
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
}
"""The layers that can be joined."""

KNOWN = {Tower, Gate, MLP, *JOINED}
"""What a tower or gate that can be computed together is made of."""
