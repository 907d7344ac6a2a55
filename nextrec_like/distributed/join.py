"""Joining the group of processes that torchrun, Slurm or Kubernetes has started."""

import atexit
import os
from datetime import timedelta

import torch
import torch.distributed as dist

from nextrec_like.distributed.processes import ALONE, Processes
from nextrec_like.errors import InputError, number_in

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables of the environment by which processes find each other."""
JOIN_SECONDS, WAIT_SECONDS = "NEXTREC_LIKE_JOIN_SECONDS", "NEXTREC_LIKE_WAIT_SECONDS"
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
    if size == 1:
        return ALONE
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise InputError(f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start the processes by torchrun.")
    if not dist.is_available() or not dist.is_gloo_available():
        raise InputError("This build of torch has no gloo backend, by which processes talk; install another build.")
    _join(_number("RANK", 0), size)
    return Processes(dist.get_rank(), dist.get_world_size())


def is_heard() -> bool:
    """Whether this process speaks for all: the first one or, before they have found each other, that of a machine."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return os.environ.get("LOCAL_RANK", "0") == "0"


def local_rank() -> int:
    """Number of this process on its machine."""
    return _number("LOCAL_RANK", 0)


def restarts() -> int:
    """How often torchrun has started this job again after a fault."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def _join(rank: int, size: int) -> None:
    limit, place = _seconds(JOIN_SECONDS), f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    wait = timedelta(seconds=_seconds(WAIT_SECONDS))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        store, *_ = next(dist.rendezvous("env://", rank, size, timeout=timedelta(seconds=limit)))
        # The store of torchrun outlives a restart; what the processes before it have left there must not be found.
        store = dist.PrefixStore(f"nextrec_like/{restarts()}", store)
        own, *others = [str(each % size) for each in range(rank, rank + size)]
        store.set(own, "here")
        store.wait(others, timedelta(seconds=limit))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"Process {rank} of {size} has not found the others at {place} within {limit:g} seconds: is each of them "
            f"started, and is this address reachable from all machines? {JOIN_SECONDS} sets the limit. "
            f"({str(error).splitlines()[0]})"
        ) from error
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _seconds(name: str) -> float:
    text = os.environ.get(name, DEFAULT_SECONDS[name])
    try:
        return number_in(name, float(text), above_low=True)
    except ValueError as error:
        raise InputError(f"{name} should be a positive number of seconds. It is {text!r}.") from error


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"The environment variable {name} should be a whole number. It is {text!r}.")
    return int(text)
