"""One process per folder."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nextrec_like.errors import InputError, warn

LOCK = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""How file systems without locks answer."""


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Within the context no other process may do this in the folder. The system frees the lock of a killed process.

    Args:
        folder: An existing folder.
        what: What is done there, such as ``trains``.

    Raises:
        InputError: If another process does, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK, fallback_to_soft=False)  # a soft lock would outlive a killed process
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another process {what} in `{folder}`; wait for it, or give another folder.") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise InputError(f"The folder `{folder}` cannot be written: {error.strerror or error}.") from error
        warn(f"The file system of `{folder}` has no locks: see to it that no other process {what} there.")
    try:
        yield
    finally:
        lock.release(force=True)
