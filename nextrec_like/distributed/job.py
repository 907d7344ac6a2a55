"""What outlives a process of a job: why it failed, for the first one to say, and what one after a restart goes on with.

Both are notes in the stores by which processes find each other: in that of their group, and in that of torchrun.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

from nextrec_like.errors import InputError, LostProcessError

PATIENCE = timedelta(seconds=10)
"""For the store of torchrun to answer."""
BEHIND = 1.0
"""Seconds by which a process outlives one that it has lost, so that torchrun names that one as the root cause."""
FAULT, NOTE = "fault", "nextrec_like/note/"


def remember(key: str, text: str) -> None:
    """Leaves a note, in the place of an older one, for the processes that torchrun starts after these."""
    if (store := _store_of_torchrun()) is not None:
        store.set(NOTE + key, text)


def remembered(key: str) -> str | None:
    """The note that the processes before a restart have left; None if there is none."""
    store = _store_of_torchrun()
    return store.get(NOTE + key).decode() if store is not None and store.check([NOTE + key]) else None


def cause(error: InputError | KeyboardInterrupt) -> InputError | KeyboardInterrupt:
    """What has ended the job, to be said by its first process; the others leave that to it.

    One process that fails ends the others: they lose it, or torchrun sends them SIGTERM.

    Args:
        error: What has ended this process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that of torchrun would keep this process from saying it
    faults = [each for each in _chain(error) if isinstance(each, InputError)]
    lost = next((each for each in faults if isinstance(each, LostProcessError)), None)
    is_fault, rank = bool(faults) and lost is None, dist.get_rank()
    store = dist.distributed_c10d._get_default_store()
    with suppress(dist.DistError):  # the first process may hold the store, and be gone
        if is_fault and rank > 0:
            store.set(FAULT, f"In process {rank} of {dist.get_world_size()}: {faults[0]}")
        if not is_fault and rank == 0 and store.check([FAULT]):
            return InputError(store.get(FAULT).decode())
    return lost or (faults[0] if is_fault else error)


def exit_if_several(status: int, error: BaseException) -> None:
    """Ends a process of several without leaving their group, which can take long if another one is gone.

    Args:
        status: Exit status.
        error: What has ended this process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if any(isinstance(each, LostProcessError) for each in _chain(error)):
        time.sleep(BEHIND)
    os._exit(status)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that were being handled when it was raised."""
    while error is not None:
        yield error
        error = error.__context__


def _store_of_torchrun() -> "dist.TCPStore | None":
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(*place, is_master=False, wait_for_workers=False, timeout=PATIENCE)
