"""The least time that a training step of the workload can take on a device: operations and bytes counted from shapes.

Each operation takes at least its floating-point operations over the peak of the device and its bytes over the
bandwidth; a step is one operation after the other. Williams et al., "Roofline: An Insightful Visual Performance Model
for Multicore Architectures", CACM 2009. https://doi.org/10.1145/1498765.1498785

What is counted: the matrix products of forward and backward, each of which reads its two factors and writes its product
once; reading the batch; gather and scatter of the embeddings; the optimizer. Activations, softmax, losses and norms are
taken as fused into these, so that they cost nothing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from workload import Workload

FLOAT, ID = 4, 8
"""Bytes of a weight, a number, a label or a state; of an id."""
STATE_TENSORS = {"dense": 2, "lazy_adam": 2, "rowwise_adagrad": 0}
"""State of the embedding optimizer of the size of the rows; row-wise Adagrad has one number per row instead."""


@dataclass(frozen=True)
class Operation:
    """What one operation needs.

    Attributes:
        name: What it is.
        flops: Floating-point operations; a multiply-add counts as two.
        bytes: Read from and written to memory.
    """

    name: str
    flops: int
    bytes: int


@dataclass(frozen=True)
class Peak:
    """What the device reaches in a large matrix product and in a large copy.

    Attributes:
        flops: Floating-point operations per second.
        bandwidth: Bytes per second, read and written ones.
    """

    flops: float
    bandwidth: float

    def seconds(self, operations: list[Operation]) -> float:
        """The least time for the operations, one after the other."""
        return sum(max(each.flops / self.flops, each.bytes / self.bandwidth) for each in operations)


def step_operations(
    workload: Workload, embedding_optimizer: str, distinct_rows: int, activation_bytes: int = FLOAT
) -> list[Operation]:
    """The operations of a step with fixed weights.

    Args:
        workload: Sizes.
        embedding_optimizer: ``dense``, ``lazy_adam`` or ``rowwise_adagrad``.
        distinct_rows: Rows of the tables that a batch reads, each counted once.
        activation_bytes: Bytes of an activation and of a weight in a product, 2 for bf16.
    """
    size, tasks = workload.batch_size, len(workload.tasks)
    row_bytes = ID * workload.num_ids + FLOAT * (workload.num_dense + tasks)
    embedded = size * workload.num_ids * workload.width
    return [
        Operation("batch", 0, 2 * size * row_bytes),
        Operation("gather", 0, embedded * FLOAT + size * workload.in_dim * activation_bytes),
        *products(workload, activation_bytes),
        *_embedding_update(workload, embedding_optimizer, distinct_rows, embedded * activation_bytes),
        Operation("adam of the layers", 0, _update_bytes(num_layer_weights(workload), states=2)),
    ]


def products(workload: Workload, activation_bytes: int) -> Iterator[Operation]:
    """Each matrix product three times: forward, gradient of its input, gradient of its weights."""
    size = workload.batch_size
    for name, count, in_dim, out_dim in layers(workload):
        values = size * in_dim + in_dim * out_dim + size * out_dim
        yield Operation(name, 3 * count * 2 * size * in_dim * out_dim, 3 * count * values * activation_bytes)


def layers(workload: Workload) -> Iterator[tuple[str, int, int, int]]:
    """Name, number of copies, and the two widths of each linear layer.

    The first layers of experts and gates read one input together, so they are one product of the sum of their widths.
    """
    experts, tasks = workload.num_experts, len(workload.tasks)
    first = experts * workload.expert_dims[0] + tasks * experts
    yield "first layer of experts and gates", 1, workload.in_dim, first
    for in_dim, out_dim in pairwise(workload.expert_dims):
        yield "layer of experts", experts, in_dim, out_dim
    for in_dim, out_dim in pairwise((workload.expert_dims[-1], *workload.tower_dims, 1)):
        yield "layer of towers", tasks, in_dim, out_dim


def num_layer_weights(workload: Workload) -> int:
    """Weights and biases of all linear layers."""
    return sum(count * (in_dim + 1) * out_dim for _, count, in_dim, out_dim in layers(workload))


def _embedding_update(
    workload: Workload, optimizer: str, distinct_rows: int, gradient_bytes: int
) -> Iterator[Operation]:
    """Scatter of the gradient of the embedded rows, and the optimizer's pass over the rows that it changes."""
    rows = workload.num_ids * workload.vocabulary if optimizer == "dense" else distinct_rows
    weights = rows * workload.width
    yield Operation("scatter", 0, gradient_bytes + weights * FLOAT)
    one_per_row = 2 * FLOAT * rows if optimizer == "rowwise_adagrad" else 0
    yield Operation(f"{optimizer} of the embeddings", 0, _update_bytes(weights, STATE_TENSORS[optimizer]) + one_per_row)


def _update_bytes(weights: int, states: int) -> int:
    """Gradient read, weights and states read and written."""
    return FLOAT * weights * (1 + 2 * (1 + states))


def measured_peak(device: str, dtype: torch.dtype, width: int, copied: int, repeats: int = 10) -> Peak:
    """The peak of a device, from a product of two matrices and a copy.

    Args:
        device: Which.
        dtype: Type of the factors.
        width: Rows and columns of the matrices.
        copied: Bytes to copy.
        repeats: Times of which the fastest counts.
    """
    left, right = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = min(_seconds(lambda: left @ right, device) for _ in range(repeats))
    copy = min(_seconds(lambda: target.copy_(source), device) for _ in range(repeats))
    return Peak(2 * width**3 / product, 2 * copied / copy)


def _seconds(work: Callable[[], object], device: str, times: int = 5) -> float:
    """Seconds of one of several calls in a row, of which the device is not told to wait."""
    work()
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    _synchronize(device)
    return (time.perf_counter() - start) / times


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
