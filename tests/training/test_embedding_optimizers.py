"""Optimizers of rows in whole trainings."""

import numpy as np
import pytest
import torch

from nextrec_like import DenseFeature, MMoE, SequenceFeature, SparseFeature
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.errors import InputError

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
    exact, _ = fit(rows, loss_weights=method, embedding_optimizer="rowwise_adagrad")
    rough, history = fit(rows, loss_weights=method, embedding_optimizer="rowwise_adagrad", precision=precision)
    assert history.skipped_steps <= 2
    for name, value in exact.state_dict().items():
        assert torch.allclose(value, rough.state_dict()[name], atol=0.03), name


@pytest.mark.parametrize("kind", ["lazy_adam", "rowwise_adagrad", "adagrad", "sgd", "dense"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_resumed_training_ends_bitwise_as_if_it_had_run_through(kind, precision, rows, tmp_path):
    compiled = {"embedding_optimizer": kind, "precision": precision, "clip_norm": 1.0}
    straight, expected = fit(rows, 4, **compiled)
    fit(rows, 2, {"checkpoint_dir": tmp_path}, **compiled)
    resumed, history = fit(rows, 4, {"checkpoint_dir": tmp_path, "resume": True}, **compiled)
    assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()))
    assert [epoch.loss for epoch in history.epochs] == [epoch.loss for epoch in expected.epochs]


def test_another_embedding_optimizer_does_not_resume(rows, tmp_path):
    fit(rows, 1, {"checkpoint_dir": tmp_path}, embedding_optimizer="lazy_adam")
    with pytest.raises(InputError, match="embedding_optimizer was lazy_adam, now dense"):
        fit(rows, 2, {"checkpoint_dir": tmp_path, "resume": True}, embedding_optimizer="dense")


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
