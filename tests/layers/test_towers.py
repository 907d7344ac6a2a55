"""Towers and gates of all tasks together against one after the other."""

import pytest
import torch
from torch import nn

from nextrec_like.layers import Gate, MLPParams, Tower
from nextrec_like.layers.mlp import ACTIVATIONS
from nextrec_like.layers.towers import Gates, Towers, batch_tasks, side_by_side

NAMES = ["click", "conversion", "like", "share"]


def towers_of(params, names=NAMES):
    towers = Towers(names, lambda _: Tower(6, params))
    for parameter in towers.parameters():
        nn.init.normal_(parameter, std=0.5)  # scale and shift of a norm differ between the tasks, too
    return towers


def own_inputs():
    return {name: torch.randn(7, 6, requires_grad=True) for name in NAMES}


def shared_input():
    return dict.fromkeys(NAMES, torch.randn(7, 6, requires_grad=True))


def slow_tower(tower, x):
    for layer in tower.hidden:
        x = layer(x)
    return (x @ tower.logit.weight.T + tower.logit.bias)[:, 0]


def depends(output, module):
    """Whether an output depends on the parameters of a module."""
    gradients = torch.autograd.grad(output.sum(), list(module.parameters()), retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in gradients)


def is_together(layers, x, *shared):
    outputs = layers(x, *shared)
    return depends(outputs["click"], layers["conversion"])


def assert_same_gradients(ours, theirs, tensors):
    """Of losses that weigh the tasks and rows differently."""
    for outputs in (ours, theirs):
        assert list(outputs) == NAMES
    total = [
        sum((k + 1) * (out * out.detach().cos()).sum() for k, out in enumerate(o.values())) for o in (ours, theirs)
    ]
    first, second = (torch.autograd.grad(loss, tensors) for loss in total)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inputs", [own_inputs, shared_input])
