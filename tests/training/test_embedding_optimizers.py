"""Optimizers of rows in whole trainings."""

import copy
import warnings

import numpy as np
import pytest
import torch

from nextrec_like import DenseFeature, MMoE, SequenceFeature, SparseFeature
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.errors import DivergedError, InputError, InputWarning

FEATURES = {
    "dense_features": [DenseFeature("age")],
    "sparse_features": [SparseFeature("user", 60, 4), SparseFeature("item", 40, 6, "items")],
    "sequence_features": [SequenceFeature("clicked", 40, 3, 6, "items", "target_attention")],
}


def make_rows(random, count=240):
    return {
        "age": random.normal(size=count),
        "user": random.integers(1, 60, count),
        "item": random.integers(2, 40, count),
        "clicked": random.integers(0, 40, (count, 3)),
        "click": random.integers(0, 2, count),
        "conversion": random.integers(0, 2, count),
    }


@pytest.fixture
def rows():
    return make_rows(np.random.default_rng(2))


def fit(rows, epochs=3, fitting=None, **compiled):
    model = MMoE(
        **FEATURES,
        target=["click", "conversion"],
        num_experts=2,
        expert_params={"dims": [8]},
        tower_params={"dims": [4]},
    )
    model.compile(**compiled)
    history = model.fit(rows, epochs=epochs, batch_size=50, device="cpu", verbose=0, **(fitting or {}))
    return model, history


def close(first, other, tolerance=1e-5):
    pairs = zip(first.state_dict().values(), other.state_dict().values())
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)


OPTIONS = {
    "plain": {},
    "clipped": {"clip_norm": 0.05},
    "in parts": {"accumulate_steps": 3},
    "clipped in parts": {"clip_norm": 0.05, "accumulate_steps": 2},
    "weighted": {"loss_weights": "grad_norm"},
    "by Gramian, in parts": {"loss_weights": "pcgrad", "accumulate_steps": 2},
    "representation": {"loss_weights": {"method": "mgda", "site": "representation"}},
    "schedule": {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0.5}, "warmup_steps": 4},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
def test_rows_alone_train_as_whole_tables_do(kind, options, rows):
    compiled = {"optimizer": kind, "optimizer_params": {"lr": 0.1}, **OPTIONS[options]}
    whole, _ = fit(rows, embedding_optimizer="dense", **compiled)
    alone, _ = fit(rows, embedding_optimizer=kind, **compiled)
    assert close(whole, alone)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["lazy_adam", "rowwise_adagrad"])
def test_rows_learn_in_every_combination(kind, options, rows):
    _, history = fit(rows, epochs=12, embedding_optimizer=kind, **OPTIONS[options], optimizer_params={"lr": 0.01})
    assert history.epochs[-1].loss["click"] < history.epochs[0].loss["click"] - 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", ["equal", "grad_norm", "pcgrad", "graddrop"])
def test_16_bit_gradients_move_as_32_bit_ones_do(precision, method, rows):
    options = {"embedding_optimizer": "rowwise_adagrad", "embedding_optimizer_params": {"lr": 0.01}}
    exact, _ = fit(rows, loss_weights=method, **options)
    rough, history = fit(rows, loss_weights=method, precision=precision, **options)
    assert history.skipped_steps <= 2
    for name, value in exact.state_dict().items():
        assert torch.allclose(value, rough.state_dict()[name], atol=0.03), name


@pytest.mark.parametrize("kind", ["lazy_adam", "rowwise_adagrad", "adagrad", "sgd", "dense"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_resumed_training_ends_bitwise_as_if_it_had_run_through(kind, precision, rows, tmp_path):
    compiled = {"embedding_optimizer": kind, "precision": precision, "clip_norm": 1.0}
    straight, expected = fit(rows, 4, **compiled)
    fit(rows, 2, {"checkpoint_dir": tmp_path}, **compiled)
    resumed, history = fit(rows, 4, {"checkpoint_dir": tmp_path, "resume": ["epochs"]}, **compiled)
    assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()))
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in expected.epochs]


def test_another_embedding_optimizer_does_not_resume(rows, tmp_path):
    fit(rows, 1, {"checkpoint_dir": tmp_path}, embedding_optimizer="lazy_adam")
    with pytest.raises(InputError, match="embedding_optimizer was lazy_adam, now dense"):
        fit(rows, 1, {"checkpoint_dir": tmp_path, "resume": True}, embedding_optimizer="dense")


def test_frozen_table_stays(rows):
    model = MMoE(**FEATURES, target=["click"], num_experts=2, expert_params={"dims": [4]})
    tables = [table.weight for table in model.embedding_tables()]
    tables[0].requires_grad_(False)
    model.compile(embedding_optimizer="lazy_adam")
    before = [weight.clone() for weight in tables]
    model.fit(rows, batch_size=50, device="cpu", verbose=0)
    # the initial weights are drawn at the first `fit`, so what counts is a second one
    before = [weight.clone() for weight in tables]
    model.fit(rows, batch_size=50, device="cpu", verbose=0)
    assert torch.equal(before[0], tables[0])
    assert not torch.equal(before[1], tables[1])


def test_padding_of_sequences_stays_zero(rows):
    model, _ = fit(rows, embedding_optimizer="lazy_adam", embedding_optimizer_params={"weight_decay": 0.1})
    shared = next(table for table in model.embedding_tables() if table.dim == 6)
    assert not shared.weight[0].any()


