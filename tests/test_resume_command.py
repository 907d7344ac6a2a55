"""`nextrec-like train --resume` ends as a run that was never interrupted."""

import json
import os
import shutil
import signal

import pandas as pd
import pytest
from safetensors.torch import load_file

from nextrec_like.cli import main
from nextrec_like.config.document import read_document
from nextrec_like.runs import HistoryWriter
from nextrec_like.storage.lock import locked

CONFIG = """
name: small
data:
  synthetic_funnel: {rows: 3000, seed: 0}
  split: {by: time, column: time, fractions: [0.8, 0.1, 0.1]}
features:
  dense: [{name: price, scaling: log1p}]
  sparse: [city, device]
tasks: [click, {name: conversion, parent: click}]
model: {name: shared_bottom, bottom_params: {dims: [8]}, tower_params: {dims: [4], dropout: 0.2}}
weighting: grad_norm
training: {epochs: 3, batch_size: 200, log_every: 5, seeds: [0, 1], device: cpu}
checkpoints: {every_steps: 5}
"""
TIMES = ("seconds", "samples_per_second")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `train` in a folder of its own, and gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, folder="there"):
        (tmp_path / folder).mkdir(exist_ok=True)
        os.chdir(tmp_path / folder)
        (tmp_path / folder / "small.yaml").write_text(CONFIG)
        return main(["train", "small.yaml", *arguments])

    return run


def interrupt_at(monkeypatch, epoch, number=signal.SIGTERM):
    """Sends a signal at the end of an epoch, counted over both seeds."""
    seen, write = [], HistoryWriter.on_epoch_end

    def send(self, trainer):
        write(self, trainer)
        seen.append(1)
        if len(seen) == epoch:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(HistoryWriter, "on_epoch_end", send)


def interrupt_after(monkeypatch, number):
    """Sends SIGTERM after a number of steps."""
    seen = []

    def send(self, trainer):
        seen.append(1)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(HistoryWriter, "on_step_end", send)


def contents(run):
    """All files of a run, but for the lock."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "lock" not in path.name}


def seeds_and_epochs(run):
    """Of the lines of the history, and of the logged steps."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    steps = pd.read_parquet(run / "steps.parquet")
    return [(line["seed"], line["epoch"]) for line in lines], set(zip(steps.seed, steps.epoch))


def epochs_of(*counts):
    return [(seed, epoch) for seed, count in enumerate(counts) for epoch in range(1, count + 1)]


def outcome(folder):
    """All that a run leaves, but for times."""
    (run,) = (folder / "runs").iterdir()
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    history = [{key: value for key, value in record.items() if key not in TIMES} for record in history]
    weights = [load_file(run / f"model_seed_{seed}" / "weights.safetensors") for seed in (0, 1)]
    weights = [{name: value.tolist() for name, value in each.items()} for each in weights]
    return json.loads((run / "metrics.json").read_text()), history, weights


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("epoch", [2, 5])
def test_interrupted_run_goes_on(epoch, number, status, command, tmp_path, monkeypatch, capfd):
    assert command(folder="undisturbed") == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch, number)
        assert command(folder="disturbed") == status
    err = capfd.readouterr().err
    assert f"interrupted by {number.name}; the last state is saved in" in err
    assert "the same command with `--resume` goes on" in err
    assert "Traceback" not in err

    assert command("--resume", folder="disturbed") == 0

    assert outcome(tmp_path / "disturbed") == outcome(tmp_path / "undisturbed")


def test_a_run_that_came_to_its_end_is_told_again(command, tmp_path, capfd):
    assert command() == 0
    first, told = outcome(tmp_path / "there"), capfd.readouterr().out
    assert command("--resume") == 0
    assert outcome(tmp_path / "there") == first
    assert capfd.readouterr().out.splitlines()[-5:] == told.splitlines()[-5:]


def test_resume_without_a_run_begins_one_and_says_where_it_has_looked(command, tmp_path, capfd):
    assert command("--resume") == 0
    assert f"no run `small` in `{tmp_path / 'there' / 'runs'}`; a new one begins" in capfd.readouterr().out
    assert [path.name for path in (tmp_path / "there" / "runs").iterdir()] == ["small-001"]


def test_other_configuration_is_refused_with_all_differences(command, capfd):
    assert command() == 0
    assert command("--resume", "--set", "training.batch_size=100", "--set", "weighting=dwa") == 2
    err = capfd.readouterr().err
    assert "training.batch_size was 200, now 100" in err
    assert "weighting was grad_norm, now dwa" in err
    assert err.count("\n") == 1


def test_what_may_change_is_named_and_allowed(command, tmp_path, capfd):
    assert command() == 0
    assert command("--resume", "--set", "training.epochs=4") == 2
    assert "training.epochs was 3, now 4. To go on, allow it by `--change epochs`" in capfd.readouterr().err

    assert command("--resume", "--set", "training.epochs=4", "--change", "epochs") == 0

    _, history, _ = outcome(tmp_path / "there")
    assert [(record["seed"], record["epoch"]) for record in history] == [(s, e) for s in (0, 1) for e in (1, 2, 3, 4)]
    assert command("--set", "training.epochs=4", folder="straight") == 0
    assert outcome(tmp_path / "there") == outcome(tmp_path / "straight")


def test_seed_without_checkpoints_begins_anew_and_that_is_said(command, tmp_path, monkeypatch, capfd):
    assert command(folder="undisturbed") == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        assert command() == 143
    shutil.rmtree(tmp_path / "there" / "runs" / "small-001" / "checkpoints" / "seed_0")
    capfd.readouterr()

    assert command("--resume") == 0

    out = capfd.readouterr().out
    assert "no checkpoint of seed 0; it begins anew" in out
    assert "seed 1; it begins" not in out
    assert outcome(tmp_path / "there") == outcome(tmp_path / "undisturbed")


