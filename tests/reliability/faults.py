"""Whatever goes wrong while a checkpoint is written, the newest complete one can be read, and the training goes on.

    python tests/reliability/faults.py [--seed 0]

A first training shows all writes, flushes, renames and removals of its checkpoints. Then each of them goes wrong in
each way, in a training of its own: the process is killed before, in the middle of, and after it, or the disk is full,
broken or read-only. Besides, the newest checkpoint is damaged. Exit status 1 if anything was lost.
"""

import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interference import FILES, Faults, unnoticed
from reporting import parser_of, write_results
from trainings import CHECKPOINTS, KEEP_LAST, Case

from nextrec_like.training.checkpoint_folder import MANIFEST, CheckpointFolder

CASE = Case("moco", "lazy_adam", every_steps=16, epochs=2)
BITS = 300
"""Bits that are turned over in a file; all in the manifest."""


@dataclass
class Tally:
    """Counts what was tried and what was survived, and keeps and prints what was wrong."""

    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    survived: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, operation: str, how: str, label: str, wrong: list[str]) -> None:
        """Counts a case."""
        self.cases[operation, how] += 1
        self.survived[operation, how] += not wrong
        for each in wrong:
            self.faults.append(f"{label}: {each}")
            print(f"FAULT {self.faults[-1]}", flush=True)

    def rows(self) -> list[dict[str, Any]]:
        """The figures, JSON-ready."""
        return [
            {"operation": operation, "how": how, "cases": cases, "survived": self.survived[operation, how]}
            for (operation, how), cases in self.cases.items()
        ]


def while_writing(trainings: Faults, draw: random.Random, tally: Tally) -> None:
    """Has each operation go wrong in each way."""
    for number, operation in enumerate(trainings.operations, start=1):
        for how in trainings.ways(number):
            wrong = trainings.inject(number, how, draw.getrandbits(32))
            tally.add(operation.split()[0], how, f"{how} operation {number}, {operation}", wrong)
        print(f"{number} of {len(trainings.operations)}: {operation}", flush=True)


def afterwards(trainings: Faults, draw: random.Random, tally: Tally) -> None:
    """Damages checkpoints that are complete."""
    several = trainings.several()
    for what, wrong in trainings.damaged(several):
        tally.add("damage afterwards", what.split()[0], what, wrong)
    checkpoints = CheckpointFolder(several / CHECKPOINTS, KEEP_LAST)
    for name in FILES:
        size = 8 * (checkpoints.found()[0] / name).stat().st_size
        for bit in range(size) if name == MANIFEST else draw.sample(range(size), BITS):
            wrong = [f"bit {each} is not noticed" for each in unnoticed(checkpoints, name, [bit])]
            tally.add("any bit flipped", name, name, wrong)


def main() -> int:
    """Runs all, and writes what it found."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of where files are cut")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    draw, tally = random.Random(arguments.seed), Tally()
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        trainings = Faults.of(CASE, Path(place))
        while_writing(trainings, draw, tally)
        afterwards(trainings, draw, tally)
    for row in tally.rows():
        print("   ".join(f"{name} {value}" for name, value in row.items()))
    settings = {"operations": len(trainings.operations), "seed": arguments.seed, "faults": tally.faults}
    write_results("faults", settings, tally.rows(), arguments.output)
    return bool(tally.faults)


if __name__ == "__main__":
    sys.exit(main())
