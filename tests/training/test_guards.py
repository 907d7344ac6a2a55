"""Steps whose losses or gradients are not finite: what is kept of them, when training stops, and with what words."""

import json
import re
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nextrec_like import Callback, InputWarning, MMoE, SparseFeature
from nextrec_like.config import load_config
from nextrec_like.config.build import fit_arguments
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.errors import DivergedError
from nextrec_like.layers import select_rows
from nextrec_like.training import skipped, trainer
from nextrec_like.training.buffers import Buffers
from nextrec_like.training.diagnosis import faulty_gradients, faulty_parameters, groups_of
from nextrec_like.training.history import History, SkippedStep
from nextrec_like.training.skipped import SkippedSteps, has_failed
from nextrec_like.training.step import Stepper
from nextrec_like.weighting import Step

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
MARK = 1000.0
"""The `age` of rows on which no step can be taken."""


@pytest.fixture
def bad_rows(table):
    """The table, with marks in these rows."""

    def make(*rows):
        table["age"][list(rows)] = MARK
        return table

    return make


@pytest.fixture
def fit(train, build):
    """Trains a model whose logits are NaN in the marked rows, without the warning of that."""

    def run(data, **options):
        model = build()
        model.register_forward_hook(break_marked)
        return quietly(train, model=model, data=data, **options)

    return run


def break_marked(module, inputs, logits):
    marked = inputs[0].dense[:, 0] == MARK
    return {task: logit * torch.where(marked, torch.nan, 1.0) for task, logit in logits.items()}


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return function(*arguments, **options)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """No step ends early."""

    class Unwaiting(Stepper):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.waits = False

    monkeypatch.setattr(trainer, "Stepper", Unwaiting)


class Batches(Callback):
    """Notes the `age` of the rows of each batch that the model has been given in training."""

    def __init__(self):
        self.seen = []

    def on_fit_start(self, trainer):
        trainer.model.register_forward_pre_hook(lambda _, inputs: self.seen.append(inputs[0].dense[:, 0].numpy()))


class Broken(Callback):
    """From a step on, counted from 1 over all epochs, a part of the model returns NaN."""

    def __init__(self, part, first, stop=10**9):
        self.part, self.first, self.stop, self.steps, self.hook = part, first, stop, 0, None

    def on_fit_start(self, trainer):
        self.hook = self.part.register_forward_hook(self._break)

    def on_step_end(self, trainer):
        self.steps += 1

    def on_fit_end(self, trainer):
        self.hook.remove()

    def _break(self, module, inputs, output):
        return output * float("nan") if self.first <= self.steps + 1 < self.stop else output


def test_each_skipped_step_is_listed_with_its_rows_and_losses(fit, bad_rows):
    _, history = fit(bad_rows(130), shuffle=False, epochs=2)  # four steps of 60 rows
    nan = {"click": "nan", "conversion": "nan"}
    assert history.skipped == [SkippedStep(epoch, 3, 120, 180, nan, list(range(120, 180))) for epoch in (1, 2)]
    assert history.skipped_steps == 2


def test_rows_of_a_shuffled_epoch_are_those_that_the_model_was_given(fit, bad_rows):
    rows, batches = bad_rows(7, 11), Batches()
    _, history = fit(rows, epochs=6, batch_size=24, callbacks=[batches])
    assert history.skipped_steps == len(history.skipped) > 6  # mostly in two of the ten batches
    for record in history.skipped:
        given = batches.seen[10 * (record.epoch - 1) + record.step - 1]
        assert rows["age"][record.rows].tolist() == given.tolist()
        assert {7, 11} & set(record.rows)
        assert (record.first, record.stop) == (24 * (record.step - 1), 24 * record.step)


def test_order_of_rows_is_the_permutation_of_the_seed(fit, bad_rows):
    _, history = fit(bad_rows(7), epochs=3, seed=5)
    generator = torch.Generator().manual_seed(5)
    for record in history.skipped:
        order = torch.randperm(240, generator=generator).tolist()
        assert record.rows == order[record.first : record.stop]
        assert order.index(7) in range(record.first, record.stop)


