"""Batch normalisation by the rows of all processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nextrec_like.distributed.processes import Processes


@contextmanager
def joint_batch_norm(model: nn.Module, processes: Processes, *, jit: bool = False) -> Iterator[None]:
    """Within the context every `nn.BatchNorm1d` in training mode normalises by the rows of all processes.

    Ioffe and Szegedy, "Batch Normalization", ICML 2015, algorithm 1. https://arxiv.org/abs/1502.03167. The result is
    that of one process with the rows of all, also the running statistics; a process may have any number of rows, even
    none. torch's own `SyncBatchNorm` needs GPUs. A layer sends two messages in each forward pass and one in each
    backward pass, so that all processes have to make the same passes.

    Args:
        model: The same in all processes.
        processes: Those that have further rows.
        jit: Whether the model is compiled, of which these layers then are no part: a compiler may reorder messages, and
            not every process runs compiled at each step.
    """
    forward = torch.compiler.disable(_forward) if jit else _forward
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d) and processes.size > 1]
    for norm in norms:
        norm.forward = partial(forward, norm, processes)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward  # that of its class comes to light again


def _forward(norm: nn.BatchNorm1d, processes: Processes, x: Tensor) -> Tensor:
    """What the layer makes of ``(B, C)`` or ``(B, C, L)``."""
    if not norm.training:
        return type(norm).forward(norm, x)
    by_row = x.movedim(1, -1)
    rows = by_row.flatten(0, -2).to(torch.promote_types(x.dtype, torch.float32))  # (N, C)
    normed = _normalized(norm, processes, rows)
    if norm.weight is not None:
        normed = normed * norm.weight
    if norm.bias is not None:
        normed = normed + norm.bias
    return normed.reshape(by_row.shape).movedim(-1, 1).to(x.dtype)


def _normalized(norm: nn.BatchNorm1d, processes: Processes, rows: Tensor) -> Tensor:
    """The rows with mean 0 and variance 1 over those of all processes, ``(N, C) -> (N, C)``."""
    with torch.no_grad():
        own = torch.cat([rows.sum(dim=0), rows.new_full((1,), len(rows))])
        total, count = processes.sum(own).split([rows.shape[1], 1])
        mean = total / count.clamp(min=1)  # (C,)
        # Not from the mean of the squares: far from zero the difference of two large sums has no digits left.
        squares = processes.sum((rows - mean).square_().sum(dim=0))  # (C,)
        _track(norm, mean, squares / (count - 1).clamp(min=1), count)
        scale = (squares / count.clamp(min=1) + norm.eps).rsqrt()  # (C,)
    return _Normalize.apply(rows, mean, scale, count, processes)


def _track(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Moves the running statistics; fewer than two rows have no variance, and move nothing."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    is_enough = count > 1
    norm.num_batches_tracked += is_enough.squeeze()
    share = 1 / norm.num_batches_tracked.clamp(min=1) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share * is_enough.to(mean))
    norm.running_var.lerp_(variance, share * is_enough.to(mean))


class _Normalize(torch.autograd.Function):
    """``y = (x - mean) * scale``, and its gradient where mean and scale follow from the rows of all processes.

    That is section 3 of the paper, put together: ``scale * (g - E[g] - y * E[g * y])`` for the gradient g of y, with
    means over these rows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, mean: Tensor, scale: Tensor, count: Tensor, processes: Processes) -> Tensor:  # noqa: ANN401
        normed = (rows - mean).mul_(scale)  # in place, as new memory costs more than the arithmetic
        ctx.save_for_backward(normed, scale, count)
        ctx.processes = processes
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        normed, scale, count = ctx.saved_tensors
        sums = ctx.processes.sum(torch.cat([gradient.sum(dim=0), (gradient * normed).sum(dim=0)]))
        mean, along = (sums / count.clamp(min=1)).chunk(2)  # (C,) each
        rows = gradient.addcmul(normed, along, value=-1).sub_(mean).mul_(scale)
        return rows, None, None, None, None
