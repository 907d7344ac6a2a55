"""One process per folder, and the lock of a killed one is free."""

import errno
import fcntl
import os
import subprocess
import sys
import warnings

import pytest

from nextrec_like import InputError
from nextrec_like.errors import InputWarning
from nextrec_like.storage.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from nextrec_like.storage.lock import locked
with locked(Path(sys.argv[1]), "trains"):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_the_folder_of_another_process_is_refused_until_it_is_killed(holder, tmp_path):
    with pytest.raises(InputError, match=f"Another process trains in `{tmp_path}`"), locked(tmp_path, "trains"):
        pytest.fail("it is locked")

    holder.kill()
    holder.wait()

    with locked(tmp_path, "trains"):
        pass


def test_a_folder_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path, "trains"):
        raise ZeroDivisionError
    with locked(tmp_path, "trains"):
        pass


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "file", "trains"):
        pytest.fail("it is a file")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_told_once_and_training_goes_on(code, train, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".lock").touch()  # of a killed process
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(epochs=1, checkpoint_dir=tmp_path)

    [message] = [str(each.message) for each in caught if each.category is InputWarning]
    assert message == f"The file system of `{tmp_path}` has no locks: see to it that no other process trains there."
    assert (tmp_path / "LATEST").exists()
