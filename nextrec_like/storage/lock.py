"""One process per folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nextrec_like.errors import InputError, warn

LOCK = ".lock"


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Within the context no other process may do this in the folder. The system frees the lock of a killed process.

    Args:
        folder: An existing folder.
        what: What is done there, such as ``trains``.

    Raises:
        InputError: If another process does, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another process {what} in `{folder}`; wait for it, or give another folder.") from None
    except NotImplementedError:
        warn(f"The file system of `{folder}` has no locks: see to it that no other process {what} there.")
    except OSError as error:
        raise InputError(f"The folder `{folder}` cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release(force=True)
