"""What `fit` watches, shows and refuses."""

import copy
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from nextrec_like import Callback, InputWarning, Task


class Recorder(Callback):
    """Weights after each epoch, and which hooks ran."""

    def __init__(self, stop_after=None):
        self.calls, self.states, self.stop_after = [], [], stop_after

    def on_fit_start(self, trainer):
        self.calls.append("fit_start")

    def on_step_end(self, trainer):
        self.calls.append("step")

    def on_epoch_end(self, trainer):
        self.calls.append(f"epoch {trainer.history.epochs[-1].epoch}")
        self.states.append(copy.deepcopy(trainer.model.state_dict()))
        if len(self.states) == self.stop_after:
            trainer.stop()

    def on_fit_end(self, trainer):
        self.calls.append("fit_end")


OVERFIT = {"compiled": {"optimizer_params": {"lr": 0.1}}, "epochs": 12, "batch_size": 40}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def score_by_hand(record, monitor):
    auc = {name: values["auc"] for name, values in record.valid.items()}
    logloss = {name: values["logloss"] for name, values in record.valid.items()}
    return {
        "None": (auc["click"] + auc["conversion"]) / 2,
        "mean": (auc["click"] + auc["conversion"]) / 2,
        "min": min(auc["click"], auc["conversion"]),
        "logloss": -(logloss["click"] + logloss["conversion"]) / 2,
        "{'conversion': 1.0}": auc["conversion"],
        "{'click': 0.3, 'conversion_given_click': 0.7}": 0.3 * auc["click"] + 0.7 * auc["conversion_given_click"],
        "{'metric': 'logloss', 'reduce': 'min'}": -max(logloss["click"], logloss["conversion"]),
        "{'metric': 'logloss', 'weights': {'click': 2}}": -2 * logloss["click"],
    }[str(monitor)]


@pytest.mark.parametrize(
    "monitor",
    [
        None,
        "mean",
        "min",
        "logloss",
        {"conversion": 1.0},
        {"click": 0.3, "conversion_given_click": 0.7},
        {"metric": "logloss", "reduce": "min"},
        {"metric": "logloss", "weights": {"click": 2}},
    ],
    ids=str,
)
def test_early_stopping_follows_the_monitored_score_and_restores_the_best_weights(monitor, train, other_table):
    recorder = Recorder()
    model, history = train("mmoe", **OVERFIT, valid_data=other_table, monitor=monitor, patience=2, callbacks=[recorder])
    scores = [score_by_hand(record, monitor) for record in history.epochs]
    assert [record.score for record in history.epochs] == pytest.approx(scores, abs=1e-12)
    assert history.best_epoch == 1 + int(np.argmax(scores))
    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 2
    assert same(recorder.states[history.best_epoch - 1], model.state_dict())


def test_restored_model_predicts_as_a_fresh_run_to_the_best_epoch(train, table, other_table):
    stopped, history = train("ple", **OVERFIT, valid_data=other_table, patience=2)
    assert history.best_epoch < len(history.epochs)
    fresh, _ = train("ple", **{**OVERFIT, "epochs": history.best_epoch})
    pd.testing.assert_frame_equal(
        stopped.predict(table, device="cpu"), fresh.predict(table, device="cpu"), check_exact=True
    )


def test_restore_best_off_keeps_the_last_weights(train, other_table):
    recorder = Recorder()
    options = {"valid_data": other_table, "patience": 2, "restore_best": False, "callbacks": [recorder]}
    model, history = train("mmoe", **OVERFIT, **options)
    assert history.best_epoch < len(history.epochs)
    assert same(recorder.states[-1], model.state_dict())


def test_gain_below_min_delta_does_not_count(train, other_table):
    _, history = train("mmoe", epochs=6, valid_data=other_table, patience=1, min_delta=0.9)
    assert (history.best_epoch, len(history.epochs), history.stopped_early) == (1, 2, True)


def test_best_weights_are_restored_without_patience_too(train, other_table):
    recorder = Recorder()
    model, history = train("mmoe", **OVERFIT, valid_data=other_table, callbacks=[recorder])
    assert len(history.epochs) == 12
    assert same(recorder.states[history.best_epoch - 1], model.state_dict())


