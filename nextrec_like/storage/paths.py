"""Paths that a user names."""

import os
from contextlib import suppress
from pathlib import Path

from nextrec_like.errors import InputError


def named_path(what: str, value: object) -> Path:
    """The path, with ``~`` as the home folder; whether anything is there is not asked.

    Args:
        what: What it is, for the message, such as ``"`output`"``.
        value: What the user gave.

    Raises:
        InputError: If it is no path, or none that the file system can have, such as one that is too long.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(f"{what} should be a path. Received {value!r}.")
    try:
        path = Path(value).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(path)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{what} is {str(value)!r}, which is no possible path: {reason}.") from error
    return path