def test_finished_run_without_checkpoints_is_refused_and_stays(command, tmp_path, capfd):
    assert command() == 0
    run = tmp_path / "there" / "runs" / "small-001"
    shutil.rmtree(run / "checkpoints" / "seed_1")
    before = contents(run)
    capfd.readouterr()

    assert command("--resume") == 2

    assert capfd.readouterr().err.endswith(
        "The run `runs/small-001` is finished, and has no checkpoint of seed 1 to go on from; for a new run, leave out "
        "`--resume`.\n"
    )
    assert contents(run) == before


def test_change_that_was_interrupted_goes_on_whatever_the_stage_of_each_seed(command, tmp_path, monkeypatch):
    more = ("--resume", "--set", "training.epochs=5")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        assert command() == 143  # seed 0 has 3 epochs of 3, seed 1 has 1
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        assert command(*more, "--change", "epochs") == 143  # seed 0 has 4 of 5
    run = tmp_path / "there" / "runs" / "small-001"
    assert read_document(run / "config.yaml").data["training"]["epochs"] == 5
    assert seeds_and_epochs(run) == (epochs_of(4, 1), set(epochs_of(4, 1)))

    assert command(*more) == 0

    assert command("--set", "training.epochs=5", folder="straight") == 0
    assert outcome(tmp_path / "there") == outcome(tmp_path / "straight")


@pytest.mark.parametrize("interrupted", [False, True])
def test_fewer_epochs_than_begun_are_refused_and_the_run_stays(interrupted, command, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        if interrupted:
            interrupt_after(patch, 2 * 12 + 5)  # in epoch 3, whose checkpoints are within it
        assert command() == (143 if interrupted else 0)
    before = contents(tmp_path / "there" / "runs" / "small-001")
    capfd.readouterr()

    assert command("--resume", "--set", "training.epochs=2", "--change", "epochs") == 2

    assert capfd.readouterr().err.endswith(
        "--set training.epochs=2: `epochs` is 2, but seed 0 of the run `runs/small-001` is at epoch 3; give at least "
        "3.\n"
    )
    assert contents(tmp_path / "there" / "runs" / "small-001") == before


def test_change_that_fit_refuses_leaves_the_run(command, tmp_path, capfd, monkeypatch):
    assert command() == 0
    before = contents(tmp_path / "there" / "runs" / "small-001")
    capfd.readouterr()
    monkeypatch.setattr("nextrec_like.runs.resume._check_epochs", lambda *_: None)

    assert command("--resume", "--set", "training.epochs=2", "--change", "epochs") == 2

    err = capfd.readouterr().err
    assert "`epochs` is 2, but '" in err
    assert "seed_0/epoch-0003' is of epoch 3; give at least 3." in err
    assert contents(tmp_path / "there" / "runs" / "small-001") == before


def test_lines_of_later_seeds_stay_while_earlier_ones_are_visited(command, tmp_path, monkeypatch):
    assert command() == 0
    run, seen, write = tmp_path / "there" / "runs" / "small-001", [], HistoryWriter.write

    def look(self, history):
        write(self, history)
        seen.append(seeds_and_epochs(run))

    monkeypatch.setattr(HistoryWriter, "write", look)
    assert command("--resume", "--set", "training.epochs=4", "--change", "epochs") == 0

    first, second = epochs_of(4, 3), epochs_of(4, 4)  # written at the end of the epoch and of the training of each seed
    assert seen == [(first, set(first))] * 2 + [(second, set(second))] * 2


@pytest.mark.parametrize("content", ["", "[1]\n", "{}\n", "{\n"])
def test_damaged_history_is_written_anew(content, command, tmp_path):
    assert command() == 0
    first = outcome(tmp_path / "there")
    (tmp_path / "there" / "runs" / "small-001" / "history.jsonl").write_text(content)
    (tmp_path / "there" / "runs" / "small-001" / "steps.parquet").write_text(content)
    assert command("--resume") == 0
    assert outcome(tmp_path / "there") == first


def test_other_rows_are_refused(command, capfd):
    assert command() == 0
    assert command("--resume", "--set", "data.synthetic_funnel.seed=1") == 2
    assert "data.synthetic_funnel.seed was 0, now 1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--change", "epochs"], "pass `--resume`, too"),
        (["--resume", "--change", "epoch"], "Did you mean `epochs`?"),
        (["--resume", "--set", "checkpoints=false"], "`checkpoints` is false"),
    ],
)
def test_misuse_is_one_sentence(arguments, words, command, capfd):
    assert command() == 0
    capfd.readouterr()
    assert command(*arguments) == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_run_in_use_is_refused(command, tmp_path, capfd):
    assert command() == 0
    with locked(tmp_path / "there" / "runs" / "small-001", "trains"):
        assert command("--resume") == 2
    assert "Another process trains in `runs/small-001`" in capfd.readouterr().err


def test_checkpoints_can_be_left_out(command, tmp_path):
    assert command("--set", "checkpoints=false") == 0
    assert not (tmp_path / "there" / "runs" / "small-001" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("true", "`checkpoints` should be"),
        ("{every_steps: 0}", "`checkpoint_params.every_steps` should be a positive integer"),
        ("{every: 5}", "unknown key `every` in `checkpoints`"),
    ],
)
def test_wrong_checkpoints_are_refused_with_their_place(value, words, command, capfd):
    assert command("--set", f"checkpoints={value}") == 2
    err = capfd.readouterr().err
    assert f"--set checkpoints={value}" in err
    assert words in err
