"""Which optimizer each embedding table has, and that all of them act as one."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nextrec_like.errors import InputError
from nextrec_like.layers import select_rows
from nextrec_like.optim import build_optimizers


def make_tables(numbers):
    return [SimpleNamespace(weight=nn.Parameter(torch.empty(n // 4, 4)), lookup=select_rows) for n in numbers]


def build(spec="adam", params=None, embedding="auto", embedding_params=None, numbers=(40, 8_000_000)):
    tables = make_tables(numbers)
    dense = nn.Parameter(torch.zeros(3))
    parameters = [dense, *(table.weight for table in tables)]
    optimizer, gradients = build_optimizers(spec, params, parameters, tables, embedding, embedding_params)
    return optimizer, gradients, parameters


@pytest.mark.parametrize(
    ("spec", "params", "expected"),
    [
        ("adam", {"lr": 0.3, "betas": (0.5, 0.6), "eps": 1e-3, "weight_decay": 0.2}, {"decoupled_weight_decay": False}),
        ("adamw", {"lr": 0.3}, {"weight_decay": 0.01, "decoupled_weight_decay": True}),
        ("adagrad", {"lr": 0.3, "eps": 1e-3}, {}),
        ("sgd", {"lr": 0.3, "weight_decay": 0.2}, {}),
    ],
)
def test_auto_updates_rows_of_large_tables_with_the_options_of_the_optimizer(spec, params, expected):
    optimizer, gradients, (dense, small, large) = build(spec, params)
    by_parameter = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert by_parameter[id(dense)] is by_parameter[id(small)]
    own = by_parameter[id(large)]
    assert own is not by_parameter[id(small)]
    assert {name: own[name] for name in {**params, **expected}} == {**params, **expected}
    assert [rows.weight is small for rows in gradients.dense] == [True]


@pytest.mark.parametrize(
    ("spec", "params"),
    [("rmsprop", None), ("adam", {"amsgrad": True}), ("sgd", {"momentum": 0.9}), ("adagrad", {"lr_decay": 0.1})],
)
def test_auto_updates_whole_tables_where_no_optimizer_of_rows_does_the_like(spec, params):
    optimizer, gradients, _ = build(spec, params)
    assert type(optimizer).__name__ != "JointOptimizer"
    assert len(gradients.dense) == 2


def test_optimizer_of_another_kind_has_its_own_options():
    optimizer, _, (_, small, _) = build("adam", {"lr": 0.3}, "rowwise_adagrad", {"eps": 1e-3})
    (own,) = [group for group in optimizer.param_groups if any(p is small for p in group["params"])]
    assert (own["lr"], own["eps"]) == (0.1, 1e-3)


def test_instance_updates_all_that_it_holds():
    (table,) = make_tables([40])
    instance = torch.optim.Adam([table.weight])
    optimizer, gradients = build_optimizers(instance, None, [table.weight], [table])
    assert optimizer is instance
    assert len(gradients.dense) == 1


def test_scheduler_and_saved_state_reach_every_part():
    optimizer, gradients, parameters = build("adam", {"lr": 0.1}, "lazy_adam", numbers=(40, 60))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    parameters[0].grad = torch.ones(3)
    for rows in gradients.tables:
        rows.lookup(rows.weight, torch.tensor([[1, 2]])).sum().backward()
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]
    other, _, _ = build("adam", {"lr": 0.1}, "lazy_adam", numbers=(40, 60))
    other.load_state_dict(optimizer.state_dict())
    assert [part.param_groups[0]["lr"] for part in other.optimizers] == [0.05, 0.05]
    saved, restored = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert {index: sorted(slots) for index, slots in saved.items()} == {
        index: sorted(slots) for index, slots in restored.items()
    }
    assert all(torch.equal(saved[i][name], restored[i][name]) for i in saved for name in saved[i])
    assert all(part.state is other.state for part in other.optimizers)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embedding": "lazy_adma"}, ["embedding_optimizer", "Did you mean `lazy_adam`?"]),
        ({"embedding": 3}, ["embedding_optimizer"]),
        ({"embedding": "rowwise_adagrad", "embedding_params": {"beta": 1}}, ["rowwise_adagrad", "beta"]),
        ({"embedding": "lazy_adam", "embedding_params": {"lr": -1}}, ["`lr`", "-1"]),
        ({"embedding": "lazy_adam", "embedding_params": [1]}, ["embedding_optimizer_params", "dict"]),
        ({"embedding": "dense", "embedding_params": {"lr": 1}}, ["embedding_optimizer_params", "by name"]),
        ({"embedding": "lazy_adam", "embedding_params": {"betas": 0.9}}, ["lazy_adam", "betas"]),
    ],
)
def test_wrong_embedding_optimizer_is_refused(arguments, words):
    with pytest.raises(InputError) as error:
        build(**arguments)
    assert all(word in str(error.value) for word in words), error.value


def test_instance_that_holds_tables_beside_an_optimizer_of_rows_is_refused():
    (table,) = make_tables([40])
    with pytest.raises(InputError, match="dense_parameters"):
        build_optimizers(torch.optim.Adam([table.weight]), None, [table.weight], [table], "lazy_adam")