def test_gradients_of_tables_are_as_usual_after_a_training(rows):
    model, _ = fit(rows, embedding_optimizer="lazy_adam")
    table = model.embedding_tables()[0]
    assert table.weight.grad is None
    model(pack(read_table(rows), model.features).rows)["click"].sum().backward()
    assert table.weight.grad.shape == table.weight.shape


class Penalized(MMoE):
    """A model that reads its tables in two ways: adding ``-sum(table ** 2)`` to each logit."""

    def forward(self, batch):
        penalty = sum(table.weight.square().sum() for table in self.embedding_tables())
        return {task: logit - penalty for task, logit in super().forward(batch).items()}


@pytest.mark.parametrize("kind", ["dense", "sgd"])
@pytest.mark.parametrize("parts", [1, 3])
def test_gradient_of_a_table_that_is_read_in_other_ways_as_well_is_whole(kind, parts, rows):
    model = Penalized(**FEATURES, target=["click"], num_experts=1, expert_params={"dims": [4]})
    rate = {"lr": 0.5}
    options = {} if kind == "dense" else {"embedding_optimizer_params": rate}
    model.compile("sgd", rate, embedding_optimizer=kind, accumulate_steps=parts, **options)
    model.fit(rows, batch_size=240, shuffle=False, device="cpu", verbose=0)
    before = copy.deepcopy(model.state_dict())
    batch = pack(read_table(rows), model.features, model.tasks).rows
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch)["click"], batch.labels[:, 0])
    weights = {name: value for name, value in model.named_parameters() if name.endswith("weight") and "tables" in name}
    gradients = torch.autograd.grad(loss, list(weights.values()))
    model.fit(rows, batch_size=240, shuffle=False, device="cpu", verbose=0)
    assert len(weights) == 2
    for name, gradient in zip(weights, gradients):
        torch.testing.assert_close(model.state_dict()[name], before[name] - 0.5 * gradient, rtol=1e-5, atol=1e-6)


def test_tables_with_one_weight_are_refused():
    model = MMoE(sparse_features=[SparseFeature("user", 60, 4), SparseFeature("item", 60, 6)], target=["click"])
    first, second = model.embedding_tables()
    second.weight = first.weight
    with pytest.raises(InputError, match="Two embedding tables of the model share one weight"):
        model.compile()


def test_table_that_no_optimizer_has_is_a_warning():
    model = MMoE(**FEATURES, target=["click"], num_experts=1, expert_params={"dims": [4]})
    with pytest.warns(InputWarning, match="`optimizer` holds 0 of 2 embedding tables"):
        model.compile(torch.optim.Adam(model.dense_parameters()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(torch.optim.Adam(model.dense_parameters()), embedding_optimizer="lazy_adam")
        model.compile(torch.optim.Adam(model.parameters()))


@pytest.mark.parametrize("kind", ["lazy_adam", "rowwise_adagrad"])
def test_compiled_model_can_be_copied(kind, rows):
    model, _ = fit(rows, embedding_optimizer=kind)
    other = copy.deepcopy(model)
    for each in (model, other):
        each.fit(rows, epochs=2, batch_size=50, device="cpu", verbose=0)
    assert close(model, other, tolerance=0)


def test_scheduler_of_momentum_works_where_all_optimizers_have_it(rows):
    params = {"max_lr": 0.01, "total_steps": 16}
    options = {"scheduler": "OneCycleLR", "scheduler_params": params, "scheduler_interval": "step"}
    fit(rows, embedding_optimizer="lazy_adam", **options)
    with pytest.raises(InputError, match="cycle_momentum"):
        fit(rows, embedding_optimizer="rowwise_adagrad", **options)
    params["cycle_momentum"] = False
    fit(rows, embedding_optimizer="rowwise_adagrad", **options)


def test_16_bit_training_finds_its_scale_in_epochs_that_are_short(rows):
    rows["spent"] = 10 * rows["age"] + 300.0
    model = MMoE(
        **FEATURES, target=["click", "spent"], task=["binary", "regression"], num_experts=1, expert_params={"dims": [4]}
    )
    model.compile(optimizer_params={"lr": 1e-3}, precision="fp16")
    with pytest.warns(
        InputWarning, match="steps of epoch 1 were skipped, because the scale of fp16 was still too large"
    ):
        history = model.fit(rows, epochs=4, batch_size=80, device="cpu", verbose=0)
    assert history.skipped_steps > 3
    assert len(history.epochs) == 4


class Broken(MMoE):
    def forward(self, batch):
        return {task: logit * torch.inf for task, logit in super().forward(batch).items()}


def test_losses_that_are_never_finite_end_a_16_bit_training_too(rows):
    model = Broken(**FEATURES, target=["click"], num_experts=1, expert_params={"dims": [4]})
    model.compile(precision="fp16")
    with pytest.raises(DivergedError, match="In epoch 1, 24 of 24 steps were skipped"):
        model.fit(rows, epochs=2, batch_size=10, device="cpu", verbose=0)


@pytest.mark.parametrize("kind", ["dense", "lazy_adam"])
def test_steps_that_wait_do_not_look_at_what_a_gpu_has_found(kind, rows):
    model, _ = fit(rows, embedding_optimizer=kind)
    before = copy.deepcopy(model.state_dict())
    model._parts.optimizer.found_inf = torch.tensor(1.0)
    model.fit(rows, batch_size=50, device="cpu", verbose=0)
    assert not any(torch.equal(value, before[name]) for name, value in model.named_parameters())
