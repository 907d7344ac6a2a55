"""A job of which a process fails ends with one sentence, or goes on after a restart as if nothing had been."""

import json
import shutil

import pytest
import torch
import torch.distributed as dist
from rank_trainings import make_model, make_rows
from safetensors.numpy import load_file
from torchrun import FAULTY, errors, finished, torchrun, two_machines

from nextrec_like import InputError
from nextrec_like.cli import main
from nextrec_like.distributed.join import current
from nextrec_like.training.device import resolve_device

LOST = "error: Another process of this job has ended: it was killed, or has said why."

DAMAGED = "error: In process 1 of 2: small.yaml:12:1: File `part.parquet` is damaged."


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run of a job without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, _, err = torchrun(folder, "train", "small.yaml")
    assert status == 0, err
    return folder / "runs" / "small-001"


def weights(run):
    return {name: value.tolist() for name, value in load_file(run / "model" / "weights.safetensors").items()}


@pytest.mark.parametrize(("fault", "rank", "step", "said"), [("killed", 0, 3, []), ("refused", 1, 20, [DAMAGED])])
def test_a_process_that_fails_costs_only_a_restart(fault, rank, step, said, undisturbed, tmp_path):
    (tmp_path / "runs").mkdir()
    shutil.copytree(undisturbed, tmp_path / "runs" / "small-001")  # a run of the same name that is none of this job
    command = (fault, rank, step, "train", "small.yaml")

    status, out, err = torchrun(tmp_path, *command, program=FAULTY, restarts=3)

    assert status == 0, err
    assert f"going on with {tmp_path}/runs/small-002" in out
    assert errors(err) == said
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["small-001", "small-002"]
    run = tmp_path / "runs" / "small-002"
    assert weights(run) == weights(undisturbed)
    assert json.loads((run / "metrics.json").read_text()) == json.loads((undisturbed / "metrics.json").read_text())


def test_machines_restart_together(undisturbed, tmp_path):
    command = ("killed", 1, 20, "train", "small.yaml")
    ended = two_machines(tmp_path, *command, program=FAULTY, restarts=3)
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert f"going on with {tmp_path}/runs/small-001" in "".join(out for _, out, _ in ended)
    assert weights(tmp_path / "runs" / "small-001") == weights(undisturbed)


def test_without_restarts_the_first_process_says_that_another_has_ended(tmp_path):
    status, _, err = torchrun(tmp_path, "killed", "1", "5", "train", "small.yaml", program=FAULTY)
    assert status != 0
    assert errors(err) == [LOST]
    root_cause = err[err.index("Root Cause") :]
    assert "Signal 9 (SIGKILL)" in root_cause


def test_a_script_goes_on_from_its_checkpoints_after_a_restart(tmp_path, monkeypatch):
    rows, options = make_rows(), {"epochs": 2, "batch_size": 90, "device": "cpu", "verbose": 0, "check_data": False}
    model, again = make_model(), make_model()
    for each in (model, again):
        each.compile()
    model.fit(rows, checkpoint_dir=tmp_path, **options)
    shutil.rmtree(tmp_path / "epoch-0002")
    (tmp_path / "LATEST").unlink()

    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    history = again.fit(rows, checkpoint_dir=tmp_path, **options)

    assert len(history.epochs) == 2
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_never_come_are_waited_for_up_to_a_limit(rank, tmp_path):
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29861"}
    command = ["-m", "nextrec_like", "train", "small.yaml"]
    status, _, err = finished(tmp_path, command, **place, NEXTREC_LIKE_JOIN_SECONDS="1")
    assert status == 2
    (said,) = errors(err)
    assert f"Process {rank} of 2 has not found the others at 127.0.0.1:29861 within 1 seconds" in said
    assert "NEXTREC_LIKE_JOIN_SECONDS sets the limit" in said


def test_incomplete_environment_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["train", "small.yaml"]) == 2
    assert capsys.readouterr().err == (
        "error: WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT is not set; start the processes by torchrun.\n"
    )


def test_other_processes_of_a_machine_are_silent_before_they_have_found_each_other(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["train", "small.yaml"]) == 2
    with pytest.raises(SystemExit):
        main(["tran", "small.yaml"])
    assert capsys.readouterr() == ("", "")


def test_missing_backend_is_one_sentence(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29862"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "is_gloo_available", lambda: False)
    with pytest.raises(InputError, match="This build of torch has no gloo backend"):
        current()


def test_more_processes_than_gpus_are_told_to_be_fewer(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"no GPU of its own: torch sees 2 here\. Start at most as many"):
        resolve_device("auto")
