"""Batched experts against separate MLPs."""

import pytest
import torch
from torch import nn

from nextrec_like.layers import Experts, Gate, MLPParams
from nextrec_like.layers.experts import mixtures
from nextrec_like.layers.mlp import ParallelLinear, ParallelNorm


def separate(experts):
    """The same experts as E ordinary MLPs."""
    mlps = []
    for index in range(experts.num):
        layers = []
        for layer in experts:
            if isinstance(layer, ParallelLinear):
                linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1])
                linear.load_state_dict({"weight": layer.weight[index], "bias": layer.bias[index]})
                layers.append(linear)
            elif isinstance(layer, ParallelNorm):
                kind = nn.LayerNorm if layer.batch is None else nn.BatchNorm1d
                norm = kind(layer.scale.shape[1])
                norm.load_state_dict({"weight": layer.scale[index], "bias": layer.shift[index]}, strict=False)
                layers.append(norm)
            else:
                layers.append(layer)
        mlps.append(nn.Sequential(*layers))
    return mlps


@pytest.fixture
def x():
    return torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7], [0.0, 1.0, 1.0], [-2.0, 0.1, 0.4]], requires_grad=True)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("dims", [(4,), (4, 5), (4, 5, 2)])
def test_experts_equal_separate_mlps_in_training_and_evaluation(dims, norm, x):
    torch.manual_seed(0)
    experts = Experts(3, 3, MLPParams(dims, "tanh", norm=norm))
    for module in experts:
        if isinstance(module, ParallelNorm):
            nn.init.normal_(module.scale)
            nn.init.normal_(module.shift)
    mlps = separate(experts)
    for is_training in (True, False):
        together = experts.train(is_training)(x)
        alone = torch.stack([mlp.train(is_training)(x) for mlp in mlps], dim=1)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
        ours, theirs = (torch.autograd.grad(out.square().sum(), x)[0] for out in (together, alone))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert together.shape == (4, 3, dims[-1])


def test_each_expert_is_initialised_as_a_linear_layer():
    layer = ParallelLinear(50, 16, 20)
    bound = 16**-0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert layer.bias.abs().max() <= bound


def test_last_linear_is_the_last_one():
    experts = Experts(2, 3, MLPParams((4, 5), norm="layer"))
    assert experts.last_linear().weight.shape == (2, 5, 4)


def test_gate_is_a_convex_mixture(x):
    gate, experts = Gate(3, 4), torch.randn(4, 4, 6)
    mixture = gate(x, experts)
    for row in range(4):
        scores = gate.score.weight @ x[row] + gate.score.bias
        share = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(mixture[row], sum(s * e for s, e in zip(share, experts[row])))
    assert (mixture <= experts.amax(dim=1) + 1e-6).all()
    assert (mixture >= experts.amin(dim=1) - 1e-6).all()


@pytest.mark.parametrize("width", [3, 60], ids=["small", "large"])
@pytest.mark.parametrize("num_tasks", [1, 2])
def test_mixtures_are_sums_over_the_experts(num_tasks, width):
    torch.manual_seed(0)
    share, experts = torch.rand(5, num_tasks, 7, requires_grad=True), torch.randn(5, 7, width, requires_grad=True)
    slow = sum(share[:, :, [e]] * experts[:, [e]] for e in range(7))  # (B, K, H)
    fast = torch.stack(list(mixtures(share, experts)), dim=1)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    ours, theirs = (torch.autograd.grad(out.sin().sum(), [share, experts]) for out in (fast, slow))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gate_mixes_groups_of_experts_in_one_softmax(x):
    gate, experts = Gate(3, 6), torch.randn(4, 6, 5)
    torch.testing.assert_close(gate(x, *experts.split([1, 3, 2], dim=1)), gate(x, experts))


def test_gate_stays_finite_for_huge_scores():
    gate = Gate(1, 3)
    mixture = gate(torch.tensor([[1e30]]), torch.ones(1, 3, 2))
    torch.testing.assert_close(mixture, torch.ones(1, 2))
