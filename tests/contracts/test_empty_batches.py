"""No rows, which a process may have of a small last step, cost nothing and change nothing: in all models."""

import pytest
import torch

from nextrec_like import SequenceFeature, SparseFeature, Task
from nextrec_like.batch import Batch
from nextrec_like.layers.mlp import ACTIVATIONS, NORMS
from nextrec_like.layers.pooling import POOLINGS
from nextrec_like.models import MODELS
from nextrec_like.objectives import LOSSES, OBJECTIVES, build_losses, build_objective

pytestmark = pytest.mark.parametrize("name", MODELS)

TARGETS = {
    "marginal": [Task("click"), Task("conversion", parent="click"), Task("price", kind="regression", parent="click")],
    "entire_space": [Task("click"), Task("conversion", parent="click"), Task("price", kind="regression")],
}
"""Tasks of all kinds that an objective can have; by default those of `marginal`."""


def without_rows(model):
    return Batch(
        ids=torch.empty(0, model.features.num_id_columns, dtype=torch.int64),
        dense=torch.empty(0, model.features.dense_dim),
        labels=torch.empty(0, len(model.tasks)),
    )


def objective_of(model, name, loss=None):
    return build_objective(name, model.tasks, build_losses(loss, model.tasks, LOSSES), OBJECTIVES)


def check(model, objective):
    """Logits of no rows, losses of 0 in the graph, gradients of 0 for all parameters."""
    batch = without_rows(model)
    logits = model(batch)
    assert {task: tuple(logit.shape) for task, logit in logits.items()} == dict.fromkeys(model.task_names, (0,))
    losses = objective(logits, batch.labels)
    assert losses.counts.tolist() == [0] * len(model.tasks)
    assert [loss.item() for loss in losses.values] == [0] * len(model.tasks)
    assert all(loss.requires_grad for loss in losses.values)
    sum(losses.values).backward()
    for parameter in model.parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def changed(model, **layers):
    """The hyperparameters of a model with changes in all its MLPs."""
    given = model.hyperparameters
    return {**given, **{key: {**value, **layers} for key, value in given.items() if isinstance(value, dict)}}


@pytest.mark.parametrize("norm", [None, *NORMS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_model_takes_no_rows(name, norm, activation, build):
    model = build(name, **changed(build(name), norm=norm, activation=activation, dropout=0.1))
    before = {key: value.clone() for key, value in model.state_dict().items() if "running" in key}
    check(model, objective_of(model, model.default_objective))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_takes_no_rows(name, pooling, build):
    sparse = [SparseFeature("item", 15, embedding_dim=4, embedding_name="item")]
    hist = SequenceFeature("hist", 15, embedding_dim=4, embedding_name="item", max_len=4, pooling=pooling)
    model = build(name, sparse_features=sparse, sequence_features=[hist])
    check(model, objective_of(model, model.default_objective))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_takes_no_rows(name, objective, build):
    model = build(name, target=TARGETS.get(objective, TARGETS["marginal"]))
    check(model, objective_of(model, objective))


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_takes_no_rows(name, loss, build):
    model = build(name)
    check(model, objective_of(model, "marginal", loss))
