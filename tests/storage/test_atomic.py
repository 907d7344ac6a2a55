"""A file or folder is complete, or as it was."""

import errno
import os

import pytest

from nextrec_like import InputError
from nextrec_like.storage import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_content_at_once(tmp_path):
    file = tmp_path / "a.txt"
    atomic.write_text(file, "old")
    with atomic.whole(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_stays_if_writing_fails(tmp_path):
    file = tmp_path / "a.txt"
    atomic.write_text(file, "old")
    with pytest.raises(FileNotFoundError), atomic.whole(file) as part:
        (part.parent / "nothing").rename(part)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append(f"{a} -> {b}"))

    atomic.write_text(tmp_path / "a.txt", "new")

    part = tmp_path / f".a.txt.{os.getpid()}"
    assert done == [str(part), f"{part} -> {tmp_path / 'a.txt'}", str(tmp_path)]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "secret").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    atomic.write_text(tmp_path / "link", "new")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"
    assert (tmp_path / "secret").read_text() == "old"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")
    with atomic.whole_folder(folder) as part:
        (part / "sub").mkdir()
        (part / "sub" / "new").write_text("new")
        assert names(folder) == ["old"]
    assert (folder / "sub" / "new").read_text() == "new"
    assert names(folder) == ["sub"]
    assert names(tmp_path) == ["model"]


def test_a_folder_stays_if_writing_fails(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(FileNotFoundError), atomic.whole_folder(folder) as part:
        (part / "nothing").rename(part / "new")
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_folder_comes_back_if_its_successor_cannot_get_its_name(tmp_path, monkeypatch):
    folder, rename = tmp_path / "model", atomic.rename
    folder.mkdir()
    (folder / "old").write_text("old")

    def refuse(path, target):
        if path == atomic.part_of(folder):
            raise OSError(errno.EIO, "Input/output error")
        rename(path, target)

    monkeypatch.setattr(atomic, "rename", refuse)
    with pytest.raises(OSError, match="Input/output"), atomic.whole_folder(folder) as part:
        (part / "new").write_text("new")
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["model"]


def test_json_is_strict_and_readable(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"task": "Käufe", "auc": 0.5})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "task": "Käufe",\n  "auc": 0.5\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"auc": float("nan")})
    assert "0.5" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path):
    words = rf"The run folder `{tmp_path}` cannot be written: No space left on device\."
    with pytest.raises(InputError, match=words), atomic.writing("The run folder", tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
