"""Single steps: the log, diagnosis, steps that are skipped, parts of a batch, bf16."""

import numpy as np
import pandas as pd
import pytest
import torch

from nextrec_like import Callback, InputError, InputWarning
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.training.history import History
from nextrec_like.weighting import Weighting


def figures(history, name):
    frame = history.steps_frame()
    return frame[frame["figure"] == name]


def test_log_has_first_and_every_nth_step_over_all_epochs(train):
    _, history = train(epochs=3, log_every=5)  # four steps an epoch
    frame = history.steps_frame()
    assert list(frame.columns) == ["epoch", "step", "figure", "task", "other", "value"]
    assert sorted(set(zip(frame["epoch"], frame["step"]))) == [(1, 1), (2, 5), (3, 10)]
    assert set(frame["figure"]) == {"loss", "weight"}
    assert len(frame) == 3 * 2 * 2


def test_each_fit_logs_its_first_step(train, table):
    model, _ = train(epochs=1)
    again = model.fit(table, epochs=1, batch_size=60, device="cpu", verbose=0)
    assert set(again.steps_frame()["step"]) == {5}


def test_logged_loss_is_that_of_the_batch(train, table):
    start = {}

    class Keep(Callback):
        def on_fit_start(self, trainer):
            start.update({name: value.clone() for name, value in trainer.model.state_dict().items()})

    model, history = train(batch_size=240, shuffle=False, callbacks=[Keep()], epochs=1)
    model.load_state_dict(start)
    rows = pack(read_table(table), model.features, model.tasks).rows
    expected = torch.nn.functional.binary_cross_entropy_with_logits(model(rows)["click"], rows.labels[:, 0])
    logged = figures(history, "loss").set_index("task")["value"]
    assert logged["click"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("spec", [None, [0.3, 0.7], "rlw", "grad_norm", "pcgrad", "graddrop"], ids=str)
def test_diagnosis_logs_norms_and_cosines_for_every_method(spec, train, build):
    model = build("mmoe", target=["click", "like", "share"])
    spec = [0.3, 0.7, 1.0] if isinstance(spec, list) else spec
    _, history = train(model=model, compiled={"loss_weights": spec}, log_every=1, diagnose=True)
    assert len(figures(history, "norm")) == 4 * 3
    cosines = figures(history, "cosine")
    assert list(zip(cosines["task"], cosines["other"]))[:3] == [
        ("click", "like"),
        ("click", "share"),
        ("like", "share"),
    ]
    assert cosines["value"].abs().max() <= 1 + 1e-9
    assert (figures(history, "norm")["value"] > 0).all()


def test_cosine_is_that_of_the_gradients_at_the_site(train, table):
    start = {}

    class Keep(Callback):
        def on_fit_start(self, trainer):
            start.update({name: value.clone() for name, value in trainer.model.state_dict().items()})

    model, history = train(batch_size=240, shuffle=False, callbacks=[Keep()], diagnose=True)
    model.load_state_dict(start)
    rows = pack(read_table(table), model.features, model.tasks).rows
    logits, gradients = model(rows), []
    for index, task in enumerate(model.task_names):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[task], rows.labels[:, index])
        parts = torch.autograd.grad(loss, model.last_shared(), retain_graph=True)
        gradients.append(torch.cat([part.flatten() for part in parts]).double())
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0).item()
    assert figures(history, "cosine")["value"].item() == pytest.approx(cosine, abs=1e-5)
    share = history.conflict_share()
    assert share == {("click", "conversion"): float(cosine < 0)}
    assert figures(history, "norm")["value"].tolist() == pytest.approx([g.norm().item() for g in gradients], rel=1e-4)


@pytest.mark.parametrize("spec", [None, "unit_gradient", "grad_norm", "pcgrad", "graddrop", "famo"], ids=str)
def test_diagnosis_changes_no_result(spec, train):
    compiled = {"loss_weights": spec}
    plain = train(epochs=2, compiled=compiled)
    diagnosed = train(epochs=2, compiled=compiled, diagnose=True, log_every=1)
    assert all(torch.equal(a, b) for a, b in zip(plain[0].state_dict().values(), diagnosed[0].state_dict().values()))
    assert (plain[1].conflict_share() == {}) == (spec not in ("pcgrad", "graddrop"))


def test_conflicts_are_printed_at_the_end(train, capsys):
    train(diagnose=True, verbose=1)
    assert "negative cosine" in capsys.readouterr().out


def test_diagnosis_without_shared_parameters_is_refused(train, build, refused):
    with refused("click, conversion", "share none", "diagnose"):
        train(model=build("single_task"), diagnose=True)


def test_task_without_label_has_no_loss_in_the_log(train, table):
    table["conversion"] = np.where(np.arange(240) < 120, np.nan, table["conversion"])
    _, history = train(data=table, batch_size=120, shuffle=False, log_every=1)
    assert figures(history, "loss")["value"].isna().tolist() == [False, True, False, False]


def test_empty_log_is_an_empty_table():
    assert isinstance(History().steps_frame(), pd.DataFrame)
    assert len(History().steps_frame()) == 0


