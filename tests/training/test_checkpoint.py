"""An interrupted training that goes on ends as one that was never interrupted."""

import errno
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from nextrec_like import Callback, InputWarning
from nextrec_like.storage.lock import locked
from nextrec_like.training import checkpoint, checkpoint_folder, trainer, training_state

MODEL = {"expert_params": {"dims": [8], "norm": "batch", "dropout": 0.3}, "tower_params": {"dims": [4]}}
COMPILED = {
    "adam": {"optimizer_params": {"lr": 0.05}},
    "grad_norm": {"loss_weights": {"method": "grad_norm", "init_ema_steps": 2}, "warmup_steps": 6},
    "plateau": {"scheduler": "ReduceLROnPlateau", "scheduler_params": {"patience": 0}},
    "step scheduler": {
        "scheduler": "OneCycleLR",
        "scheduler_params": {"max_lr": 0.1, "total_steps": 40},
        "scheduler_interval": "step",
    },
    "momentum": {"optimizer": "sgd", "optimizer_params": {"lr": 0.1, "momentum": 0.9}},
    "adagrad": {"optimizer": "adagrad"},
    "milestones": {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": [1, 4], "gamma": 0.1}},
}


class Interrupt(Callback):
    """Stops the program in a step of an epoch."""

    def __init__(self, epoch, step=2):
        self.epoch, self.step, self.steps = epoch, step, 0

    def on_step_end(self, trainer):
        self.steps += len(trainer.history.epochs) + 1 == self.epoch
        if self.steps == self.step:
            raise KeyboardInterrupt


class Seen(Callback):
    """Notes the rows of each batch."""

    def __init__(self):
        self.rows = []

    def on_fit_start(self, trainer):
        batches = trainer.train_data.batches

        def noted(*arguments, **options):
            for batch in batches(*arguments, **options):
                self.rows.append(batch.dense.tolist())
                yield batch

        trainer.train_data = Noted(trainer.train_data, noted)


class Noted:
    """Rows with other batches."""

    def __init__(self, rows, batches):
        self.rows, self.batches = rows, batches

    def __len__(self):
        return len(self.rows)

    def __getattr__(self, name):
        return getattr(self.rows, name)


def interrupt(*_):
    raise KeyboardInterrupt


def figures(history):
    return [(r.epoch, r.loss, r.weights, r.valid, r.score, r.lr) for r in history.epochs], history.best_epoch


def assert_equal_runs(first, second):
    (model, history), (other, other_history) = first, second
    assert figures(history) == figures(other_history)
    assert history.stopped_early == other_history.stopped_early
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def checkpoints(folder):
    return {path.name for path in folder.iterdir() if path.is_dir()}


@pytest.fixture
def run(build, train, other_table):
    def start(compiled=None, **options):
        return train(model=build("mmoe", **MODEL), compiled=compiled, valid_data=other_table, **options)

    return start


@pytest.mark.parametrize("case", COMPILED)
def test_resumed_training_is_bitwise_equal(case, run, tmp_path):
    straight = run(COMPILED[case], epochs=5)
    with pytest.raises(KeyboardInterrupt):
        run(COMPILED[case], epochs=5, checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=4)])
    resumed = run(COMPILED[case], epochs=5, checkpoint_dir=tmp_path, resume=True)
    assert_equal_runs(straight, resumed)


@pytest.mark.parametrize(
    "compiled", [{"loss_weights": "grad_norm"}, {"loss_weights": "modo", "clip_norm": 1.0}], ids=str
)
@pytest.mark.parametrize(("every", "reached"), [(1, "1 steps of epoch 2"), (5, "5 steps of epoch 2"), (100, "epoch 1")])
def test_training_resumes_within_an_epoch(every, reached, compiled, run, tmp_path, capsys):
    options = {"compiled": compiled, "epochs": 3, "batch_size": 24, "log_every": 1}  # 10 steps an epoch
    saved = {"checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": every, "keep_last": 1}}
    straight = run(**options)
    interrupt = Interrupt(epoch=2, step=2 if every == 1 else 7)
    with pytest.raises(KeyboardInterrupt):
        run(**options, **saved, callbacks=[interrupt])

    resumed = run(**options, **saved, resume=True, verbose=1)

    assert f"resumed after {reached} of 3" in capsys.readouterr().out
    assert_equal_runs(straight, resumed)
    assert straight[1].steps_frame().equals(resumed[1].steps_frame())
    assert checkpoints(tmp_path) == {"epoch-0003", f"epoch-000{straight[1].best_epoch}"}


