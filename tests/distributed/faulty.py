"""A command of which one process fails before a step, but not again: `python faulty.py FAULT RANK STEP ARGUMENTS`."""

import os
import signal
import sys

from nextrec_like import InputError
from nextrec_like.cli import main
from nextrec_like.training.trainer import Trainer


def killed():
    """As when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def refused():
    """As when a file is damaged that the others do not read."""
    raise InputError("File `part.parquet` is damaged.")


def failing(step, fault, rank, number):
    """The method `Trainer._step` with a fault before the step with this number in one process."""
    count = 0

    def run(self, *args):
        nonlocal count
        count += 1
        if count == number and self.processes.rank == rank and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            fault()
        return step(self, *args)

    return run


if __name__ == "__main__":
    fault, rank, number, *arguments = sys.argv[1:]
    Trainer._step = failing(Trainer._step, globals()[fault], int(rank), int(number))
    sys.exit(main(arguments))