def test_metric_that_cannot_be_computed_never_wins(train, other_table):
    one_class = {**other_table, "conversion": np.zeros(160), "click": np.zeros(160)}
    with pytest.warns(InputWarning, match="no epoch can be selected"):
        _, history = train("mmoe", epochs=2, valid_data=one_class)
    assert [record.score for record in history.epochs] == [None, None]
    assert history.best_epoch is None
    assert "classes" in history.epochs[0].reasons["click"]["auc"]


def test_mean_is_over_the_tasks_that_have_the_metric(train, other_table):
    valid = {**other_table, "conversion": np.zeros(160)}
    _, history = train("mmoe", valid_data=valid)
    assert history.epochs[0].score == history.epochs[0].valid["click"]["auc"]


def test_early_stopping_works_for_a_regression_with_default_metrics(build, train, other_table):
    model = build("mmoe", target=[Task("price", kind="regression")])
    compiled = {"optimizer": "sgd", "optimizer_params": {"lr": 0.0}}
    _, history = train(model=model, compiled=compiled, valid_data=other_table, patience=1, epochs=4)
    assert len(history.epochs) == 2


def test_patience_without_any_score_is_said(train, other_table):
    with pytest.warns(InputWarning, match="patience"):
        train(
            "mmoe",
            epochs=2,
            patience=1,
            valid_data={**other_table, "click": np.zeros(160), "conversion": np.zeros(160)},
        )


def test_valid_split_trains_on_the_rest(train):
    seen = []

    class Rows(Callback):
        def on_fit_start(self, trainer):
            seen.append((trainer.train_data.rows.dense, trainer.valid_data.rows.dense))

    for seed in (3, 3, 4):
        train("mmoe", valid_split=0.25, callbacks=[Rows()], seed=seed)
    first, again, other = seen
    assert [len(part) for part in first] == [180, 60]
    assert len(torch.cat(first).unique(dim=0)) == 240
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_validation_figures_equal_evaluate(train, other_table):
    model, history = train("mmoe", valid_data=other_table, metrics=["auc", "gauc", "ece"], group_id="user")
    expected = model.evaluate(other_table, metrics=["auc", "gauc", "ece"], group_id="user", device="cpu")
    assert history.epochs[0].valid == {name: dict(values) for name, values in expected.items()}


def test_validation_does_not_change_the_training(train, table, other_table):
    with_valid, _ = train("mmoe", epochs=1, valid_data=other_table)
    without, _ = train("mmoe", epochs=1)
    assert same(with_valid.state_dict(), without.state_dict())


def test_callbacks_are_called_in_order(train):
    recorder = Recorder()
    train("mmoe", callbacks=[recorder], epochs=2, batch_size=120)
    assert recorder.calls == ["fit_start", "step", "step", "epoch 1", "step", "step", "epoch 2", "fit_end"]


def test_callback_can_stop(train):
    _, history = train("mmoe", callbacks=[Recorder(stop_after=2)], epochs=9)
    assert len(history.epochs) == 2
    assert not history.stopped_early


def test_verbose_0_prints_nothing(train, other_table, capfd):
    train("mmoe", valid_data=other_table, epochs=3, patience=1, verbose=0)
    assert tuple(capfd.readouterr()) == ("", "")


def test_table_shows_each_task_weight_loss_and_metric(train, other_table, capsys):
    compiled = {"loss_weights": [0.25, 0.75]}
    _, history = train("mmoe", compiled=compiled, valid_data=other_table, epochs=2, verbose=1)
    out = capsys.readouterr().out
    for word in ("click", "conversion", "conversion_given_click", "0.250", "0.750", "valid auc", "epoch 2/2"):
        assert word in out
    assert f"{history.epochs[1].loss['click']:.5f}" in out
    assert f"{history.epochs[1].valid['conversion_given_click']['auc']:.5f}" in out


def test_history_is_a_tidy_table(train, other_table):
    _, history = train("mmoe", valid_data=other_table, epochs=2)
    frame = history.to_frame()
    assert list(frame["task"]) == ["click", "conversion", "conversion_given_click"] * 2
    assert list(frame["epoch"]) == [1] * 3 + [2] * 3
    assert frame["valid_auc"][2] == history.epochs[0].valid["conversion_given_click"]["auc"]
    assert frame["loss"][1] == history.epochs[0].loss["conversion"]
    assert history.epochs[0].samples_per_second == pytest.approx(240 / history.epochs[0].seconds)


