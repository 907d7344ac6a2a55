"""The fitted weights, learning rates and figures against training loops written by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nextrec_like import Callback, SequenceFeature
from nextrec_like.batch import Batch
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table

SEED, BATCH, EPOCHS = 7, 70, 2


class StartingWeights(Callback):
    def on_fit_start(self, trainer):
        self.state = {name: value.clone() for name, value in trainer.model.state_dict().items()}


def by_hand(model, table, *, weights, clip=None, epochs=EPOCHS, optimizer=torch.optim.Adam, **options):
    """Trains with plain torch under the marginal objective; returns mean losses by epoch and gradient norms."""
    rows = pack(read_table(table), model.features, model.tasks).rows
    optimizer = optimizer(model.parameters(), **options)
    generator = torch.Generator().manual_seed(SEED)
    history, norms = [], []
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator)
        sums, counts = np.zeros(2), np.zeros(2)
        for index in order.split(BATCH):
            label = rows.labels[index]
            logits = model(Batch(rows.ids[index], rows.dense[index]))
            losses = []
            for k, name in enumerate(("click", "conversion")):
                seen = ~label[:, k].isnan()
                losses.append(F.binary_cross_entropy_with_logits(logits[name][seen], label[seen, k]))
                sums[k] += losses[-1].item() * seen.sum().item()
                counts[k] += seen.sum().item()
            optimizer.zero_grad()
            (weights[0] * losses[0] + weights[1] * losses[1]).backward()
            if clip is not None:
                norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
            optimizer.step()
        history.append(sums / counts)
    return history, norms


def assert_same_weights(first, second):
    for (name, ours), theirs in zip(first.state_dict().items(), second.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["mmoe", "ple", "shared_bottom", "single_task"])
@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.3, 2.0]])
def test_fit_is_the_loop_that_one_would_write(name, weights, build, train, table):
    table["conversion"] = np.where(np.arange(240) % 7 == 0, np.nan, table["conversion"])
    start = StartingWeights()
    compiled = {"loss_weights": weights, "optimizer_params": {"lr": 0.01}}
    with pytest.warns(UserWarning, match="conversion"):
        fitted, history = train(name, compiled=compiled, seed=SEED, batch_size=BATCH, epochs=EPOCHS, callbacks=[start])
    hand = build(name)
    hand.load_state_dict(start.state)
    losses, _ = by_hand(hand, table, weights=weights, lr=0.01)
    assert_same_weights(fitted, hand)
    for record, expected in zip(history.epochs, losses):
        np.testing.assert_allclose(list(record.loss.values()), expected, rtol=1e-5)
        np.testing.assert_allclose(list(record.weights.values()), weights, rtol=1e-6)


def test_dwa_weighs_by_the_mean_losses_of_the_last_two_epochs(train):
    _, history = train(compiled={"loss_weights": "dwa"}, epochs=5)  # 240 rows: four batches of 60

    losses = np.array([list(record.loss.values()) for record in history.epochs])
    weights = np.array([list(record.weights.values()) for record in history.epochs])
    rho = np.exp(losses[1:4] / losses[:3] / 2)
    expected = 2 * rho / rho.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights[:2], 1)
    np.testing.assert_allclose(weights[2:], expected, rtol=1e-5)
    assert (np.abs(weights[2:] - 1) > 1e-4).all()


def test_the_nadir_of_stch_is_the_mean_loss_of_the_first_epoch(train):
    model, history = train(compiled={"loss_weights": {"method": "stch", "mu": 0.5}}, epochs=3)

    nadir = model._parts.balancer.weighting.nadir.tolist()
    np.testing.assert_allclose(nadir, list(history.epochs[0].loss.values()), rtol=1e-5)


@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_clipping_is_torchs_over_the_whole_weighted_gradient(clip, build, train, table):
    start = StartingWeights()
    compiled = {"clip_norm": clip, "optimizer": "sgd", "optimizer_params": {"lr": 0.5}, "loss_weights": [0.5, 3]}
    fitted, _ = train("mmoe", compiled=compiled, seed=SEED, batch_size=BATCH, epochs=1, callbacks=[start])
    hand = build("mmoe")
    hand.load_state_dict(start.state)
    _, norms = by_hand(hand, table, weights=[0.5, 3], clip=clip, epochs=1, optimizer=torch.optim.SGD, lr=0.5)
    assert (min(norms) > clip) == (clip < 1)
    assert_same_weights(fitted, hand)


def test_padding_of_a_sequence_stays_zero_under_weight_decay(build, train):
    hist = SequenceFeature("hist", 15, embedding_dim=4, max_len=4)
    model = build("mmoe", sparse_features=[], sequence_features=[hist])
    train(model=model, compiled={"optimizer_params": {"lr": 0.1, "weight_decay": 0.1}}, epochs=3)
    rows = model.embedding.tables[0].weight
    assert rows[0].abs().sum() == 0
    assert rows[1:].abs().sum(dim=1).min() > 0


def test_shuffle_off_keeps_the_order(train, table):
    seen = []

    class Order(Callback):
        def on_fit_start(self, trainer):
            trainer.model.register_forward_pre_hook(lambda _, batch: seen.append(batch[0].dense[:, 0]))

    train("mmoe", callbacks=[Order()], shuffle=False, epochs=2)
    assert torch.equal(torch.cat(seen), torch.tensor(np.tile(table["age"], 2)))


def test_each_epoch_has_a_new_order_with_every_row_once(train, table):
    seen = []

    class Order(Callback):
        def on_fit_start(self, trainer):
            trainer.model.register_forward_pre_hook(lambda _, batch: seen.append(batch[0].dense[:, 0]))

    train("mmoe", callbacks=[Order()], epochs=2)
    first, second = torch.cat(seen).split(240)
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(table["age"].tolist())


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self):
        self.after = []

    def on_step_end(self, trainer):
        self.after.append(trainer.parts.schedule.last_lr)


def test_history_has_the_learning_rate_of_each_epoch(train):
    compiled = {
        "optimizer_params": {"lr": 0.08},
        "scheduler": "StepLR",
        "scheduler_params": {"step_size": 1, "gamma": 0.5},
    }
    _, history = train("mmoe", compiled=compiled, epochs=3)
    assert [record.lr for record in history.epochs] == pytest.approx([0.08, 0.04, 0.02])


def test_step_scheduler_moves_within_an_epoch(train):
    rates = Rates()
    compiled = {
        "optimizer_params": {"lr": 0.08},
        "scheduler": "ExponentialLR",
        "scheduler_params": {"gamma": 0.5},
        "scheduler_interval": "step",
    }
    _, history = train("mmoe", compiled=compiled, callbacks=[rates], epochs=1)
    assert rates.after == pytest.approx([0.08, 0.04, 0.02, 0.01])
    assert history.epochs[0].lr == pytest.approx(0.01)


def test_history_has_the_rate_that_the_warm_up_left(train):
    compiled = {"optimizer_params": {"lr": 0.08}, "warmup_steps": 16}
    _, history = train("mmoe", compiled=compiled, epochs=2)  # four steps an epoch
    assert [record.lr for record in history.epochs] == pytest.approx([0.08 * 4 / 16, 0.08 * 8 / 16])


def test_warm_up_makes_the_first_steps_small(build, train, table):
    start = StartingWeights()
    compiled = {"optimizer": "sgd", "optimizer_params": {"lr": 1.0}, "warmup_steps": 4}
    fitted, _ = train("mmoe", compiled=compiled, batch_size=240, callbacks=[start], shuffle=False, epochs=1)
    hand = build("mmoe")
    hand.load_state_dict(start.state)
    rows = pack(read_table(table), hand.features, hand.tasks).rows
    logits = hand(rows)
    loss = sum(F.binary_cross_entropy_with_logits(logits[t], rows.labels[:, k]) for k, t in enumerate(logits))
    loss.backward()
    for ours, theirs in zip(fitted.parameters(), hand.parameters()):
        torch.testing.assert_close(ours, theirs - 0.25 * theirs.grad, rtol=1e-5, atol=1e-7)


def test_reduce_on_plateau_follows_the_monitored_score(train, other_table):
    compiled = {
        "optimizer": "sgd",
        "optimizer_params": {"lr": 1e-12},  # the score stands still
        "scheduler": "ReduceLROnPlateau",
        "scheduler_params": {"patience": 0, "factor": 0.1, "eps": 0.0},
    }
    _, history = train("mmoe", compiled=compiled, valid_data=other_table, epochs=4)
    assert [record.lr for record in history.epochs] == pytest.approx([1e-12, 1e-12, 1e-13, 1e-14], rel=1e-6)


def test_second_fit_goes_on_and_compile_starts_anew(train, build, table):
    model, _ = train("mmoe", epochs=1, shuffle=False)
    moments = model._parts.optimizer.state
    assert moments
    model.fit(table, epochs=1, shuffle=False, batch_size=60, device="cpu", verbose=0)
    both, _ = train("mmoe", epochs=2, shuffle=False)
    assert_same_weights(model, both)
    model.compile()
    assert not model._parts.optimizer.state


def test_instance_of_an_optimizer_trains(build, train):
    model = build("mmoe")
    train(model=model, compiled={"optimizer": torch.optim.Adam(model.parameters(), lr=0.01), "optimizer_params": None})
    named, _ = train("mmoe")
    assert_same_weights(model, named)


def test_dropout_follows_the_seed(build, train, table):
    params = {"dims": [8], "dropout": 0.5}
    first, second, other = (
        train(model=build("mmoe", tower_params=params), seed=seed)[0].predict(table, device="cpu") for seed in (1, 1, 2)
    )
    assert first.equals(second)
    assert not first.equals(other)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_normalised_models_train_where_one_row_would_remain(norm, build, train, table):
    model = build("mmoe", expert_params={"dims": [8], "norm": norm}, tower_params={"dims": [4], "norm": norm})
    odd = {name: values[:121] for name, values in table.items()}
    _, history = train(model=model, data=odd, batch_size=60, epochs=2)
    assert history.epochs[1].loss["click"] < history.epochs[0].loss["click"]
    assert np.isfinite(model.predict({n: v[:1] for n, v in table.items()}, device="cpu")).all(axis=None)


def test_device_out_of_memory_is_one_sentence(build, train, monkeypatch, refused):
    model = build("mmoe")

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(type(model.experts), "forward", full)
    with refused("Device 'cpu' is out of memory at `batch_size` 60", "accumulate_steps", "device_data=False"):
        train(model=model)


@pytest.mark.parametrize("action", ["fit", "evaluate", "predict"])
def test_device_too_small_for_the_model_is_one_sentence(action, train, table, monkeypatch, refused):
    model, _ = train("mmoe")

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(type(model), "to", full)
    with refused("Device 'cpu' is out of memory at"):
        getattr(model, action)(table, device="cpu")


def test_callback_that_fails_at_the_start_leaves_no_hook(build, train):
    class Fails(Callback):
        def on_fit_start(self, trainer):
            raise RuntimeError("the user's own")

    model = build("mmoe")
    with pytest.raises(RuntimeError, match="own"):
        train(model=model, compiled={"loss_weights": {"method": "mgda", "site": "representation"}}, callbacks=[Fails()])
    assert not any(module._forward_hooks for module in model.modules())


def test_prediction_out_of_memory_is_one_sentence(train, table, monkeypatch, refused):
    model, _ = train("mmoe")

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(type(model.experts), "forward", full)
    with refused("Device 'cpu' is out of memory at predicting 16,384 rows", "device='cpu'"):
        model.predict(table, device="cpu")
