"""Trainings of a comparison in several processes: one after the other, each in all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nextrec_like.comparison.running.work import Job, Outcome, Workspace
from nextrec_like.distributed import Processes


class Together:
    """Trains jobs in all processes at once. The first one decides what is trained, as it does with a `Pool`.

    Args:
        processes: The processes.
        workspace: The data of the comparison.
        runs: Where run folders go; the first process writes them.
    """

    jobs = 1

    def __init__(self, processes: Processes, workspace: Workspace, runs: Path) -> None:
        self.processes, self.workspace, self.runs = processes, workspace, runs
        self.threads = torch.get_num_threads()

    def __enter__(self) -> "Together":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:  # otherwise the others are at a training, and lose this process
            self._told(None)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Trains all jobs, and yields each as it ends; called in the first process."""
        for job in jobs:
            self._told(asdict(job))
            yield job, self.workspace.train(job, self.runs)

    def follow(self) -> None:
        """Trains what the first process trains, in each of the others, until it has no more."""
        while (job := self._told(None)) is not None:
            self.workspace.train(Job(**job), self.runs)

    def _told(self, job: dict[str, Any] | None) -> dict[str, Any] | None:
        """The job of the first process, in all."""
        return self.processes.gather(job)[0]
