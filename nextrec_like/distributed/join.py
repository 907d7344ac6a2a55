"""Joining the group of processes that torchrun, Slurm or Kubernetes has started."""

import atexit
import os
import time
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist

from nextrec_like.distributed.processes import ALONE, TOO_LATE, Processes
from nextrec_like.errors import InputError, number_in

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables of the environment by which processes find each other."""
JOIN_SECONDS, WAIT_SECONDS = "NEXTREC_LIKE_JOIN_SECONDS", "NEXTREC_LIKE_WAIT_SECONDS"
MOST_SECONDS = 10_000_000
MOMENT = timedelta(seconds=0.5)
DEFAULT_SECONDS = {JOIN_SECONDS: "300", WAIT_SECONDS: "1800"}


def current() -> Processes:
    """The processes that this one works with: those of the `torch.distributed` group, which is joined if necessary.

    A process is one of several if the environment says so (`RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`, as set
    by torchrun), or if the program has initialised `torch.distributed` itself.

    Raises:
        InputError: If the environment is incomplete, no backend is there, or the others do not come in time.
    """
    if dist.is_available() and dist.is_initialized():
        if "cpu:" not in dist.get_backend_config():
            raise InputError(
                f"torch.distributed was initialised with {dist.get_backend_config()}, by which no CPU sends; "
                f"initialise it with 'cpu:gloo,cuda:nccl', or leave that to this library."
            )
        return Processes(dist.get_rank(), dist.get_world_size())
    size = _number("WORLD_SIZE", 1)
    if size <= 1:
        return ALONE
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise InputError(f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start the processes by torchrun.")
    if not dist.is_available() or not dist.is_gloo_available():
        raise InputError("This build of torch has no gloo backend, by which processes talk; install another build.")
    rank = _number("RANK", 0)
    if rank >= size:
        raise InputError(f"RANK is {rank} and WORLD_SIZE {size}; processes are counted from 0.")
    _join(rank, size)
    return Processes(dist.get_rank(), dist.get_world_size())


def is_heard() -> bool:
    """Whether this process speaks for all: the first one or, before they have found each other, that of a machine."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return os.environ.get("LOCAL_RANK", "0") == "0"


def local_rank() -> int:
    """Number of this process on its machine."""
    return _number("LOCAL_RANK", 0)


def restarted(processes: Processes) -> bool:
    """Whether torchrun has started this job again after a fault; not all machines count that."""
    return processes.any(_number("TORCHELASTIC_RESTART_COUNT", 0) > 0)


def _join(rank: int, size: int) -> None:
    limit, place = _seconds(JOIN_SECONDS), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    wait = timedelta(seconds=_seconds(WAIT_SECONDS))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        store, *_ = next(dist.rendezvous("env://", rank, size, timeout=timedelta(seconds=limit)))
        store = dist.PrefixStore("nextrec_like", store)
        store = dist.PrefixStore(_meet(store, rank, size, time.monotonic() + limit), store)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=max(limit, 1))
        )
        dist.distributed_c10d._set_pg_timeout(wait)
    except (RuntimeError, ValueError, OSError) as error:
        why = str(error).splitlines()[0]
        if not TOO_LATE.search(why):
            raise InputError(f"Process {rank} of {size} cannot join the others at {place}: {why}") from error
        raise InputError(
            f"Process {rank} of {size} has not found the others at {place} within {limit:g} seconds: is each of them "
            f"started, and is this address reachable from all machines? {JOIN_SECONDS} sets the limit. ({why})"
        ) from error
    atexit.register(_leave)


def _meet(store: "dist.Store", rank: int, size: int, end: float) -> str:
    """A name on which all processes agree, and no process before a restart has used.

    The store of torchrun outlives a restart, and machines count restarts differently: only living processes answer.
    """
    own = uuid4().hex
    if rank == 0:
        store.set("first", own)
        for other in range(1, size):
            while not _is_there(store, f"{own}/{other}", end):
                continue
            store.set(f"{own}/go/{store.get(f'{own}/{other}').decode()}", "")
        return own
    while True:
        if _is_there(store, "first", end):
            first = store.get("first").decode()  # perhaps of before a restart: then nobody answers
            store.set(f"{first}/{rank}", own)
            if _is_there(store, f"{first}/go/{own}", end):
                return first


def _is_there(store: "dist.Store", key: str, end: float) -> bool:
    """Waits for a key, but not for so long that a signal would have to wait; raises if time has run out."""
    try:
        store.wait([key], MOMENT)
        return True
    except dist.DistStoreError:
        if time.monotonic() > end:
            raise
        return False


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _seconds(name: str) -> float:
    text = os.environ.get(name, DEFAULT_SECONDS[name])
    try:
        return number_in(name, float(text), 0, MOST_SECONDS, above_low=True)
    except ValueError as error:
        raise InputError(f"{name} should be a number of seconds up to {MOST_SECONDS:,}. It is {text!r}.") from error


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"The environment variable {name} should be a whole number. It is {text!r}.")
    return int(text)
