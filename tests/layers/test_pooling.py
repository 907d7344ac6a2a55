"""Pooling against slow loops."""

import numpy as np
import pytest
import torch

from nextrec_like.layers.pooling import POOLINGS

LENGTHS = [3, 0, 1, 5]


@pytest.fixture
def sequence():
    return torch.tensor(np.random.default_rng(0).normal(size=(4, 5, 2)) - 3, dtype=torch.float32, requires_grad=True)


@pytest.fixture
def mask():
    return torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


@pytest.mark.parametrize(("name", "function"), [("mean", np.mean), ("sum", np.sum), ("max", np.max)])
def test_pooling_is_over_the_ids_that_are_not_padding(name, function, sequence, mask):
    pooled = POOLINGS[name](2)(sequence, mask, None).detach().numpy()
    for row, length in enumerate(LENGTHS):
        kept = sequence[row, :length].detach().numpy()
        expected = function(kept, axis=0) if length else np.zeros(2)
        np.testing.assert_allclose(pooled[row], expected, rtol=1e-6)


def test_target_attention_is_the_sum_weighted_by_relevance_to_the_query(sequence, mask):
    pooling = POOLINGS["target_attention"](2)
    query = torch.randn(4, 2)
    pooled = pooling(sequence, mask, query)
    first, activation, last = pooling.relevance
    for row, length in enumerate(LENGTHS):
        expected = torch.zeros(2)
        for item in sequence[row, :length]:
            q = query[row]
            pair = torch.cat([q, item, q - item, q * item])
            hidden = first.weight @ pair + first.bias
            hidden = torch.where(hidden > 0, hidden, activation.weight * hidden)
            expected = expected + (last.weight @ hidden + last.bias) * item
        torch.testing.assert_close(pooled[row], expected)


@pytest.mark.parametrize("name", ["mean", "sum", "max", "target_attention"])
def test_padding_has_neither_influence_nor_gradient(name, sequence, mask):
    pooling, query = POOLINGS[name](2), torch.randn(4, 2)
    pooled = pooling(sequence, mask, query)
    other = torch.where(mask.unsqueeze(-1), sequence, 1e9).detach()
    assert torch.equal(pooling(other, mask, query), pooled)
    pooled.sum().backward()
    assert sequence.grad[~mask].abs().sum() == 0
    assert sequence.grad.isfinite().all()
    assert sequence.grad[mask].abs().sum() > 0