def test_history_is_saved_as_json_lines(train, other_table, tmp_path):
    _, history = train("mmoe", valid_data=other_table, epochs=2)
    history.save(tmp_path / "h.jsonl", {"run": "a"})
    history.save(tmp_path / "h.jsonl", {"run": "b"})
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [line["run"] for line in lines] == ["a", "a", "b", "b"]
    assert lines[1]["loss"] == history.epochs[1].loss


@pytest.mark.filterwarnings("ignore:Task `conversion` is NaN")
@pytest.mark.parametrize("weighting", [None, [1.0, 2.0], "grad_norm"])
def test_task_without_labels_is_a_warning_and_leaves_the_other_alone(weighting, train, table):
    nothing = {**table, "conversion": np.full(240, np.nan)}
    with pytest.warns(InputWarning, match="`conversion` has no observed label"):
        _, history = train("mmoe", compiled={"loss_weights": weighting}, data=nothing, epochs=4)
    assert history.epochs[0].loss["conversion"] is None
    assert history.epochs[3].loss["click"] < history.epochs[0].loss["click"]


@pytest.mark.parametrize("weighting", [None, "grad_norm"])
def test_no_labels_at_all_move_nothing(weighting, build, train, table):
    recorder = Recorder()
    nothing = {**table, "click": np.full(240, np.nan), "conversion": np.full(240, np.nan)}
    with pytest.warns(InputWarning, match="no observed label"):
        _, history = train("mmoe", compiled={"loss_weights": weighting}, data=nothing, epochs=2, callbacks=[recorder])
    assert history.epochs[1].loss == {"click": None, "conversion": None}
    assert same(*recorder.states)


def test_single_class_is_a_warning(train, table):
    with pytest.warns(InputWarning, match="`conversion` has only the label 0"):
        train("mmoe", data={**table, "conversion": np.zeros(240)})


def test_divergence_is_an_error_that_names_the_task(train, table, refused):
    with refused("`click`", "diverged", "learning rate", "clip_norm"):
        train("mmoe", compiled={"optimizer": "sgd", "optimizer_params": {"lr": 1e30}}, epochs=5)


def test_failed_first_fit_may_be_repeated_from_the_seed(build, train):
    model = build("single_task")
    with pytest.raises(ValueError, match="share none"):
        train(model=model, compiled={"loss_weights": "grad_norm"}, seed=1)
    train(model=model, seed=2)
    fresh, _ = train("single_task", seed=2)
    assert same(model.state_dict(), fresh.state_dict())


def test_other_weights_follow_the_seed_where_some_were_set(build, train):
    states = []
    for global_seed in range(2):
        torch.manual_seed(global_seed)
        model = build("mmoe")
        torch.nn.init.constant_(model.towers["click"].logit.bias, -3.0)
        train(model=model, seed=1)
        states.append(model.state_dict())
    assert same(*states)


class Constant(torch.nn.Linear):
    """A layer of the user's own that says how it starts."""

    def reset_parameters(self):
        torch.nn.init.constant_(self.weight, 0.5)
        torch.nn.init.zeros_(self.bias)


def test_module_with_its_own_start_keeps_it(build, train):
    model = build("mmoe")
    model.towers["click"].logit = Constant(model.towers["click"].logit.in_features, 1)
    train(model=model, compiled={"optimizer": "sgd", "optimizer_params": {"lr": 0.0}})
    assert (model.towers["click"].logit.weight == 0.5).all()


def test_permuted_weights_are_changed_weights(build, train):
    model = build("mmoe")
    weight = model.embedding.tables[0].weight
    weight.data.copy_(weight.data.flip(0).clone())
    before = weight.detach().clone()
    train(model=model, compiled={"optimizer": "sgd", "optimizer_params": {"lr": 0.0}})
    assert torch.equal(weight, before)


