"""The memory of a training does not grow with its steps: with checkpoints, validation and logging.

    python tests/reliability/memory_growth.py [--steps 10000]

Trainings with equal weights and PCGrad, in memory and streamed, each in a process of its own. Its resident set is noted
every ten steps; the median over the last tenth of the steps is compared with that over the tenth after the warm-up.
"""

import gc
import json
import os
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from processes import Process
from reporting import Workload, build_model, make_data, parser_of, write_results

from nextrec_like import Callback
from nextrec_like.training.trainer import Trainer

EPOCHS, BATCH_SIZE, EVERY = 10, 64, 10
WEIGHTINGS, SOURCES = ("equal", "pcgrad"), ("memory", "files")


@dataclass
class Meter(Callback):
    """Notes what the process holds: memory every few steps, and after each epoch tensors, threads and open files."""

    memory: list[int] = field(default_factory=list)
    held: list[tuple[int, int, int]] = field(default_factory=list)
    steps: int = 0

    def on_step_end(self, trainer: Trainer) -> None:
        """Notes the resident set, in bytes."""
        self.steps += 1
        if self.steps % EVERY == 0:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Notes how many tensors, threads and open files there are."""
        gc.collect()
        tensors = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
        self.held.append((tensors, threading.active_count(), len(os.listdir("/proc/self/fd"))))


def train(weighting: str, source: str, steps: int, folder: Path) -> int:
    """Trains, and writes what a `Meter` has noted to ``memory.json``.

    Args:
        weighting: Name of the weighting.
        source: ``memory`` or ``files``.
        steps: Steps of all epochs together.
        folder: Where the files go.

    Returns:
        The exit status.
    """
    rows = steps // EPOCHS * BATCH_SIZE
    workload, meter = Workload(rows, vocabulary=1000, num_ids=4, batch_size=BATCH_SIZE), Meter()
    pq.write_table(pa.table(make_data(workload)), folder / "train.parquet", row_group_size=rows // 10)
    valid = make_data(Workload(10 * BATCH_SIZE, vocabulary=1000, num_ids=4), seed=1)
    pq.write_table(pa.table(valid), folder / "valid.parquet")
    model = build_model(workload)
    model.compile(loss_weights=weighting)
    model.fit(
        folder / "train.parquet",
        folder / "valid.parquet",
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        streaming=source == "files",
        checkpoint_dir=folder / "checkpoints",
        checkpoint_params={"every_steps": 500},
        callbacks=[meter],
        device="cpu",
        verbose=0,
    )
    (folder / "memory.json").write_text(json.dumps({"memory": meter.memory, "held": meter.held}), encoding="utf-8")
    return 0


def measure(weighting: str, source: str, steps: int) -> dict[str, Any]:
    """Trains in a process of its own; the figures, JSON-ready, with memory in bytes."""
    with tempfile.TemporaryDirectory(prefix="memory-") as place:
        folder = Path(place)
        with Process(train, (weighting, source, steps, folder), folder, limit=3600) as process:
            assert process.wait() == 0, process.log
        found = json.loads((folder / "memory.json").read_text(encoding="utf-8"))
    tenth = len(found["memory"]) // 10
    first, last = (median(found["memory"][part]) for part in (slice(tenth, 2 * tenth), slice(-tenth, None)))
    return {
        "weighting": weighting,
        "rows": source,
        "steps": steps,
        "memory_first": first,
        "memory_last": last,
        "growth": last / first - 1,
        "held_first": _least(found["held"][1 : EPOCHS // 2]),
        "held_last": _least(found["held"][EPOCHS // 2 :]),
        "memory": found["memory"][:: max(1, tenth // 2)],
    }


def _least(held: list[list[int]]) -> list[int]:
    """Of each count the least: a checkpoint that is just being written holds tensors and files, too."""
    return [min(counts) for counts in zip(*held)]


def main() -> int:
    """Measures all, and writes what it found; 1 if the memory of any has grown by a hundredth."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="of each training")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    for weighting, source in product(WEIGHTINGS, SOURCES):
        rows.append(measure(weighting, source, arguments.steps))
        print("   ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    write_results("memory_growth", {"batch_size": BATCH_SIZE, "epochs": EPOCHS}, rows, arguments.output)
    return any(row["growth"] >= 0.01 for row in rows)


if __name__ == "__main__":
    sys.exit(main())
