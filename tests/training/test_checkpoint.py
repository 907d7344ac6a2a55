"""An interrupted training that goes on ends as one that was never interrupted."""

import json

import pytest
import torch

from nextrec_like import Callback

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


def figures(history):
    return [(r.epoch, r.loss, r.weights, r.valid, r.score, r.lr) for r in history.epochs], history.best_epoch


def assert_equal_runs(first, second):
    (model, history), (other, other_history) = first, second
    assert figures(history) == figures(other_history)
    assert history.stopped_early == other_history.stopped_early
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


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
    straight = run(**options)
    interrupt = Interrupt(epoch=2, step=2 if every == 1 else 7)
    with pytest.raises(KeyboardInterrupt):
        run(**options, checkpoint_dir=tmp_path, checkpoint_every=every, callbacks=[interrupt])

    resumed = run(**options, checkpoint_dir=tmp_path, checkpoint_every=every, resume=True, verbose=1)

    assert f"resumed after {reached} of 3" in capsys.readouterr().out
    assert_equal_runs(straight, resumed)
    assert straight[1].steps_frame().equals(resumed[1].steps_frame())
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0003"]


def test_order_of_rows_in_a_resumed_epoch_is_that_of_the_whole_one(run, tmp_path):
    whole, before, after = Seen(), Seen(), Seen()
    run(epochs=2, batch_size=24, callbacks=[whole])
    with pytest.raises(KeyboardInterrupt):
        run(
            epochs=2,
            batch_size=24,
            checkpoint_dir=tmp_path,
            checkpoint_every=4,
            callbacks=[before, Interrupt(epoch=2, step=8)],
        )
    run(epochs=2, batch_size=24, checkpoint_dir=tmp_path, resume=True, callbacks=[after])

    assert len(whole.rows) == 20
    assert before.rows[:18] == whole.rows[:18]
    assert after.rows == whole.rows[14:]


def test_checkpoint_every_needs_a_folder_and_a_number(run, tmp_path, refused):
    with refused("`checkpoint_every` needs a `checkpoint_dir`"):
        run(checkpoint_every=5)
    with refused("`checkpoint_every` should be a positive integer"):
        run(checkpoint_every=0, checkpoint_dir=tmp_path)


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
    assert_equal_runs(run(epochs=4), run(epochs=4, checkpoint_dir=tmp_path, resume=True))


def test_resume_without_a_checkpoint_starts(run, tmp_path):
    assert_equal_runs(run(epochs=2), run(epochs=2, checkpoint_dir=tmp_path / "new", resume=True))


def test_only_the_newest_checkpoint_is_kept(run, tmp_path):
    run(epochs=3, checkpoint_dir=tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["epoch-0003"]
    assert sorted(file.suffix for file in (tmp_path / "epoch-0003").iterdir()) == [".json", ".safetensors"]


def test_used_folder_is_refused(run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    with refused("`checkpoint_dir`", "resume=True"):
        run(checkpoint_dir=tmp_path)


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 50}, {"shuffle": False}])
def test_other_arguments_are_refused(change, run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    with refused("differs", next(iter(change))):
        run(checkpoint_dir=tmp_path, resume=True, epochs=2, **change)


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
def test_damaged_checkpoint_is_refused(file, run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    (tmp_path / "epoch-0001" / file).write_text("junk")
    with refused("epoch-0001", "damaged"):
        run(checkpoint_dir=tmp_path, resume=True)


def test_other_format_is_refused(run, tmp_path, refused):
    run(checkpoint_dir=tmp_path)
    state = tmp_path / "epoch-0001" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "format": 9}))
    with refused("format 9"):
        run(checkpoint_dir=tmp_path, resume=True)


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


def test_interrupted_model_itself_can_resume(build, train, other_table, tmp_path):
    straight = train(model=build("mmoe", **MODEL), valid_data=other_table, epochs=4)
    model = build("mmoe", **MODEL)
    with pytest.raises(KeyboardInterrupt):
        train(model=model, valid_data=other_table, epochs=4, checkpoint_dir=tmp_path, callbacks=[Interrupt(epoch=3)])
    resumed = train(model=model, valid_data=other_table, epochs=4, checkpoint_dir=tmp_path, resume=True)
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