def test_last_batch_with_one_row_more_is_listed_with_it(fit, bad_rows):
    rows = {name: values[:181] for name, values in bad_rows(180).items()}
    _, history = fit(rows, shuffle=False)
    assert [(record.first, record.stop) for record in history.skipped] == [(120, 181)]


def test_task_without_a_label_in_the_batch_has_no_loss_in_the_record(fit, bad_rows):
    rows = bad_rows(130)
    rows["conversion"] = np.where(np.arange(240) >= 120, np.nan, rows["conversion"])
    _, history = fit(rows, shuffle=False)
    assert history.skipped[0].loss == {"click": "nan", "conversion": None}


def test_finite_losses_are_kept_as_numbers(train, build):
    model = build()
    _, history = quietly(train, model=model, shuffle=False, callbacks=[Broken(model.towers["click"], 3, 4)])
    assert [(record.step, record.loss["click"]) for record in history.skipped] == [(3, "nan")]
    assert 0.1 < history.skipped[0].loss["conversion"] < 2


@pytest.mark.parametrize("pending", [3, 1000])
def test_what_is_listed_does_not_depend_on_whether_the_device_is_waited_for(
    pending, fit, bad_rows, monkeypatch, request
):
    monkeypatch.setattr(skipped, "MAX_PENDING", pending)
    options = {"data": bad_rows(7, 100), "epochs": 2, "batch_size": 24, "log_every": 4}
    waiting, history = fit(**options)
    request.getfixturevalue("as_on_a_gpu")
    unwaiting, other = fit(**options)
    assert history.skipped == other.skipped != []
    assert history.skipped_steps == other.skipped_steps
    for ours, theirs in zip(waiting.state_dict().values(), unwaiting.state_dict().values()):
        torch.testing.assert_close(ours, theirs)


def test_rows_of_streamed_data_are_listed_where_they_are_not_shuffled(fit, bad_rows, tmp_path):
    file = tmp_path / "rows.parquet"
    frame = {name: list(values) for name, values in bad_rows(130).items()}
    pd.DataFrame(frame).to_parquet(file)
    found = {}
    for shuffle in (False, True):
        _, history = fit(file, shuffle=shuffle, streaming=True)
        found[shuffle] = [(record.first, record.stop, record.rows) for record in history.skipped]
    assert found[False] == [(120, 180, list(range(120, 180)))]
    assert found[True][0][2] is None


def test_history_lists_a_bounded_number_of_steps_and_rows_and_counts_all(fit, bad_rows, monkeypatch):
    monkeypatch.setattr(skipped, "MAX_RECORDS", 3)
    monkeypatch.setattr(skipped, "MAX_ROW_NUMBERS", 61)
    _, history = fit(bad_rows(7), epochs=5)
    assert history.skipped_steps == 5
    assert [record.epoch for record in history.skipped] == [1, 2, 3]
    assert [record.rows is None for record in history.skipped] == [False, False, True]


def test_warning_shows_the_first_skipped_steps_and_counts_the_others(train, build, bad_rows):
    model = build()
    model.register_forward_hook(break_marked)
    words = (
        r"5 of 12 steps of epoch 1 were skipped, because a loss or gradient was not finite: step 2 \(loss of `click` "
        r"nan, loss of `conversion` nan, rows 20 to 39\), step 4 .* step 5 .* and 2 more; `history.skipped` lists them"
    )
    with pytest.warns(InputWarning, match=words):
        train(model=model, data=bad_rows(20, 60, 80, 120, 160), shuffle=False, batch_size=20)
    with pytest.warns(InputWarning, match="rows .* of the shuffled order"):
        train(model=model, batch_size=20)


def test_history_with_skipped_steps_survives_json(fit, bad_rows):
    _, history = fit(bad_rows(7))
    assert History.from_dict(json.loads(json.dumps(asdict(history), allow_nan=False))) == history


def broken_training(train, build, first, stop=10**9, **options):
    model = build()
    broken = Broken(model.towers["click"], first, stop)
    return lambda: train(model=model, callbacks=[broken], **options), broken


