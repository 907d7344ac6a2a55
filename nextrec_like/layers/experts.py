"""Experts and the gates that mix them."""

from functools import partial

from torch import Tensor, einsum, nn

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
    """A softmax mixture of experts, ``(B, D), (B, E, H) -> (B, H)``."""

    def __init__(self, in_dim: int, num_experts: int) -> None:
        super().__init__()
        self.score = nn.Linear(in_dim, num_experts)

    def forward(self, x: Tensor, experts: Tensor) -> Tensor:
        share = self.score(x).softmax(dim=-1)  # (B, E)
        return einsum("be,beh->bh", share, experts)  # (B, H)
