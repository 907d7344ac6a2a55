"""Processes that train, of which one may die without harm to the others."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from nextrec_like.comparison.identity import data_fingerprint
from nextrec_like.comparison.running.work import Job, Outcome, Workspace
from nextrec_like.config import Config, read_data
from nextrec_like.distributed import ALONE
from nextrec_like.errors import InputError


@dataclass(frozen=True)
class Site:
    """What a process is given at its start.

    Attributes:
        config: A configuration with the data of the comparison, as plain data.
        fingerprint: Of these data.
        runs: Where run folders go.
        threads: Number of threads for torch.
        gpu: The only GPU that it sees; None for all.
    """

    config: dict[str, Any]
    fingerprint: str
    runs: Path
    threads: int
    gpu: str | None


@dataclass
class Worker:
    """A process that trains.

    Attributes:
        process: The process.
        connection: To it.
        job: What it is at; None if it waits.
    """

    process: BaseProcess
    connection: Connection
    job: Job | None = None

    def give(self, job: Job) -> None:
        """Sends it a job."""
        self.job = job
        self.connection.send(job)

    def answer(self) -> Outcome:
        """How its job ended, which must be known by now: by an answer, or by the end of the process."""
        assert self.job is not None
        try:
            outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            outcome = Outcome(self.job.key, f"its process ended with {_cause(self.process.exitcode)}")
        assert isinstance(outcome, Outcome)
        return outcome

    def stop(self) -> None:
        """Ends the process."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


class Pool:
    """Trains jobs in several processes, which wait for more until it is closed.

    Args:
        config: A configuration with the data of the comparison, as plain data.
        fingerprint: Of these data.
        runs: Where run folders go.
        jobs: Number of processes; None: one per GPU, or else per processor, at most four.
    """

    processes = ALONE  # that train one model

    def __init__(self, config: dict[str, Any], fingerprint: str, runs: Path, jobs: int | None) -> None:
        gpus = visible_gpus() if config["training"]["device"] == "auto" else []
        self.jobs = jobs or len(gpus) or min(4, processors())
        self.threads = max(1, processors() // self.jobs)
        self.sites = [
            Site(config, fingerprint, runs, self.threads, gpus[index % len(gpus)] if gpus else None)
            for index in range(self.jobs)
        ]
        self.workers: dict[int, Worker] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers.values():
            worker.stop()
        self.workers.clear()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Trains all jobs, and yields each as it ends."""
        waiting = list(reversed(jobs))
        busy: dict[Connection, int] = {}
        while waiting or busy:
            for slot in set(range(self.jobs)) - set(busy.values()):
                if waiting:
                    worker = self._worker(slot)
                    worker.give(waiting.pop())
                    busy[worker.connection] = slot
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = self.workers[busy.pop(connection)]
                assert worker.job is not None
                yield worker.job, worker.answer()

    def _worker(self, slot: int) -> Worker:
        """The process of a slot: the one that waits there, or a new one in the place of one that has died."""
        worker = self.workers.get(slot)
        if worker is None or not worker.process.is_alive():
            worker = self.workers[slot] = self._start(self.sites[slot])
        return worker

    def _start(self, site: Site) -> Worker:
        context = get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(site, there), daemon=True)
        with _without_main():
            process.start()
        there.close()
        return Worker(process, here)


def serve(site: Site, connection: Connection) -> None:
    """What a process does: it trains one job after the other until no more come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    if site.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = site.gpu
    torch.set_num_threads(site.threads)
    workspace: Workspace | InputError | None = None
    with suppress(EOFError, BrokenPipeError):  # the process that started this one is gone
        while True:
            job = connection.recv()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                workspace = workspace or open_workspace(site)
            if isinstance(workspace, InputError):
                outcome = Outcome(job.key, str(workspace))
            else:
                outcome = workspace.train(job, site.runs)
            said = dict.fromkeys(str(each.message) for each in caught)
            connection.send(replace(outcome, warnings=(*said, *outcome.warnings)))


def open_workspace(site: Site) -> Workspace | InputError:
    """The data of the comparison, or what is wrong with them."""
    try:
        config = Config.model_validate(site.config)
        tables = read_data(config)
        if data_fingerprint(tables) != site.fingerprint:
            raise InputError("the data changed while the comparison ran; run it again")
        return Workspace(config, tables)
    except InputError as error:
        return error


def end_with(parent: int) -> None:
    """Ends this process soon after its parent, which may have been killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return named[:count] if len(named) >= count and named[0] else [str(index) for index in range(count)]


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _without_main() -> Iterator[None]:
    """Within the context a new process does not import the user's script, which would compare again in each of them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"signal {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    return f"exit status {code}"