@pytest.mark.parametrize("case", ["step scheduler", "grad_norm"])
def test_training_resumes_between_the_last_step_of_an_epoch_and_its_validation(case, run, tmp_path, monkeypatch):
    straight = run(COMPILED[case], epochs=3)
    saved = {"checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 4}}  # 4 steps an epoch
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_validate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(COMPILED[case], epochs=3, **saved)
    assert checkpoints(tmp_path) == {"epoch-0000-step-000004"}
    assert_equal_runs(straight, run(COMPILED[case], epochs=3, **saved, resume=True))


def test_order_of_rows_in_a_resumed_epoch_is_that_of_the_whole_one(run, tmp_path):
    whole, before, after = Seen(), Seen(), Seen()
    run(epochs=2, batch_size=24, callbacks=[whole])
    with pytest.raises(KeyboardInterrupt):
        run(
            epochs=2,
            batch_size=24,
            checkpoint_dir=tmp_path,
            checkpoint_params={"every_steps": 4},
            callbacks=[before, Interrupt(epoch=2, step=8)],
        )
    run(epochs=2, batch_size=24, checkpoint_dir=tmp_path, resume=True, callbacks=[after])

    assert len(whole.rows) == 20
    assert before.rows[:18] == whole.rows[:18]
    assert after.rows == whole.rows[14:]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"every_steps": 0}, ["`checkpoint_params.every_steps`", "positive integer", "0"]),
        ({"every_seconds": 0}, ["`checkpoint_params.every_seconds`", "0"]),
        ({"every_seconds": "30"}, ["`checkpoint_params.every_seconds`", "'30'"]),
        ({"keep_last": 0}, ["`checkpoint_params.keep_last`", "positive integer"]),
        ({"every_step": 5}, ["`every_step`", "Did you mean `every_steps`?"]),
        (5, ["`checkpoint_params`", "dict", "5"]),
    ],
    ids=str,
)
def test_wrong_params_are_refused(params, words, run, tmp_path, refused):
    with refused(*words):
        run(checkpoint_params=params, checkpoint_dir=tmp_path)


def test_params_need_a_folder(run, refused):
    with refused("`checkpoint_params` needs a `checkpoint_dir`"):
        run(checkpoint_params={"every_steps": 5})


