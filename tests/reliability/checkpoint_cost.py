"""What a checkpoint every 30 s costs a training with 100 MB of state: time, and steps that wait.

    python tests/reliability/checkpoint_cost.py

The same epoch is trained with and without checkpoints, in turn. Time is that of the whole call of `fit`, with the last
checkpoint at its end; a gap is the time from the end of a step to that of the next. Run on an idle machine.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from reporting import Columns, Workload, alternate, build_model, make_data, median_ratio, parser_of, write_results

from nextrec_like import Callback
from nextrec_like.training.checkpoint import Checkpoint
from nextrec_like.training.trainer import Trainer

AFTER = 5.0
"""Seconds after a checkpoint was begun in which a slow step is put down to it."""


class Clock(Callback):
    """Notes when each step ends, and when a checkpoint is begun."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.saves: list[float] = []

    def on_step_end(self, trainer: Trainer) -> None:
        """Notes the time."""
        self.times.append(time.perf_counter())

    def begin(self, start: Any) -> Any:
        """`Checkpoint._start`, noting the time."""

        def noted(checkpoint: Checkpoint, trainer: Trainer) -> None:
            self.saves.append(time.perf_counter())
            start(checkpoint, trainer)

        return noted


def epoch(workload: Workload, data: Columns, seconds: float | None) -> dict[str, Any]:
    """Trains an epoch.

    Args:
        workload: Sizes.
        data: Its rows.
        seconds: From checkpoint to checkpoint; None: none are made.

    Returns:
        Seconds of `fit`, gaps between steps, for each checkpoint within the epoch the gaps from there on for a while,
        and bytes of the last one.
    """
    model, clock, start = build_model(workload), Clock(), Checkpoint._start
    model.compile(optimizer_params={"lr": 1e-3})
    Checkpoint._start = clock.begin(start)  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory(prefix="checkpoints-") as folder:
            options = {"checkpoint_dir": folder, "checkpoint_params": {"every_seconds": seconds}} if seconds else {}
            begin = time.perf_counter()
            model.fit(data, batch_size=workload.batch_size, device="cpu", callbacks=[clock], verbose=0, **options)
            taken = time.perf_counter() - begin
            newest = max(Path(folder).glob("epoch-*"), default=None)
            size = sum(file.stat().st_size for file in newest.iterdir()) if newest else 0
    finally:
        Checkpoint._start = start  # type: ignore[method-assign]
    times = np.array(clock.times)
    gaps, inner = np.diff(times), [save for save in clock.saves if save < times[-1]]
    around = [gaps[(times[1:] > save) & (times[1:] < save + AFTER)].tolist() for save in inner]
    return {"seconds": taken, "gaps": gaps, "around": around, "bytes": size}


def figures(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The figures of the epochs without and with checkpoints, JSON-ready."""
    without, saved = found["without"], found["with"]
    longest = max(float(each["gaps"].max()) for each in without)
    around = [gaps for each in saved for gaps in each["around"]]
    seconds = {name: [each["seconds"] for each in epochs] for name, epochs in found.items()}
    return [
        {
            "state_bytes": saved[-1]["bytes"],
            "checkpoints": len(around),
            "seconds_without": seconds["without"],
            "seconds_with": seconds["with"],
            "cost": median_ratio(seconds["with"], seconds["without"]) - 1,
            "held": sum(gaps[0] - median(gaps) for gaps in around if gaps) / sum(seconds["with"]),
            "median_gap": float(np.median(np.concatenate([each["gaps"] for each in without]))),
            "longest_gap_without": longest,
            "longest_gap_with": max(float(each["gaps"].max()) for each in saved),
            "gaps_at_checkpoints": [gaps[:3] for gaps in around],
            "most_blocked": max((sum(gap > longest for gap in gaps) for gaps in around), default=0),
        }
    ]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=1_500_000, help="of an epoch, which should take minutes")
    parser.add_argument("--vocabulary", type=int, default=260_000, help="rows of each of the two tables")
    parser.add_argument("--seconds", type=float, default=30.0, help="from checkpoint to checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    return parser.parse_args()


def main() -> int:
    """Trains in turn, and writes what it found; 1 if a target is missed."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    workload = Workload(arguments.rows, arguments.vocabulary, num_ids=2, expert_dims=(512, 256))
    data = make_data(workload)
    loops = {
        "without": partial(epoch, workload, data, None),
        "with": partial(epoch, workload, data, arguments.seconds),
    }
    (row,) = rows = figures(alternate(loops, arguments.rounds, warm_up=False))
    for name, value in row.items():
        print(f"{name}: {value}")
    settings = asdict(workload) | {"rounds": arguments.rounds, "seconds": arguments.seconds}
    write_results("checkpoint_cost", settings, rows, arguments.output)
    return row["cost"] >= 0.02 or row["most_blocked"] > 1


if __name__ == "__main__":
    sys.exit(main())
