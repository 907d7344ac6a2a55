"""Which device to use."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nextrec_like.distributed.join import local_rank
from nextrec_like.errors import InputError

NO_MEMORY = re.compile("CPUAllocator|Storage size calculation overflowed")
"""Words of torch for want of memory outside of a GPU, for which it has no class of errors."""


def resolve_device(device: str | torch.device) -> torch.device:
    """The device for `fit`, `evaluate` and `predict`.

    Args:
        device: ``auto`` (the GPU if there is one), or a torch device such as ``cpu`` or ``cuda:1``; of several
            processes on a machine each has the GPU of its number.

    Raises:
        InputError: For a device that does not exist here; there is no silent fallback.
    """
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"`device` should be 'auto', 'cpu', 'cuda' or 'cuda:N'. Received {device!r}.") from error
    if resolved.type == "cuda" and resolved.index is None and (rank := local_rank()):
        resolved = torch.device("cuda", rank)  # each process of a machine has its own
    if resolved.type not in ("cpu", "cuda"):
        raise InputError(f"`device` is '{resolved}'; nextrec_like is tested on 'cpu' and 'cuda' only, use one of them.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        if resolved.index == local_rank() > 0:
            raise InputError(
                f"Process {local_rank()} of this machine has no GPU of its own: torch sees {torch.cuda.device_count()} "
                f"here. Start at most as many processes as there are GPUs, or use `device` 'cpu'."
            )
        raise InputError(
            f"`device` is '{resolved}', but torch sees {torch.cuda.device_count()} CUDA devices here; use 'cpu' or "
            f"'auto', or install a CUDA build of torch."
        )
    return resolved


@contextmanager
def enough_memory(device: torch.device, doing: str, fix: str) -> Iterator[None]:
    """Within the context, a device that runs out of memory is a clear error.

    Args:
        device: The device.
        doing: What it runs out of memory at.
        fix: What the user can do.

    Raises:
        InputError: With all three.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not NO_MEMORY.search(str(error)):
            raise
        raise InputError(f"Device '{device}' is out of memory at {doing}: {fix}.") from error