@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("dims", [(), (4,), (5, 3)])
def test_towers_together_equal_each_alone(dims, norm, inputs):
    torch.manual_seed(0)
    towers, x = towers_of(MLPParams(dims, norm=norm)), inputs()
    alone = {name: slow_tower(towers[name], x[name]) for name in NAMES}
    with batch_tasks(towers, True):
        assert is_together(towers, x)
        together = towers(x)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert_same_gradients(together, alone, [*towers.parameters(), *{id(each): each for each in x.values()}.values()])


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"prelu"}))
def test_every_activation_works_together(activation):
    towers, x = towers_of(MLPParams((4, 3), activation)), own_inputs()
    with batch_tasks(towers, True):
        assert is_together(towers, x)
        for name, logit in towers(x).items():
            torch.testing.assert_close(logit, slow_tower(towers[name], x[name]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inputs", [own_inputs, shared_input])
def test_gates_together_equal_each_alone(inputs):
    torch.manual_seed(0)
    gates, x = Gates(NAMES, lambda _: Gate(6, 4)), inputs()
    experts = torch.randn(4, 7, 5, requires_grad=True).transpose(0, 1)  # as `Experts` gives them
    shares = {name: torch.softmax(x[name] @ gates[name].score.weight.T + gates[name].score.bias, 1) for name in NAMES}
    alone = {name: torch.einsum("be,beh->bh", shares[name], experts) for name in NAMES}
    with batch_tasks(gates, True):
        assert is_together(gates, x, experts)
        together = gates(x, experts)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    inputs = {id(each): each for each in x.values()}
    assert_same_gradients(together, alone, [*gates.parameters(), *inputs.values(), experts])


def test_tasks_are_alone_by_default_and_after_the_context():
    towers, x = towers_of(MLPParams((4,))), own_inputs()
    assert not is_together(towers, x)
    with batch_tasks(towers, False):
        assert not is_together(towers, x)
    with batch_tasks(towers, True):
        assert is_together(towers, x)
    assert not is_together(towers, x)
    with pytest.raises(KeyError), batch_tasks(towers, True):
        towers({})
    assert not is_together(towers, x)


def test_evaluation_is_that_of_each_task_alone_to_the_bit():
    towers, x = towers_of(MLPParams((4, 3))).eval(), own_inputs()
    before = towers(x)
    with batch_tasks(towers, True):
        assert not is_together(towers, x)
        assert all(torch.equal(logit, before[name]) for name, logit in towers(x).items())


def test_only_tasks_of_one_shape_are_computed_together_and_their_order_stays():
    dims = {"a": (4,), "b": (5,), "c": (4,), "d": (3, 2), "e": (5,), "f": (4,)}
    towers = Towers(list(dims), lambda name: Tower(6, MLPParams(dims[name])))
    x = dict.fromkeys(dims, torch.randn(7, 6))
    with batch_tasks(towers, True):
        logits = towers(x)
    assert list(logits) == list(dims)
    for name, logit in logits.items():
        torch.testing.assert_close(logit, slow_tower(towers[name], x[name]), rtol=1e-5, atol=1e-6)
        assert [other for other in dims if depends(logit, towers[other])] == (
            ["a", "c", "f"] if name in "acf" else [name]
        )


def test_two_tasks_are_computed_alone_to_the_bit():
    towers, x = towers_of(MLPParams((4,)), NAMES[:2]), own_inputs()
    before = towers(x)
    with batch_tasks(towers, True):
        assert not is_together(towers, x)
        assert all(torch.equal(logit, before[name]) for name, logit in towers(x).items())


class Doubled(nn.Linear):
    """A layer of the user's own."""

    def forward(self, x):
        return 2 * super().forward(x)


def own_layer(towers):
    towers["click"].logit = Doubled(4, 1)


def hook(towers):
    towers["click"].hidden[0].register_forward_hook(lambda _module, _inputs, output: 2 * output)


def gradient_hook(towers):
    towers["click"].logit.register_full_backward_hook(lambda *_: None)


def no_bias(towers):
    towers["click"].logit = nn.Linear(4, 1, bias=False)


@pytest.mark.parametrize("change", [own_layer, hook, gradient_hook, no_bias])
def test_a_changed_tower_is_computed_alone_and_the_others_together(change):
    towers, x = towers_of(MLPParams((4,))), own_inputs()
    change(towers)
    before = towers(x)
    with batch_tasks(towers, True):
        logits = towers(x)
    assert not depends(logits["conversion"], towers["click"])
    assert depends(logits["conversion"], towers["like"])
    torch.testing.assert_close(logits, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("params", [MLPParams((4,), norm="batch"), MLPParams((4,), "prelu")])
def test_what_cannot_be_joined_is_computed_alone(params):
    towers, x = towers_of(params), own_inputs()
    with batch_tasks(towers, True):
        assert not is_together(towers, x)


def test_batch_norm_keeps_the_statistics_of_each_task():
    towers = Towers(["a", "b", "c"], lambda _: Tower(2, MLPParams((2,), norm="batch")))
    for name in "abc":
        nn.init.eye_(towers[name].hidden[0].weight)
        nn.init.zeros_(towers[name].hidden[0].bias)
    with batch_tasks(towers, True):
        inputs = {"a": [[1.0, 2.0], [3.0, 6.0]], "b": [[10.0, 0.0], [20.0, 0.0]], "c": [[0.0, 0.0], [0.0, 0.0]]}
        towers({name: torch.tensor(rows) for name, rows in inputs.items()})
    assert towers["a"].hidden[1].running_mean.tolist() == pytest.approx([0.2, 0.4])  # a tenth of the way from 0
    assert towers["b"].hidden[1].running_mean.tolist() == pytest.approx([1.5, 0.0])


def test_dropout_together_drops_a_share_of_each_task_independently():
    towers = Towers(["a", "b", "c"], lambda _: Tower(1, MLPParams((2000,), "sigmoid", dropout=0.25)))
    for parameter in towers.parameters():
        nn.init.zeros_(parameter)
    for name in "abc":  # of 2,000 hidden units at 0.5, the logit counts those that are kept
        nn.init.constant_(towers[name].logit.weight, 2 * 0.75 / 2000)
    x = dict.fromkeys("abc", torch.zeros(50, 1))
    torch.manual_seed(0)
    with batch_tasks(towers, True):
        logits = towers(x)
    for logit in logits.values():
        assert logit.mean().item() == pytest.approx(0.75, abs=0.005)
        assert logit.std() > 0
    assert not torch.allclose(logits["a"], logits["b"])


def test_frozen_tower_gets_no_gradient():
    towers, x = towers_of(MLPParams((4,))), own_inputs()
    towers["click"].requires_grad_(False)
    with batch_tasks(towers, True):
        sum(logit.sum() for logit in towers(x).values()).backward()
    assert all(parameter.grad is None for parameter in towers["click"].parameters())
    assert all(parameter.grad is not None for parameter in towers["like"].parameters())


def test_towers_together_work_in_bf16():
    torch.manual_seed(0)
    gates, towers = Gates(NAMES, lambda _: Gate(6, 4)), towers_of(MLPParams((5,), norm="layer"))
    x, experts = shared_input(), torch.randn(7, 4, 6)
    exact = towers(gates(x, experts))
    with batch_tasks(nn.ModuleList([gates, towers]), True), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = towers(gates(x, experts))
    for name in NAMES:
        torch.testing.assert_close(logits[name].float(), exact[name], rtol=0.05, atol=0.05)


def test_keys_and_first_weights_are_those_of_the_towers_one_after_the_other():
    torch.manual_seed(3)
    towers = Towers(NAMES, lambda _: Tower(6, MLPParams((4,))))
    torch.manual_seed(3)
    separate = [Tower(6, MLPParams((4,))) for _ in NAMES]
    expected = {f"{k}.{key}": value for k, tower in enumerate(separate) for key, value in tower.state_dict().items()}
    assert towers.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in towers.state_dict().items())


def test_one_input_for_all_is_not_copied():
    x = torch.randn(3, 2)
    assert side_by_side([x, x]) is x
    y = x + 1
    assert torch.equal(side_by_side([x, y]), torch.stack([x, y], dim=1))
