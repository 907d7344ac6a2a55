"""`nextrec-like train --resume` ends as a run that was never interrupted."""

import json
import os
import signal

import pytest
from safetensors.torch import load_file

from nextrec_like.cli import main
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
training: {epochs: 3, batch_size: 200, seeds: [0, 1], device: cpu}
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


def test_resume_without_a_run_begins_one(command, tmp_path):
    assert command("--resume") == 0
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