@pytest.mark.parametrize("limit", [1, 3])
def test_training_stops_at_the_step_that_reaches_the_limit(limit, train, build):
    run, broken = broken_training(train, build, 5, batch_size=12, max_skipped_steps=limit)
    what = "a step was skipped" if limit == 1 else "3 steps in a row were skipped"
    with pytest.raises(DivergedError, match=rf"In epoch 1, {what} \(the loss of task `click` was nan;"):
        run()
    assert broken.steps + 1 == 4 + limit  # it is not called for the step that ends the training


def test_rows_below_the_limit_do_not_stop_a_training(train, build):
    run, _ = broken_training(train, build, 5, 7, batch_size=12, max_skipped_steps=3)
    assert quietly(run)[1].skipped_steps == 2


def test_a_row_of_skipped_steps_goes_on_in_the_next_epoch(train, build):
    run, broken = broken_training(train, build, 9, batch_size=24, epochs=3, max_skipped_steps=4)  # ten steps an epoch
    with pytest.raises(DivergedError, match="In epoch 2, 4 steps in a row"):
        quietly(run)
    assert broken.steps + 1 == 12


def test_a_gpu_is_asked_at_logged_steps(train, build, as_on_a_gpu):
    run, broken = broken_training(train, build, 5, batch_size=12, max_skipped_steps=3, log_every=10)
    with pytest.raises(DivergedError, match="In epoch 1, 6 steps in a row"):
        run()
    assert broken.steps + 1 == 10


def spending(rows):
    rows["spent"] = 10 * rows["age"] + 300.0
    model = MMoE(
        sparse_features=[SparseFeature("user", 12, 4)],
        target=["click", "spent"],
        task=["binary", "regression"],
        num_experts=1,
        expert_params={"dims": [4]},
    )
    model.compile(optimizer_params={"lr": 1e-3}, precision="fp16")
    return model


def test_steps_in_which_fp16_seeks_its_scale_are_counted_and_neither_listed_nor_the_end(table):
    model = spending(table)
    history = quietly(model.fit, table, epochs=3, batch_size=60, max_skipped_steps=1, device="cpu", verbose=0)
    assert history.skipped_steps > 3
    assert history.skipped == []


def test_loss_that_is_not_finite_is_not_the_fault_of_the_scale_of_fp16(table):
    model = spending(table)
    quietly(model.fit, table, epochs=8, batch_size=60, device="cpu", verbose=0)  # the scale is found
    broken = Broken(model.towers["click"], 2, 4)
    with pytest.warns(InputWarning, match="loss of `click` nan"):
        history = model.fit(table, batch_size=20, shuffle=False, callbacks=[broken], device="cpu", verbose=0)
    assert [(record.step, record.loss["click"]) for record in history.skipped] == [(2, "nan"), (3, "nan")]


@pytest.mark.parametrize("limit", [0, -1, 2.5, "many"])
def test_wrong_limit_is_refused(limit, train, refused):
    with refused("`max_skipped_steps` should be a positive integer"):
        train(max_skipped_steps=limit)


def test_limit_is_a_key_of_the_configuration():
    config = load_config(QUICKSTART, ["training.max_skipped_steps=7"])
    assert fit_arguments(config)["max_skipped_steps"] == 7


def clue_of(run):
    with pytest.raises(DivergedError) as caught:
        quietly(run)
    found = re.search(r"gradients that are not finite, from the loss of (.*?): (.*?);", str(caught.value))
    return found.groups() if found else None


def spoil_gradient(tensor):
    tensor.register_hook(lambda gradient: gradient * float("nan"))


class SpoilGradients(Callback):
    """Gradients become NaN: of a parameter, or on their way into a module."""

    def __init__(self, parameter=None, module=None):
        self.parameter, self.module = parameter, module

    def on_fit_start(self, trainer):
        if self.parameter is not None:
            spoil_gradient(self.parameter)
        else:
            self.module.register_forward_hook(lambda _, inputs, output: spoil_gradient(output))


@pytest.mark.parametrize(
    ("name", "tasks", "group"),
    [
        ("towers.0.logit.weight", "`click`", "towers.click"),
        ("gates.1.score.bias", "`conversion`", "gates.conversion"),
        ("experts.0.weight", "`click`, `conversion`", "experts"),
    ],
)
def test_diagnosis_names_the_task_and_the_parameters(name, tasks, group, train, build):
    model = build()
    spoil = SpoilGradients(parameter=dict(model.named_parameters())[name])
    assert clue_of(lambda: train(model=model, callbacks=[spoil], max_skipped_steps=2)) == (tasks, group)


