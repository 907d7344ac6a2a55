"""A full or read-only disk ends what writes there with one clear sentence, and what was there before is valid."""

import resource
import shutil
import subprocess

import pyarrow.parquet as pq
import pytest
import torch
from test_checkpoint import assert_equal_runs

from nextrec_like import Callback, load_model, synthetic_funnel
from nextrec_like.cli import main
from nextrec_like.data.tables import read_table
from nextrec_like.training.checkpoint_folder import CheckpointFolder

MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")
FULL, READ_ONLY = "No space left on device", "Read-only file system"
CONFIG = """\
data: {{train: {folder}/train.parquet, valid: {folder}/train.parquet}}
name: job
output: {output}
features: {{dense: [price], sparse: [user_id]}}
tasks: [click]
model: {{name: shared_bottom, bottom_params: {{dims: [4]}}, tower_params: {{dims: []}}}}
training: {{epochs: 2, batch_size: 64, device: cpu}}
"""


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if MOUNT is None or UMOUNT is None:
        pytest.skip("there is no command to mount a file system")
    done = subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run([UMOUNT, "-l", folder], check=True)


def fill(disk):
    """Writes a file that takes all that is left."""
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def free(disk):
    (disk / "filler").unlink()


def forbid(disk):
    """Makes the file system read-only."""
    subprocess.run([MOUNT, "-o", "remount,ro", disk], check=True)


def allow(disk):
    subprocess.run([MOUNT, "-o", "remount,rw", disk], check=True)


FAULTS = pytest.mark.parametrize(
    ("fail", "mend", "why"), [(fill, free, FULL), (forbid, allow, READ_ONLY)], ids=["full", "read-only"]
)


class After(Callback):
    """Does something after the second epoch, before that is saved."""

    def __init__(self, do):
        self.do = do

    def on_epoch_end(self, trainer):
        if len(trainer.history.epochs) == 2:
            self.do()


def test_a_disk_that_fills_ends_the_training_and_with_space_it_goes_on(train, disk, refused):
    folder = disk / "checkpoints"
    with refused(str(folder), "cannot be written", FULL):
        train(epochs=4, checkpoint_dir=folder, callbacks=[After(lambda: fill(disk))])

    assert CheckpointFolder(folder, 2).read()[0].name == "epoch-0001"
    assert not list(folder.glob(".epoch*"))
    free(disk)
    assert_equal_runs(train(epochs=4), train(epochs=4, checkpoint_dir=folder, resume=True))


@FAULTS
def test_checkpoints_on_a_disk_that_fails_are_refused_before_training(fail, mend, why, train, disk, refused):
    train(epochs=1, checkpoint_dir=disk / "old")
    fail(disk)
    for folder in [disk / "old", disk / "new"]:
        with refused(str(folder), why):
            train(epochs=2, checkpoint_dir=folder, resume=["epochs"])
    mend(disk)


@FAULTS
def test_a_model_that_cannot_be_saved_leaves_the_one_before(fail, mend, why, train, disk, refused):
    (first, _), (second, _) = train(epochs=1), train(epochs=2)
    first.save(disk / "model")
    fail(disk)
    with refused(str(disk / "model"), "cannot be written", why):
        second.save(disk / "model")
    with refused(str(disk / "other"), why):
        second.save(disk / "other")

    loaded = load_model(disk / "model").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in first.state_dict().items())
    mend(disk)


@FAULTS
def test_predictions_that_cannot_be_written_leave_those_before(fail, mend, why, train, table, disk, refused):
    model, _ = train(epochs=1)
    file = disk / "scores.parquet"
    model.predict(table, output=file, device="cpu")
    before = file.read_bytes()
    fail(disk)
    with refused(str(file), "cannot be written", why):
        model.predict(table, output=file, device="cpu")
    assert file.read_bytes() == before
    assert sorted(path.name for path in disk.iterdir() if path.name != "filler") == ["scores.parquet"]
    mend(disk)


@FAULTS
def test_a_cache_that_cannot_be_written_is_an_error(fail, mend, why, train, tmp_path, disk, table, refused):
    pq.write_table(read_table(table), tmp_path / "train.parquet")
    fail(disk)
    with refused("`cache_dir`", str(disk), why):
        train(data=tmp_path / "train.parquet", streaming=True, cache_dir=disk / "cache")
    mend(disk)


@pytest.fixture
def command(tmp_path, disk, capsys):
    """Runs the command; gives its status and the lines it wrote to the error output."""
    synthetic_funnel(300, seed=0).drop(columns="history").to_parquet(tmp_path / "train.parquet")
    (tmp_path / "job.yaml").write_text(CONFIG.format(folder=tmp_path, output=disk / "runs"))

    def run(*words):
        status = main([str(word) for word in words])
        return status, capsys.readouterr().err.splitlines()

    return run


@FAULTS
def test_a_run_on_a_disk_that_fails_is_an_error(fail, mend, why, command, tmp_path, disk):
    fail(disk)
    status, lines = command("train", tmp_path / "job.yaml")
    assert status == 2
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert str(disk / "runs") in lines[-1]
    assert why in lines[-1]
    mend(disk)
    assert not list(disk.glob("runs/*"))


@FAULTS
def test_a_run_that_cannot_go_on_is_an_error_and_stays(fail, mend, why, command, tmp_path, disk):
    assert command("train", tmp_path / "job.yaml")[0] == 0
    before = _files(disk)
    fail(disk)
    status, lines = command("train", tmp_path / "job.yaml", "--resume")
    assert status == 2
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert why in lines[-1]
    mend(disk)
    assert _files(disk) == before


@FAULTS
def test_predictions_by_command_are_refused(fail, mend, why, command, tmp_path, disk):
    assert command("train", tmp_path / "job.yaml")[0] == 0
    fail(disk)
    for name in ("scores.parquet", "scores.csv"):
        rows = ["--data", tmp_path / "train.parquet", "--output", disk / name]
        status, lines = command("predict", disk / "runs" / "job-001", *rows)
        assert (status, len(lines)) == (2, 1)
        assert lines[0].startswith("error: ")
        assert str(disk / name) in lines[0]
        assert why in lines[0]
        assert not (disk / name).exists()
    mend(disk)


def test_files_that_may_not_grow_end_the_training(train, tmp_path, refused):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with refused(str(tmp_path), "cannot be written", "File too large"):
            train(epochs=2, checkpoint_dir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*epoch*"))


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_where_the_folder_should_be_is_an_error(name, train, tmp_path, refused):
    (tmp_path / "file").write_text("")
    with refused("`checkpoint_dir`", str(tmp_path / name)):
        train(checkpoint_dir=tmp_path / name)
    with refused("`folder`", str(tmp_path / name)):
        train()[0].save(tmp_path / name)


def _files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "filler"}
