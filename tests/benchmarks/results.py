"""What all benchmarks share: rounds that alternate, memory, and results as JSON with the machine's description."""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy
import pyarrow
import torch

import nextrec_like

ROOT = Path(__file__).resolve().parents[2]
Answer = TypeVar("Answer")

FOLDER = ROOT / "docs" / "performance"
"""Where results go, and where docs/performance_page.py reads them."""


def parser_of(description: str) -> argparse.ArgumentParser:
    """A command line with the options that every benchmark has: ``--output`` and ``--threads``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON file")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    return parser


def write_results(
    name: str, settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]], output: Path = FOLDER
) -> Path:
    """Writes ``<output>/<name>.json``: what was measured, with which settings, on which machine.

    Args:
        name: The benchmark, which is the name of the file.
        settings: Sizes and options that hold for all results, JSON-ready.
        results: One mapping per measured thing, JSON-ready. A figure that was not measured is None, never a guess.
        output: Folder; made if it is not there.

    Returns:
        The file.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name}.json"
    content = {
        "name": name,
        "machine": machine(),
        "settings": dict(settings),
        "results": [dict(row) for row in results],
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written to {path}")
    return path


def machine() -> dict[str, Any]:
    """What the figures depend on besides the settings; memory in bytes."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory": memory_bytes(),
        "os": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pyarrow": pyarrow.__version__,
        "nextrec_like": nextrec_like.__version__,
        "commit": _commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """The function as one that returns the seconds it took."""

    def measured() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return measured


def synchronized(loop: Callable[[], None], device: str) -> Callable[[], None]:
    """The loop, and then a wait until the device has done it."""

    def run() -> None:
        loop()
        if device != "cpu":
            torch.cuda.synchronize()

    return run


def alternate(loops: Mapping[str, Callable[[], Answer]], rounds: int, warm_up: bool = True) -> dict[str, list[Answer]]:
    """Figures of several loops, run in turn, so that a slow phase of the machine hits all of them.

    Args:
        loops: Each runs once and returns its figure, such as its seconds; see `timed`.
        rounds: Rounds that count.
        warm_up: Whether there is one more round before them.

    Returns:
        The figures of each loop, in the order of the rounds.
    """
    figures: dict[str, list[Answer]] = {name: [] for name in loops}
    for _ in range(rounds + warm_up):
        for name, loop in loops.items():
            figures[name].append(loop())
    return {name: values[warm_up:] for name, values in figures.items()}


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(above, below))


def memory_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes, pages of mapped files included.

    From VmHWM where there is one, because ``ru_maxrss`` begins with the size of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """The commit of the working tree, with a plus sign if it has changes; None outside a repository."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