@pytest.mark.parametrize("compiled", [{}, {"embedding_optimizer": "lazy_adam"}, {"accumulate_steps": 2}], ids=str)
def test_diagnosis_names_the_embedding_table(compiled, train, build):
    model = build()
    spoil = SpoilGradients(module=model.embedding.tables[0])
    run = lambda: train(model=model, compiled=compiled, callbacks=[spoil], max_skipped_steps=2)  # noqa: E731
    assert clue_of(run) == ("`click`, `conversion`", "embedding.tables.0")


def test_diagnosis_names_what_a_broken_task_spoils_and_the_first_rows(train, build):
    run, _ = broken_training(train, build, 5, batch_size=12, shuffle=False, max_skipped_steps=3)
    with pytest.raises(DivergedError) as caught:
        run()
    assert str(caught.value) == (
        "In epoch 1, 3 steps in a row were skipped (the loss of task `click` was nan; gradients that are not finite, "
        "from the loss of `click`: embedding.tables.0, experts, gates.click, towers.click; first in rows 48 to 59): "
        "training diverged. Lower the learning rate, set `clip_norm` or scale the numeric features, and build the "
        "model anew."
    )


@pytest.mark.parametrize("compiled", [{}, {"precision": "fp16"}], ids=str)
def test_task_with_an_infinite_loss_is_told_from_those_computed_with_it(compiled, train, build, table):
    targets = ["click", "like", "share", "price"]
    model = build(target=targets, task=["binary", "binary", "binary", "regression"])
    table["price"][:] = 3e30
    with pytest.raises(DivergedError) as caught:
        train(model=model, compiled=compiled, max_skipped_steps=2)
    assert (
        "2 steps in a row were skipped (the loss of task `price` was inf; gradients that are not finite, from the loss "
        "of `price`: embedding.tables.0, experts, gates.price, towers.price; first in rows 0 to 59 of the shuffled"
    ) in str(caught.value)


def test_streamed_training_is_diagnosed_from_its_files(fit, bad_rows, tmp_path):
    file = tmp_path / "rows.parquet"
    pd.DataFrame({name: list(values) for name, values in bad_rows(130).items()}).to_parquet(file)
    assert clue_of(lambda: fit(file, streaming=True, max_skipped_steps=1))[0] == "`click`, `conversion`"


def test_most_steps_of_an_epoch_are_diagnosed_as_well(fit, bad_rows):
    run = lambda: fit(bad_rows(7, 70, 130), shuffle=False)  # noqa: E731
    assert clue_of(run)[0] == "`click`, `conversion`"


def test_parameters_that_are_not_finite_are_named(train, build):
    model = build()

    class Overwrite(Callback):
        def on_step_end(self, trainer):
            if trainer.totals.steps == 4:
                trainer.model.gates["conversion"].score.bias.data[0] = float("inf")

    with pytest.raises(DivergedError, match=r"In epoch 1, parameters are no longer finite: gates\.conversion: train"):
        train(model=model, callbacks=[Overwrite()])
    assert faulty_parameters(model) == ["gates.conversion"]


def test_groups_are_the_modules_that_a_user_knows(build):
    ple, single, mmoe = (build(name) for name in ("ple", "single_task", "mmoe"))
    assert groups_of(ple, ["levels.0.task_experts.1.0.weight", "levels.0.shared_experts.0.bias"]) == [
        "levels.0.task_experts.conversion",
        "levels.0.shared_experts",
    ]
    assert groups_of(mmoe, ["experts.0.weight", "experts.0.bias", "experts.2.bias"]) == ["experts"]
    assert groups_of(single, ["networks.0.1.logit.weight"])[0].startswith("networks.click")

    module = torch.nn.Module()
    module.own = torch.nn.Parameter(torch.zeros(1))
    module.heads = torch.nn.ModuleDict({"a": torch.nn.Sequential(torch.nn.Linear(1, 1))})
    assert groups_of(module, ["own", "heads.a.0.weight"]) == ["own", "heads.a"]


