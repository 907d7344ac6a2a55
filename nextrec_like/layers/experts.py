"""Experts and the gates that mix them."""

from collections.abc import Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn

from nextrec_like.layers.mlp import MLPParams, ParallelLinear, ParallelNorm, hidden_layers


class Experts(nn.Sequential):
    """E MLPs of one shape as batched matrix products, ``(B, in_dim) -> (B, E, H)``."""

    def __init__(self, num: int, in_dim: int, params: MLPParams) -> None:
        linear, norm = partial(ParallelLinear, num), partial(ParallelNorm, num)
        super().__init__(*hidden_layers(in_dim, params, linear, norm))
        self.num = num
        self.out_dim = params.dims[-1]

    def last_linear(self) -> ParallelLinear:
        """The last linear layer of all experts."""
        return next(layer for layer in reversed(self) if isinstance(layer, ParallelLinear))


class Gate(nn.Module):
    """A softmax mixture of experts, ``(B, D), (B, E, H) -> (B, H)``; several groups of experts share the softmax."""

    def __init__(self, in_dim: int, num_experts: int) -> None:
        super().__init__()
        self.score = nn.Linear(in_dim, num_experts)

    def forward(self, x: Tensor, *experts: Tensor) -> Tensor:
        share = self.score(x).softmax(dim=-1).unsqueeze(1)  # (B, 1, E)
        shares = share.split([group.shape[1] for group in experts], dim=2)
        return reduce(torch.add, (mixtures(part, group)[0] for part, group in zip(shares, experts)))  # (B, H)


def mixtures(share: Tensor, experts: Tensor) -> Sequence[Tensor]:
    """K sums over the same experts, ``(B, K, E), (B, E, H) -> (B, H)`` each."""
    if share.shape[1] * experts.shape[1:].numel() < SMALL_PRODUCT:
        return [(each.unsqueeze(-1) * experts).sum(dim=1) for each in share.unbind(dim=1)]
    return torch.bmm(share, experts).unbind(dim=1)


SMALL_PRODUCT = 400
"""Multiplications of a matrix product under which `torch.bmm` leaves BLAS for a plain loop on the CPU."""