def test_fit_that_moved_nothing_is_a_fit(train, table):
    model, _ = train("mmoe", compiled={"optimizer": "sgd", "optimizer_params": {"lr": 0.0}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(table, device="cpu")


def test_row_in_a_message_is_that_of_the_given_table(train, table, refused):
    with refused("`conversion`", "row 233"):
        train("mmoe", data={**table, "conversion": np.where(np.arange(240) == 233, 2, 0)}, valid_split=0.4)


def test_message_says_that_the_validation_data_are_meant(train, table, refused):
    with refused("In the validation data", "`click`", "row 3"):
        train("mmoe", valid_data={**table, "click": np.where(np.arange(240) == 3, 2, 1)})


def test_later_fit_has_a_new_order_of_rows(build, table):
    model, orders = build("mmoe"), []
    model.compile()
    for _ in range(2):
        hook = model.register_forward_pre_hook(lambda _, batch: orders.append(batch[0].dense[:, 0].clone()))
        model.fit(table, batch_size=240, device="cpu", verbose=0)
        hook.remove()
    assert sorted(orders[0].tolist()) == sorted(orders[1].tolist())
    assert not torch.equal(orders[0], orders[1])


def test_fitted_model_keeps_the_meaning_of_its_logits(train, table):
    model, _ = train("mmoe", compiled={"objective": "entire_space"})
    before = model.predict(table, device="cpu")
    model.compile(optimizer_params={"lr": 0.1})
    assert model.predict(table, device="cpu").equals(before)
    with pytest.warns(InputWarning, match="EntireSpace"):
        model.compile(objective="marginal")


def test_binary_and_regression_tasks_can_be_monitored_together(build, train, table, other_table):
    model = build("mmoe", target=["click", Task("age_of", label="age", kind="regression")], dense_features=None)
    monitor = {"metric": {"click": "auc", "age_of": "rmse"}, "weights": {"click": 2.0, "age_of": 0.5}}
    _, history = train(model=model, valid_data=other_table, metrics=["auc", "rmse"], monitor=monitor)
    valid = history.epochs[0].valid
    expected = 2.0 * valid["click"]["auc"] - 0.5 * valid["age_of"]["rmse"]
    assert history.epochs[0].score == pytest.approx(expected)


def test_weighted_task_without_the_metric_is_refused(build, train, other_table, refused):
    model = build("mmoe", target=["click", Task("age_of", label="age", kind="regression")], dense_features=None)
    with refused("`age_of`", "`auc`", "rmse"):
        train(model=model, valid_data=other_table, metrics=["auc", "rmse"], monitor={"click": 0.5, "age_of": 0.5})


class Failing(Callback):
    """Raises before the first step, or after the given one."""

    def __init__(self, step=0):
        self.step = step

    def on_fit_start(self, trainer):
        if self.step == 0:
            raise ZeroDivisionError

    def on_step_end(self, trainer):
        self.step -= 1
        if self.step == 0:
            raise KeyboardInterrupt


def test_weights_of_the_user_survive_a_failed_fit(build, train):
    model = build("mmoe")
    weight = model.embedding.tables[0].weight
    weight.data.fill_(0.5)
    frozen = {"optimizer": "sgd", "optimizer_params": {"lr": 0.0}}
    with pytest.raises(ZeroDivisionError):
        train(model=model, compiled=frozen, callbacks=[Failing()])
    assert not model.is_fitted
    train(model=model, compiled=frozen)
    assert (weight == 0.5).all()


def test_gradients_left_behind_do_not_enter_the_first_step(build, train, table):
    clean, _ = train("mmoe", epochs=1)
    model = build("mmoe")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    train(model=model, epochs=1)
    assert model.predict(table, device="cpu").equals(clean.predict(table, device="cpu"))


def test_interrupted_fit_counts_as_one_and_predicts_without_a_warning(build, train, table):
    model = build("mmoe")
    with pytest.raises(KeyboardInterrupt):
        train(model=model, callbacks=[Failing(step=2)])
    assert model.is_fitted
    assert model.num_fits == 1


def test_loaded_weights_are_no_random_weights(build, train, table):
    fitted, _ = train("mmoe")
    model = build("mmoe")
    model.load_state_dict(fitted.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.predict(table, device="cpu").equals(fitted.predict(table, device="cpu"))


def test_frozen_towers_are_no_error_of_torch(build, train):
    model = build("esmm")
    model.embedding.requires_grad_(False)
    model.towers["click"].requires_grad_(False)
    with pytest.raises(ValueError, match="share none that is trained"):
        train(model=model, compiled={"loss_weights": "grad_norm", "objective": "entire_space"})


def test_model_without_a_trained_parameter_is_refused(build, train, refused):
    model = build("mmoe")
    model.requires_grad_(False)
    with refused("requires_grad"):
        train(model=model)