def test_diagnosis_changes_nothing(build, table):
    model = build(expert_params={"dims": [8], "norm": "batch", "dropout": 0.5})
    model.compile()
    parts, device = model._parts, torch.device("cpu")
    batch = pack(read_table(table), model.features, model.tasks).rows
    stepper = Stepper(model, parts, device, lambda: batch)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    with parts.tables.gathered():
        assert faulty_gradients(stepper, batch, model.task_names) == {"click": [], "conversion": []}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())


class States(Callback):
    """Copies of the state of the model after each step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, trainer):
        self.seen.append({name: value.clone() for name, value in trainer.model.state_dict().items()})


OPTIONS = {
    "plain": {},
    "momentum": {"optimizer": "sgd", "optimizer_params": {"lr": 0.1, "momentum": 0.9}},
    "lazy tables": {"embedding_optimizer": "lazy_adam"},
    "in parts": {"accumulate_steps": 2},
    "pcgrad": {"loss_weights": "pcgrad"},
    "grad_norm": {"loss_weights": "grad_norm"},
    "lazy pcgrad in parts": {"embedding_optimizer": "lazy_adam", "loss_weights": "pcgrad", "accumulate_steps": 2},
}


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("case", OPTIONS)
def test_after_the_error_the_model_is_that_of_the_last_good_step(case, waits, train, build, request):
    if not waits:
        request.getfixturevalue("as_on_a_gpu")
    model, states = build(expert_params={"dims": [8], "norm": "batch"}), States()
    callbacks = [states, Broken(model.embedding, 4)]
    with pytest.raises(DivergedError, match="steps in a row"):
        train(model=model, compiled=OPTIONS[case], batch_size=24, callbacks=callbacks, max_skipped_steps=3, log_every=6)
    last_good = states.seen[2]
    assert all(torch.equal(value, last_good[name]) for name, value in model.state_dict().items())
    assert not all(torch.equal(value, last_good[name]) for name, value in states.seen[1].items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(table.lookup is select_rows for table in model.embedding_tables())


@pytest.mark.parametrize("finite", [True, False])
def test_buffers_are_put_back_unless_the_step_is_taken(finite):
    norm = torch.nn.BatchNorm1d(3)
    norm(torch.randn(8, 3))
    buffers, old = Buffers(norm), {name: value.clone() for name, value in norm.named_buffers()}
    before = buffers.read()
    norm(torch.full((8, 3), 3e38) * torch.randn(8, 3))
    new = {name: value.clone() for name, value in norm.named_buffers()}
    buffers.write(before, unless=torch.tensor(finite))
    for name, value in norm.named_buffers():
        torch.testing.assert_close(value, (new if finite else old)[name], equal_nan=True)
    assert not torch.equal(new["num_batches_tracked"], old["num_batches_tracked"])


class Interrupt(Callback):
    def __init__(self, epoch, step):
        self.at = epoch, step

    def on_step_end(self, trainer):
        if (len(trainer.history.epochs) + 1, trainer.totals.steps) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [3, 8])
def test_resumed_training_has_the_same_record_of_skipped_steps(step, fit, bad_rows, tmp_path, as_on_a_gpu):
    options = {"data": bad_rows(7, 100, 150), "epochs": 3, "batch_size": 24, "log_every": 4}
    _, straight = fit(**options)
    saved = {"checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 2}}
    with pytest.raises(KeyboardInterrupt):
        fit(**options, **saved, callbacks=[Interrupt(2, step)])
    _, resumed = fit(**options, **saved, resume=True)
    assert resumed.skipped == straight.skipped
    assert resumed.skipped_steps == straight.skipped_steps == len(straight.skipped) > 3


def test_noting_a_step_waits_for_nothing(build):
    meta = torch.device("meta")
    two, notes = torch.ones(2, device=meta), SkippedSteps(["click", "conversion"])
    step = Step(None, False, two, two, two, two, is_finite=torch.ones((), dtype=torch.bool, device=meta))
    model = build()
    for precision in ("fp32", "fp16"):
        model.compile(precision=precision)
        scale = model._parts.scale.to(meta)
        notes.add(1, 1, range(60), step, has_failed(step, scale))
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        notes.move_to(History(), None, None)
