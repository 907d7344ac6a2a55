"""MLPs and their parameters."""

import pytest
import torch
from torch import nn

from nextrec_like.layers import MLP, MLPParams, PerTask, Tower
from nextrec_like.layers.mlp import ACTIVATIONS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dims": [4, 2]}, MLPParams((4, 2))),
        ({"dims": (4,), "norm": "batch"}, MLPParams((4,), norm="batch")),
        ({"dims": 4}, MLPParams((4,))),
        ({"dims": []}, MLPParams(())),
        (MLPParams((3,), "gelu"), MLPParams((3,), "gelu")),
    ],
)
def test_dict_becomes_params(given, expected):
    assert MLPParams.of(given, "tower_params") == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dim": [4]}, ["key of `tower_params`", "`dim`", "Did you mean `dims`?"]),
        ({"activation": "relu"}, ["`tower_params`", "`dims`", "[64, 32]"]),
        ({"dims": [4, 0]}, ["`tower_params.dims`", "positive", "0"]),
        ({"dims": [4.0]}, ["`tower_params.dims`", "4.0"]),
        ({"dims": [True]}, ["`tower_params.dims`", "True"]),
        ({"dims": "64"}, ["`tower_params.dims`", "64"]),
        ({"dims": None}, ["`tower_params.dims`", "None"]),
        ({"dims": [4], "activation": "rleu"}, ["activation in `tower_params`", "Did you mean `relu`?"]),
        ({"dims": [4], "dropout": 1.0}, ["`tower_params.dropout`", "1.0"]),
        ({"dims": [4], "dropout": -0.1}, ["`tower_params.dropout`", "-0.1"]),
        ({"dims": [4], "dropout": float("nan")}, ["`tower_params.dropout`", "nan"]),
        ({"dims": [4], "dropout": "0.1"}, ["`tower_params.dropout`", "'0.1'"]),
        ({"dims": [4], "norm": "bach"}, ["norm in `tower_params`", "Did you mean `batch`?"]),
        ([64, 32], ["`tower_params`", "dict", "[64, 32]"]),
        (None, ["`tower_params`", "None"]),
    ],
    ids=str,
)
def test_wrong_params_are_refused(given, words, refused):
    with refused(*words):
        MLPParams.of(given, "tower_params")


@pytest.mark.parametrize(
    ("model", "parameter"), [("mmoe", "expert_params"), ("ple", "expert_params"), ("shared_bottom", "bottom_params")]
)
def test_shared_part_needs_a_layer(model, parameter, build, refused):
    with refused(f"`{parameter}.dims` is empty"):
        build(model, **{parameter: {"dims": []}})


@pytest.mark.parametrize("model", ["mmoe", "ple", "shared_bottom", "single_task"])
def test_tower_may_be_a_single_linear_layer(model, train, build):
    _, history = train(model=build(model, tower_params={"dims": []}))
    assert history.epochs[0].loss["click"] > 0


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_layer_is_linear_norm_activation_dropout(activation, norm):
    layers = list(MLP(3, MLPParams((4, 2), activation, 0.1, norm)))
    norms = {None: [], "batch": [nn.BatchNorm1d], "layer": [nn.LayerNorm]}[norm]
    assert [type(layer) for layer in layers] == 2 * [nn.Linear, *norms, ACTIVATIONS[activation], nn.Dropout]
    assert (layers[0].in_features, layers[0].out_features) == (3, 4)
    assert layers[-1].p == 0.1


def test_tower_is_its_hidden_layers_and_one_logit():
    tower = Tower(3, MLPParams((4,)))
    x = torch.randn(5, 3)
    linear, logit = tower.hidden[0], tower.logit
    expected = (x @ linear.weight.T + linear.bias).clamp(min=0) @ logit.weight.T + logit.bias
    torch.testing.assert_close(tower(x), expected[:, 0])
    assert tower(x[:1]).shape == (1,)


def test_per_task_takes_names_that_a_module_dict_refuses():
    names = ["a.b", "keys", "type", "", "Käufe ✓"]
    modules = PerTask(names, lambda name: nn.Linear(1, 1 + len(name)))
    assert [modules[name].out_features for name in names] == [4, 5, 5, 1, 8]
    assert len(list(modules.parameters())) == 10