class Clock(Callback):
    """A step takes a second."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def on_step_end(self, trainer):
        self.now += 1


@pytest.fixture
def saves(monkeypatch):
    """After how many steps of an epoch there is a save."""
    seen, start = [], checkpoint.Checkpoint._start

    def noted(self, trainer):
        seen.append(trainer.totals.steps)
        start(self, trainer)
        self._writer.wait()

    monkeypatch.setattr(checkpoint.Checkpoint, "_start", noted)
    return seen


def test_training_is_saved_after_so_many_seconds(run, saves, tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(checkpoint, "time", clock)
    params = {"every_seconds": 4}

    run(epochs=2, batch_size=24, checkpoint_dir=tmp_path, checkpoint_params=params, callbacks=[clock])

    assert saves == [4, 8, 0, 4, 8, 0]


def test_a_save_by_time_is_put_off_while_one_is_being_written(run, saves, tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(checkpoint, "time", clock)
    monkeypatch.setattr(checkpoint.Background, "is_busy", property(lambda self: clock.now < 7))
    params = {"every_seconds": 4}

    run(epochs=1, batch_size=24, checkpoint_dir=tmp_path, checkpoint_params=params, callbacks=[clock])

    assert saves == [7, 0]


def test_early_stopping_goes_on_with_its_best_weights(run, tmp_path):
    options = {"compiled": {"optimizer_params": {"lr": 0.1}}, "epochs": 15, "patience": 3}
    straight = run(**options)
    assert straight[1].stopped_early
    with pytest.raises(KeyboardInterrupt):
        run(**options, checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=straight[1].best_epoch + 2)])
    assert_equal_runs(straight, run(**options, checkpoint_dir=tmp_path, resume=True))


def test_finished_training_resumes_to_itself_and_to_more_epochs(run, tmp_path):
    first = run(epochs=2, checkpoint_dir=tmp_path)
    assert_equal_runs(first, run(epochs=2, checkpoint_dir=tmp_path, resume=True))
    assert_equal_runs(run(epochs=4), run(epochs=4, checkpoint_dir=tmp_path, resume=["epochs"]))


@pytest.mark.parametrize("changed", [{"epochs": 4}, {"patience": 5}, {"log_every": 7}, {"diagnose": True}], ids=str)
def test_what_may_change_has_to_be_allowed(changed, run, tmp_path, refused):
    (name,) = changed
    run(epochs=2, checkpoint_dir=tmp_path)
    with refused("differs from the checkpoint", f"{name} was", f"resume=['{name}']"):
        run(**{"epochs": 2, **changed}, checkpoint_dir=tmp_path, resume=True)
    _, history = run(**{"epochs": 2, **changed}, checkpoint_dir=tmp_path, resume=[name])
    assert len(history.epochs) == changed.get("epochs", 2)


def test_more_patience_goes_on_after_an_early_stop(run, tmp_path):
    options = {"compiled": {"optimizer_params": {"lr": 0.1}}, "epochs": 15}
    stopped = run(**options, patience=2, checkpoint_dir=tmp_path)
    assert stopped[1].stopped_early
    more = run(**options, patience=4, checkpoint_dir=tmp_path, resume=["patience"])
    assert_equal_runs(run(**options, patience=4), more)


@pytest.mark.parametrize("resume", ["epochs", 1.5, ["epoch"]], ids=str)
def test_resume_is_a_switch_or_a_list_of_what_may_change(resume, run, tmp_path, refused):
    with refused("`resume`", "epochs"):
        run(checkpoint_dir=tmp_path, resume=resume)


def test_resume_without_a_checkpoint_starts(run, tmp_path):
    assert_equal_runs(run(epochs=2), run(epochs=2, checkpoint_dir=tmp_path / "new", resume=True))


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_the_newest_checkpoints_and_the_best_are_kept(keep_last, run, tmp_path):
    options = {"compiled": {"optimizer_params": {"lr": 0.3}}, "epochs": 5}
    _, history = run(**options, checkpoint_dir=tmp_path, checkpoint_params={"keep_last": keep_last})

    newest = {f"epoch-000{epoch}" for epoch in range(6 - keep_last, 6)}
    assert history.best_epoch < 3
    assert checkpoints(tmp_path) == newest | {f"epoch-000{history.best_epoch}"}
    assert (tmp_path / "LATEST").read_text() == "epoch-0005"
    assert (tmp_path / "BEST").read_text() == f"epoch-000{history.best_epoch}"


def test_used_folder_is_refused(run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    with refused("`checkpoint_dir`", "resume=True"):
        run(checkpoint_dir=tmp_path)


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 50}, {"shuffle": False}])
def test_other_arguments_are_refused(change, run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    with refused("differs", next(iter(change))):
        run(checkpoint_dir=tmp_path, resume=True, **change)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def make_a_pipe(file):
    file.unlink()
    os.mkfifo(file)


def make_a_folder(file):
    file.unlink()
    file.mkdir()


def make_a_link_out(file):
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def make_empty(file):
    file.write_text("")


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, Path.unlink, make_empty, make_a_pipe, make_a_folder, make_a_link_out]
)
@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors", "manifest.json"])
def test_the_checkpoint_before_a_damaged_one_is_used(damage, file, run, tmp_path):
    straight = run(epochs=4)
    run(epochs=3, checkpoint_dir=tmp_path)
    damage(tmp_path / "epoch-0003" / file)

    with pytest.warns(InputWarning, match=r"epoch-0003' is damaged: .*The one before it is used"):
        resumed = run(epochs=4, checkpoint_dir=tmp_path, resume=["epochs"])

    assert_equal_runs(straight, resumed)


def test_damaged_checkpoints_without_a_good_one_are_refused(run, tmp_path, refused):
    run(epochs=2, checkpoint_dir=tmp_path)
    for name in checkpoints(tmp_path):
        truncate(tmp_path / name / "tensors.safetensors")
    with pytest.warns(InputWarning, match="epoch-0002"), refused("epoch-0001", "damaged", "start anew"):
        run(epochs=2, checkpoint_dir=tmp_path, resume=True)


@pytest.mark.parametrize("content", [None, "", "epoch-0009", "../other", "\x00"])
def test_the_newest_checkpoint_is_found_without_its_pointer(content, run, tmp_path):
    straight = run(epochs=2, checkpoint_dir=tmp_path)
    pointer = tmp_path / "LATEST"
    pointer.unlink() if content is None else pointer.write_text(content)
    assert_equal_runs(straight, run(epochs=2, checkpoint_dir=tmp_path, resume=True))


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_other_format_is_refused(name, run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    folder = tmp_path / "epoch-0001"
    if name == "state.json":  # before there were manifests
        (folder / "manifest.json").unlink()
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, "format": 4}))
    with refused("format 4", "format 6"):
        run(checkpoint_dir=tmp_path, resume=True)


def test_other_features_are_refused(run, table, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    changed = {**table, "age": table["age"] + np.float32(1e-6)}
    with refused("differs", "training values was"):
        run(data=changed, checkpoint_dir=tmp_path, resume=True)


def test_other_labels_are_refused(run, table, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    changed = {**table, "click": np.ones_like(table["click"])}
    with refused("differs", "training labels was 240 rows"), pytest.warns(InputWarning, match="only the label 1"):
        run(data=changed, checkpoint_dir=tmp_path, resume=True)


def test_all_differences_are_listed(run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    with refused("seed was 0, now 1", "batch_size was 60, now 50", "optimizer_params.lr was 0.01, now 0.02"):
        run({"optimizer_params": {"lr": 0.02}}, checkpoint_dir=tmp_path, resume=True, seed=1, batch_size=50)


def test_other_conditions_are_a_warning(run, tmp_path):
    straight = run(epochs=2, checkpoint_dir=tmp_path)
    torch.set_num_threads(2)
    try:
        with pytest.warns(InputWarning, match="threads was 1, now 2"):
            assert_equal_runs(straight, run(epochs=2, checkpoint_dir=tmp_path, resume=True))
    finally:
        torch.set_num_threads(1)


def test_two_trainings_do_not_share_a_folder(run, tmp_path, refused):
    with locked(tmp_path, "trains"), refused("Another process trains in", str(tmp_path)):
        run(checkpoint_dir=tmp_path)


def test_what_a_killed_training_left_behind_is_removed(run, tmp_path):
    run(epochs=1, checkpoint_dir=tmp_path)
    (tmp_path / ".epoch-0002.123").mkdir()
    (tmp_path / ".LATEST.123").write_text("epoch")
    run(epochs=2, checkpoint_dir=tmp_path, resume=["epochs"])
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} <= {".lock"}


def test_a_save_that_fails_ends_the_training(run, tmp_path, monkeypatch, refused):
    def full(file, state):
        raise OSError(errno.ENOSPC, "No space left on device")

    run(epochs=1, checkpoint_dir=tmp_path)
    monkeypatch.setattr(checkpoint_folder, "write_tensors", full)
    with refused("epoch-0002", "cannot be written", "No space left on device"):
        run(epochs=3, checkpoint_dir=tmp_path, resume=["epochs"])
    monkeypatch.undo()
    assert_equal_runs(run(epochs=3), run(epochs=3, checkpoint_dir=tmp_path, resume=["epochs"]))


def test_a_state_too_large_to_copy_is_written_while_training_waits(run, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "available_memory", lambda: 0)
    monkeypatch.setattr(training_state, "SMALL", 0)
    straight = run(epochs=3)
    run(epochs=2, checkpoint_dir=tmp_path)
    assert_equal_runs(straight, run(epochs=3, checkpoint_dir=tmp_path, resume=["epochs"]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"optimizer": "sgd", "optimizer_params": {"lr": 0.1}}),
        ({"optimizer_params": {"lr": 0.1}}, {"optimizer_params": {"lr": 0.001}}),
        ({}, {"loss_weights": "grad_norm"}),
        ({"loss_weights": [0.1, 0.2]}, {"loss_weights": [1.0, 2.0]}),
        ({}, {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0.5}}),
        ({"loss": "bce"}, {"loss": "focal"}),
    ],
    ids=["optimizer", "lr", "weighting", "weights", "scheduler", "loss"],
)
def test_other_compile_is_refused(before, after, run, tmp_path, refused):
    run(before, checkpoint_dir=tmp_path)
    with refused("differs"):
        run(after, checkpoint_dir=tmp_path, resume=True, epochs=2)


@pytest.mark.parametrize("weighting", [None, "rlw", "pcgrad"])
def test_interrupted_model_itself_can_resume(weighting, build, train, other_table, tmp_path):
    options = {"compiled": {"loss_weights": weighting}, "valid_data": other_table, "epochs": 4}
    straight = train(model=build("mmoe", **MODEL), **options)
    model = build("mmoe", **MODEL)
    with pytest.raises(KeyboardInterrupt):
        train(model=model, **options, checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=3)])
    resumed = train(model=model, **options, checkpoint_dir=tmp_path, resume=True)
    assert_equal_runs(straight, resumed)


@pytest.mark.parametrize("weighting", [None, "rlw", "pcgrad"])
def test_a_later_fit_resumes_in_a_new_process(weighting, build, train, table, tmp_path):
    compiled, options = {"loss_weights": weighting}, {"batch_size": 60, "device": "cpu", "verbose": 0}

    def fit_twice(**more):
        model, _ = train(model=build("mmoe", **MODEL), compiled=compiled)
        return model, model.fit(table, epochs=3, **options, **more)

    straight = fit_twice()
    with pytest.raises(KeyboardInterrupt):
        fit_twice(checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=2)])
    resumed = train(model=build("mmoe", **MODEL), compiled=compiled, epochs=3, checkpoint_dir=tmp_path, resume=True)
    assert_equal_runs(straight, resumed)


def test_resuming_with_another_monitor_is_refused(run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    with refused("differs", "monitor"):
        run(checkpoint_dir=tmp_path, resume=True, monitor="logloss", epochs=2)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"method": "pareto", "c": [0.1, 0.2]}, {"method": "pareto", "c": [0.6, 0.2]}, "0.6"),
        ({"method": "adatask"}, {"method": "adatask", "betas": (0.5, 0.9)}, "0.5"),
        ({"method": "famo", "min_losses": [0.1, 0.0]}, {"method": "famo", "min_losses": [0.0, 0.1]}, "weighting"),
        ({"method": "stch", "ideal_point": [0.1, 0.0]}, {"method": "stch", "ideal_point": [0.2, 0.0]}, "0.2"),
        ({"method": "pcgrad", "every": 2}, {"method": "pcgrad", "every": 3}, "every"),
        ({"method": "pcgrad", "base": [1, 2]}, {"method": "pcgrad", "base": [2, 1]}, "base"),
    ],
    ids=str,
)
def test_going_on_with_other_options_of_the_weighting_is_refused(before, after, word, run, tmp_path, refused):
    run({"loss_weights": before}, epochs=1, checkpoint_dir=tmp_path)
    with refused("differs from the checkpoint", "weighting", word):
        run({"loss_weights": after}, epochs=2, checkpoint_dir=tmp_path, resume=True)


@pytest.mark.parametrize("lr", [np.float32(0.01), torch.tensor(0.01)], ids=type)
def test_options_that_are_no_plain_numbers_are_saved(lr, build, train, tmp_path):
    def fit(**more):
        model = build("mmoe", **MODEL)
        adam = torch.optim.Adam(model.parameters(), lr=lr)
        return train(model=model, compiled={"optimizer": adam, "optimizer_params": None}, epochs=2, **more)

    straight = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=2)])
    assert_equal_runs(straight, fit(checkpoint_dir=tmp_path, resume=True))


def test_state_that_no_checkpoint_can_hold_is_refused_before_the_first_step(build, train, tmp_path, refused):
    model = build("mmoe", **MODEL)
    adam = torch.optim.Adam([{"params": list(model.parameters()), "note": object()}], lr=0.01)
    seen = Seen()
    with refused("holds a object", "no checkpoint can hold"):
        train(model=model, compiled={"optimizer": adam, "optimizer_params": None}, checkpoint_dir=tmp_path)
    assert seen.rows == []
    assert checkpoints(tmp_path) == set()


class StopAt(Callback):
    """Asks for an end after the epoch, in a step of it."""

    def on_step_end(self, trainer):
        if len(trainer.history.epochs) == 1 and trainer.totals.steps == 3:
            trainer.stop()


def test_an_epoch_that_is_to_be_the_last_is_finished_after_an_interruption(run, tmp_path):
    options = {"epochs": 5, "batch_size": 24}  # 10 steps an epoch
    straight = run(**options, callbacks=[StopAt()])
    saved = {"checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 4}}
    with pytest.raises(KeyboardInterrupt):
        run(**options, **saved, callbacks=[StopAt(), Interrupt(epoch=2, step=7)])
    resumed = run(**options, **saved, callbacks=[StopAt()], resume=True)
    assert len(straight[1].epochs) == 2
    assert_equal_runs(straight, resumed)


def test_hidden_files_of_the_user_stay(run, tmp_path):
    (tmp_path / ".data.old").mkdir()
    (tmp_path / ".bashrc.old").write_text("mine")
    (tmp_path / ".nvm.20251121").write_text("mine")
    run(checkpoint_dir=tmp_path)
    assert {".data.old", ".bashrc.old", ".nvm.20251121"} <= {path.name for path in tmp_path.iterdir()}


def test_checkpoints_stay_where_they_were_begun(run, tmp_path, monkeypatch):
    class Elsewhere(Callback):
        def on_fit_start(self, trainer):
            os.chdir(tmp_path / "elsewhere")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run(checkpoint_dir="here", callbacks=[Elsewhere()])
    assert checkpoints(tmp_path / "here") == {"epoch-0001"}
    assert checkpoints(tmp_path / "elsewhere") == set()


def test_resumed_fits_are_counted_once(build, train, tmp_path):
    model = build("mmoe", **MODEL)
    with pytest.raises(KeyboardInterrupt):
        train(model=model, epochs=2, checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=2)])
    train(model=model, epochs=2, checkpoint_dir=tmp_path, resume=True)
    assert model.num_fits == 1


def test_a_damaged_checkpoint_is_not_taken_for_the_last_state(run, tmp_path):
    options = {"epochs": 2, "batch_size": 24, "checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 4}}
    straight = run(epochs=2, batch_size=24)
    with pytest.raises(KeyboardInterrupt):
        run(**options, callbacks=[Interrupt(epoch=1, step=9)])
    truncate(tmp_path / "epoch-0000-step-000008" / "tensors.safetensors")

    class Signal(Callback):
        def on_step_end(self, trainer):
            if trainer.totals.steps == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.warns(InputWarning, match="damaged"), pytest.raises(KeyboardInterrupt, match="step-000008"):
        run(**options, resume=True, callbacks=[Signal()])
    assert_equal_runs(straight, run(**options, resume=True))
