"""Files and folders that are complete or as they were, also after a crash of the program or the machine."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nextrec_like.errors import StorageError


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Another name to write under, which the file takes its content from if nothing goes wrong.

    A link is replaced, not followed: it may lie in a folder of someone else, and lead anywhere.
    """
    part = part_of(file)
    try:
        yield part
        flush(part)
        rename(part, file)
        flush(part.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, replace: bool = True) -> Iterator[Path]:
    """Another folder to write into, which takes the name of this one if nothing goes wrong.

    Args:
        folder: The folder.
        replace: Whether it is replaced if it is there. Between the two renames that this takes, its content is only at
            `aside_of`. If not, it stays: another process has done the same meanwhile.
    """
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for path in [*part.rglob("*"), part]:
            flush(path)
        if replace:
            _replace(folder, part)
        else:
            _claim(folder, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace(folder: Path, part: Path) -> None:
    aside = aside_of(folder)
    try:
        if folder.exists():
            _remove(aside)
            rename(folder, aside)
        rename(part, folder)
    except BaseException:  # a signal, too, must not leave the folder without its name
        if aside.exists() and not folder.exists():
            rename(aside, folder)
        raise
    flush(folder.parent)
    _remove(aside)


def _claim(folder: Path, part: Path) -> None:
    try:
        rename(part, folder)
    except OSError:
        if not folder.exists():
            raise
    flush(folder.parent)


def part_of(path: Path) -> Path:
    """The name under which a process writes a file or folder: it ends in the number of the process."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def aside_of(path: Path) -> Path:
    """Where the old content of a folder is while it is replaced."""
    return path.with_name(f".{path.name}.old")


def remove_parts(folder: Path, names: str, shared: bool = False) -> None:
    """Removes what killed processes have left behind in a folder.

    Args:
        folder: The folder.
        names: Pattern of the names of the files and folders that are written there; others stay.
        shared: Whether other processes may be writing there; what has the number of a living one stays.
    """
    for path in folder.iterdir():
        match = re.fullmatch(rf"\.({names})\.(?P<process>\d+|old)", path.name)
        if match and not (shared and _lives(match["process"])):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lives(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:  # it is that of another user
        return True
    except (ProcessLookupError, ValueError, OverflowError):  # none, `old`, more than a number of a process
        return False
    return True


def flush(path: Path) -> None:
    """Has the system write a file, or the names in a folder, to the disk, and waits for it."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def rename(path: Path, target: Path) -> None:
    """Gives a file or folder another name at once; a file of that name, or an empty folder, is replaced."""
    os.replace(path, target)


def write_text(file: Path, text: str) -> None:
    """Writes a whole text."""
    with whole(file) as part:
        part.write_text(text, encoding="utf-8")


def write_json(file: Path, content: object) -> None:
    """Writes readable, strictly valid JSON as a whole."""
    write_text(file, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def writing(what: str, path: Path) -> Iterator[None]:
    """Has a full disk, a read-only folder and the like say what could not be written, and that nothing else is lost."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} `{path}` cannot be written: {error.strerror or error}. What was written before is complete; free "
            f"some space or give another folder."
        ) from error
