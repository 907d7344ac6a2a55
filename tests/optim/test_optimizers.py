"""Optimizers by name."""

import pytest
import torch
from torch import nn

from nextrec_like.optim import OPTIMIZERS, build_optimizer


def parameter():
    return nn.Parameter(torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_named_optimizer_steps_as_torchs_own(name):
    ours, theirs = parameter(), parameter()
    options = {"lr": 0.1, "weight_decay": 0.01}
    first, second = build_optimizer(name, options, [ours]), OPTIMIZERS[name]([theirs], **options)
    for step in range(3):
        for tensor, optimizer in ((ours, first), (theirs, second)):
            tensor.grad = torch.tensor([0.3, -0.1 * step])
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_name_is_read_without_case_and_options_are_not_changed():
    options = {"lr": 0.5}
    assert isinstance(build_optimizer("AdamW", options, [parameter()]), torch.optim.AdamW)
    assert options == {"lr": 0.5}


def test_adam_without_options_has_torchs_defaults():
    group = build_optimizer("adam", None, [parameter()]).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 0)


@pytest.mark.parametrize(
    ("spec", "params", "words"),
    [
        ("adan", None, ["optimizer `adan`", "Did you mean `adam`?"]),
        ("adam", {"learning_rate": 1}, ["option of optimizer `adam`", "`learning_rate`", "lr"]),
        ("adam", {"weight_dcay": 1}, ["Did you mean `weight_decay`?"]),
        ("adam", {"params": []}, ["`params`"]),
        ("adam", {"lr": -1}, ["`adam`", "-1"]),
        ("adam", {"lr": "0.1"}, ["`adam`", "'0.1'"]),
        ("adam", {"lr": float("nan")}, ["`adam`", "nan"]),
        (torch.optim.Adam, None, ["name or a torch optimizer", "Adam"]),
        (None, None, ["name or a torch optimizer", "None"]),
    ],
    ids=str,
)
def test_wrong_optimizer_is_refused(spec, params, words, refused):
    with refused(*words):
        build_optimizer(spec, params, [parameter()])


def test_instance_is_taken_if_its_parameters_are_the_models():
    own = parameter()
    optimizer = torch.optim.SGD([own], lr=1)
    assert build_optimizer(optimizer, None, [own, parameter()]) is optimizer


def test_instance_with_other_parameters_or_with_options_is_refused(refused):
    own = parameter()
    with refused("not this model's", "model.parameters()"):
        build_optimizer(torch.optim.SGD([parameter()], lr=1), None, [own])
    with refused("`optimizer_params`", "instance"):
        build_optimizer(torch.optim.SGD([own], lr=1), {"lr": 2}, [own])
