"""From the embeddings of a sequence to one vector."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class MeanPooling(nn.Module):
    """Mean over the ids that are not padding; zeros for an empty sequence."""

    def forward(self, sequence: Tensor, mask: Tensor, query: Tensor | None = None) -> Tensor:
        total = torch.where(mask.unsqueeze(-1), sequence, 0).sum(dim=1)  # (B, H)
        return total / mask.sum(dim=1, keepdim=True).clamp(min=1)  # (B, H)


class SumPooling(nn.Module):
    """Sum over the ids that are not padding."""

    def forward(self, sequence: Tensor, mask: Tensor, query: Tensor | None = None) -> Tensor:
        return torch.where(mask.unsqueeze(-1), sequence, 0).sum(dim=1)  # (B, H)


class MaxPooling(nn.Module):
    """Maximum over the ids that are not padding; zeros for an empty sequence."""

    def forward(self, sequence: Tensor, mask: Tensor, query: Tensor | None = None) -> Tensor:
        lowest = torch.finfo(sequence.dtype).min
        highest = sequence.masked_fill(~mask.unsqueeze(-1), lowest).amax(dim=1)  # (B, H)
        return torch.where(mask.any(dim=1, keepdim=True), highest, 0)  # (B, H)


class TargetAttention(nn.Module):
    """Sum of the sequence, each id weighted by its relevance to the query.

    Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 4.3, eq. 3: the
    weights are not normalised, so that their sum keeps the strength of the interest.
    https://arxiv.org/abs/1706.06978. Deviation: PReLU in place of Dice, and the element-wise product in place
    of the outer product, as in the authors' code.
    """

    def __init__(self, dim: int, hidden_dim: int = 36) -> None:
        super().__init__()
        self.relevance = nn.Sequential(nn.Linear(4 * dim, hidden_dim), nn.PReLU(), nn.Linear(hidden_dim, 1))

    def forward(self, sequence: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        query = query.unsqueeze(1).expand_as(sequence)  # (B, L, H)
        pairs = torch.cat([query, sequence, query - sequence, query * sequence], dim=-1)  # (B, L, 4H)
        weight = torch.where(mask, self.relevance(pairs).squeeze(-1), 0)  # (B, L)
        return torch.einsum("bl,blh->bh", weight, sequence)  # (B, H)


POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "mean": lambda dim: MeanPooling(),
    "sum": lambda dim: SumPooling(),
    "max": lambda dim: MaxPooling(),
    "target_attention": TargetAttention,
}
"""For `SequenceFeature.pooling`, given the width: a module ``(B, L, H), (B, L), (B, H) -> (B, H)``."""
