"""Trainings that are killed at random moments, and started again until they end, end as if nothing had happened.

    python tests/reliability/kills.py [--kills 200] [--seed 0]

Each weighting is combined with dense and lazy tables, in memory and streamed. Further kills go through ``nextrec-like
train --resume``, and besides there are SIGTERM and SIGINT. Exit status 1 if any training ended otherwise.
"""

import os
import random
import sys
import tempfile
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any

from command_trainings import train_by_command
from courses import Course, Work
from reporting import parser_of, write_results
from trainings import Case, all_cases, train, write_data

COMMAND_CASES = (Case("grad_norm", "dense", "memory"), Case("uncertainty", "lazy_adam", "cache"))


def run(case: Case, work: Work, data: Path, folder: Path, kills: int, signals: int, seed: int) -> dict[str, Any]:
    """Kills a training; see `Course.row`."""
    course = Course(case, work, data, folder, random.Random(f"{case} {seed}"))
    course.undisturbed()
    if work is train and not course.same_without_checkpoints():
        course.faults.append(f"{case}: without checkpoints it ends otherwise")
    numbers = [SIGKILL] * kills + [(SIGTERM, SIGINT)[each % 2] for each in range(signals)]
    course.draw.shuffle(numbers)
    course.survive(numbers)
    return course.row()


def main() -> int:
    """Runs all, and writes what it found."""
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of trainings by `fit`; a tenth more by the command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cases, rows = all_cases(), []
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        data = Path(place) / "data"
        write_data(data)
        jobs = [(case, train, len(cases)) for case in cases]
        jobs += [(case, train_by_command, 10 * len(COMMAND_CASES)) for case in COMMAND_CASES]
        for number, (case, work, share) in enumerate(jobs):
            kills = -(-arguments.kills // share)
            row = run(case, work, data, Path(place) / str(number), kills, -(-kills // 5), arguments.seed)
            rows.append(row)
            print("   ".join(f"{name} {value}" for name, value in row.items() if value != []), flush=True)
            print("".join(f"FAULT {fault}\n" for fault in row["faults"]), end="", flush=True)
    write_results("kills", {"seed": arguments.seed}, rows, arguments.output)
    return any(row["faults"] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
