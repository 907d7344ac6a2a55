"""What a training costs: time and memory."""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = "5"
"""Of ``/proc/self/clear_refs``: the peak of resident memory starts from the present one; see proc(5)."""


@dataclass
class Meter:
    """Measures from its construction on.

    Attributes:
        device: Where the model is trained.
    """

    device: torch.device

    def __post_init__(self) -> None:
        """Starts the peaks anew."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif CLEAR_REFS.exists():
            CLEAR_REFS.write_text(RESET_PEAK)
        self.start = time.process_time()

    def cpu_seconds(self) -> float:
        """Processor time of all threads of the process."""
        return time.process_time() - self.start

    def peak_memory(self) -> int:
        """Peak bytes: allocated by torch on a GPU, resident of the process otherwise."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if STATUS.exists():
            line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
            return int(line.split()[1]) * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
