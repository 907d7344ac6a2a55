"""How much memory there is."""

import os
from pathlib import Path

import torch


def available_memory() -> int:
    """Bytes that can be allocated without swapping, within the limit of a container where there is one."""
    known = _lines("/proc/meminfo").get("MemAvailable:", "").removesuffix(" kB")
    free = int(known) * 1024 if known else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    limit, used = (_number(f"/sys/fs/cgroup/memory.{what}") for what in ("max", "current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def memory_of_process() -> int:
    """What each process on this machine may take of it, where torchrun has started several."""
    return available_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that are free, or that torch holds without using them."""
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _lines(file: str) -> dict[str, str]:
    """The rest of each line by its first word; nothing without the file, as on other systems than Linux."""
    try:
        lines = Path(file).read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines if " " in line}


def _number(file: str) -> int | None:
    try:
        return int(Path(file).read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" where there is no limit
        return None
