"""Epochs of the workload: `model.fit`, and hand-written loops of the same mathematics."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from workload import Columns, Workload

from nextrec_like import DenseFeature, MMoE, SparseFeature
from nextrec_like.training.history import EpochRecord


def build_model(workload: Workload) -> MMoE:
    """The network of the workload."""
    return MMoE(
        [DenseFeature(name) for name in workload.dense_names],
        [SparseFeature(name, workload.vocabulary, workload.width) for name in workload.id_names],
        target=list(workload.tasks),
        num_experts=workload.num_experts,
        expert_params={"dims": workload.expert_dims},
        tower_params={"dims": workload.tower_dims},
    )


class Fit:
    """Epochs of `model.fit`.

    Args:
        data: What `fit` takes.
        workload: Sizes of the network and of the batch.
        device: Where to train.
        options: Arguments of `compile`, besides Adam with its usual learning rate.
    """

    def __init__(self, data: object, workload: Workload, device: str = "cpu", **options: object) -> None:
        self.data, self.batch_size, self.device = data, workload.batch_size, device
        self.model = build_model(workload)
        self.model.compile(**{"optimizer": "adam", "optimizer_params": {"lr": 1e-3}, **options})

    def epoch(self) -> None:
        """One call of `fit` with one epoch: checks and packing of the columns included."""
        self.epochs(1)

    def epochs(self, count: int, **options: object) -> list[EpochRecord]:
        """One call of `fit`, and what it says of its epochs."""
        # Without the checks for leaks and drift, which a loop by hand and the peers do not make.
        fixed = {"batch_size": self.batch_size, "device": self.device, "check_data": False, "verbose": 0}
        history = self.model.fit(self.data, epochs=count, **fixed, **options)
        return history.epochs


class HandWritten(nn.Module):
    """The layers above the embeddings as plain tensors, ``(B, D) -> [(B,)]``: experts of two layers, batched."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        experts, (first, second) = workload.num_experts, workload.expert_dims
        self.experts = experts
        self.first = nn.Linear(workload.in_dim, experts * first)
        self.second = nn.Parameter(torch.randn(experts, first, second) * 0.1)
        self.second_bias = nn.Parameter(torch.zeros(experts, 1, second))
        self.gates = nn.ModuleList(nn.Linear(workload.in_dim, experts) for _ in workload.tasks)
        self.towers = nn.ModuleList(_tower(second, workload.tower_dims) for _ in workload.tasks)

    def forward(self, x: Tensor) -> list[Tensor]:
        hidden = self.first(x).relu().unflatten(1, (self.experts, -1)).transpose(0, 1)  # (E, B, H)
        experts = torch.baddbmm(self.second_bias, hidden, self.second).relu()  # (E, B, H')
        mixed = [torch.einsum("be,ebh->bh", gate(x).softmax(-1), experts) for gate in self.gates]
        return [tower(h).squeeze(-1) for tower, h in zip(self.towers, mixed)]


def _tower(in_dim: int, dims: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for dim in dims:
        layers += [nn.Linear(in_dim, dim), nn.ReLU()]
        in_dim = dim
    return nn.Sequential(*layers, nn.Linear(in_dim, 1))


class DenseLoop:
    """Epochs of a hand-written loop: packed tensors, one table, fused Adam over all of it."""

    def __init__(self, data: Columns, workload: Workload, device: str = "cpu") -> None:
        offsets = np.arange(workload.num_ids) * workload.vocabulary
        ids = np.stack([data[name] for name in workload.id_names], axis=1) + offsets
        self.ids = torch.from_numpy(ids).to(device)
        self.dense = _stacked(data, workload.dense_names).to(device)
        self.labels = _stacked(data, workload.tasks).to(device)
        self.batch_size = workload.batch_size
        self.table = torch.randn(workload.num_ids * workload.vocabulary, workload.width, device=device) * 0.05
        self.network = HandWritten(workload).to(device)
        self.optimizer = torch.optim.Adam(self._trained(), lr=1e-3, fused=True)

    def epoch(self) -> None:
        """One pass in random order."""
        for rows in self._batches():
            self._backward(F.embedding(self.ids[rows], self.table), rows)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def _trained(self) -> list[Tensor]:
        return [self.table.requires_grad_(), *self.network.parameters()]

    def _batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.ids)).to(self.ids.device)
        return iter(order.split(self.batch_size))

    def _backward(self, embedded: Tensor, rows: Tensor) -> None:
        logits = self.network(torch.cat([embedded.flatten(1), self.dense[rows]], dim=1))
        labels = self.labels[rows].unbind(1)
        sum(F.binary_cross_entropy_with_logits(z, y) for z, y in zip(logits, labels)).backward()


class LeafGatherLoop(DenseLoop):
    """The same, but only the rows of the batch are read and written, by row-wise Adagrad."""

    def __init__(self, data: Columns, workload: Workload, device: str = "cpu") -> None:
        super().__init__(data, workload, device)
        self.sums = torch.zeros(len(self.table), device=device)

    def epoch(self) -> None:
        """One pass in random order."""
        for rows in self._batches():
            unique, place = self.ids[rows].unique(return_inverse=True)
            leaf = self.table[unique].requires_grad_()  # (U, H)
            self._backward(F.embedding(place, leaf), rows)
            self._adagrad(unique, leaf)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def _trained(self) -> list[Tensor]:
        return list(self.network.parameters())

    @torch.no_grad()
    def _adagrad(self, unique: Tensor, leaf: Tensor) -> None:
        """One sum of mean squares per row, as in FBGEMM's row-wise Adagrad."""
        sums = self.sums[unique] + leaf.grad.square().mean(dim=1)  # (U,)
        self.sums.index_copy_(0, unique, sums)
        self.table.index_copy_(0, unique, leaf - 1e-2 * leaf.grad / (sums.sqrt() + 1e-8).unsqueeze(1))


def _stacked(data: Columns, names: list[str] | tuple[str, ...]) -> Tensor:
    return torch.from_numpy(np.stack([data[name] for name in names], axis=1))