@pytest.mark.parametrize(("option", "value"), [("log_every", 0), ("log_every", 1.5), ("diagnose", "yes")])
def test_wrong_log_options_are_refused(option, value, train, refused):
    with refused(f"`{option}`"):
        train(**{option: value})


class Poison(Callback):
    """Makes the gradient of one parameter NaN in one step."""

    def __init__(self, at):
        self.at, self.count, self.before = at, 0, None

    def on_fit_start(self, trainer):
        parameter = next(trainer.model.experts.parameters())
        self.hook = parameter.register_hook(self._poison)

    def _poison(self, gradient):
        self.count += 1
        return gradient * float("nan") if self.count in self.at else gradient

    def on_fit_end(self, trainer):
        self.hook.remove()


@pytest.mark.parametrize("spec", [None, "grad_norm", "uncertainty", "mgda"], ids=str)
def test_step_with_a_gradient_that_is_not_finite_is_skipped_and_counted(spec, train):
    with pytest.warns(InputWarning, match="1 of 4 steps of epoch 2 were skipped"):
        model, history = train(compiled={"loss_weights": spec}, epochs=3, callbacks=[Poison([6])])
    assert history.skipped_steps == 1
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_skipped_step_moves_nothing(train):
    states = []

    class Watch(Callback):
        def on_step_end(self, trainer):
            states.append([value.clone() for value in trainer.model.state_dict().values()])

    with pytest.warns(InputWarning, match="skipped"):
        train(epochs=1, callbacks=[Watch(), Poison([3])])
    assert all(torch.equal(a, b) for a, b in zip(states[1], states[2]))
    assert not all(torch.equal(a, b) for a, b in zip(states[2], states[3]))


def test_training_in_which_most_steps_fail_is_stopped(train):
    with pytest.raises(InputError, match=r"3 of 4 steps were skipped .*gradient was not"):
        train(callbacks=[Poison([1, 2, 3])])


@pytest.mark.parametrize("options", [{"warmup_steps": 10}, {"normalize": False}])
def test_collapsed_weight_is_a_warning_at_the_end_of_the_epoch_at_the_latest(options, train):
    spec = {"method": "unit_gradient", "base": {"click": 1, "conversion": 1e-9}, **options}
    with pytest.warns(InputWarning, match="`conversion` has been under 1 %"):
        train(compiled={"loss_weights": spec}, epochs=22, batch_size=24)


def test_collapsed_weight_is_a_warning(train):
    spec = {"method": "unit_gradient", "base": {"click": 1, "conversion": 1e-9}}
    with pytest.warns(InputWarning, match="`conversion` has been under 1 % .* 200 steps"):
        train(compiled={"loss_weights": spec}, epochs=25, batch_size=24)


@pytest.mark.parametrize("spec", [None, [0.3, 1.7], "prior_inverse"], ids=str)
@pytest.mark.parametrize("parts", [2, 4, 7])
def test_batch_in_parts_gives_the_result_of_the_whole(spec, parts, train, table):
    table["conversion"] = np.where(np.arange(240) % 3 == 0, np.nan, table["conversion"])
    compiled = {"loss_weights": spec, "optimizer": "sgd", "optimizer_params": {"lr": 0.5}}
    whole, history = train(compiled=compiled, data=table, epochs=2)
    split, split_history = train(compiled={**compiled, "accumulate_steps": parts}, data=table, epochs=2)
    for ours, theirs in zip(split.state_dict().values(), whole.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert split_history.epochs[1].loss == pytest.approx(history.epochs[1].loss, rel=1e-4)


def test_method_with_state_is_updated_once_per_batch_in_parts(train):
    class Counting(Weighting):
        count = 0

        def forward(self, stats):
            return torch.ones_like(stats.losses)

        def observe(self, stats):
            self.count += 1

    weighting = Counting()
    train(compiled={"loss_weights": weighting, "accumulate_steps": 3}, epochs=2)
    assert weighting.count == 8


def test_bf16_trains_like_fp32_with_float32_weights(train, table):
    full, _ = train(epochs=6)
    half, history = train(compiled={"precision": "bf16"}, epochs=6)
    assert all(value.dtype == torch.float32 for value in half.state_dict().values())
    assert history.epochs[-1].loss["click"] < 0.95 * history.epochs[0].loss["click"]
    ours, theirs = (model.predict(table, device="cpu")["click"] for model in (half, full))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    assert not np.array_equal(ours, theirs)


@pytest.mark.parametrize("spec", ["unit_gradient", "mgda", "cagrad"])
def test_bf16_weights_are_near_those_of_fp32(spec, train):
    compiled = {"loss_weights": spec, "optimizer_params": {"lr": 1e-6}}
    weights = [
        train(compiled={**compiled, "precision": precision}, batch_size=240)[1].epochs[0].weights["click"]
        for precision in ("fp32", "bf16")
    ]
    assert weights[1] == pytest.approx(weights[0], rel=0.02)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("precision", "fp8", "fp32, bf16"),
        ("precision", "bf61", "Did you mean `bf16`?"),
        ("accumulate_steps", 0, "positive"),
    ],
)
def test_wrong_precision_and_parts_are_refused(option, value, word, build, refused):
    with refused(option, word):
        build().compile(**{option: value})
