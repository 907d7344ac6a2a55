"""Processes that stand ready to run functions together, so that not every test has to start some."""

import faulthandler
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

LIMIT = 60.0
"""Seconds that a function may take in all processes; then they are killed."""


@contextmanager
def limited() -> Iterator[None]:
    """Within the context, a test that hangs ends the whole run after a while, with the stacks of all threads."""
    faulthandler.dump_traceback_later(4 * LIMIT, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Pool:
    """So many processes in one group, which run one function at a time; they are started again after a fault."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._workers: list[tuple[Any, Connection]] = []

    def run(self, function: Callable[..., Any], *args: Any, limit: float = LIMIT, **kwargs: Any) -> list[Any]:
        """What the function returns in each process; it has to be importable, as its module is not sent."""
        if not self._workers:
            self._start()
        for _, pipe in self._workers:
            pipe.send((function, args, kwargs))
        results, failed = [], []
        for rank, (_, pipe) in enumerate(self._workers):
            if not wait([pipe], limit):
                self.stop()
                raise TimeoutError(f"{function.__name__} took more than {limit:g} seconds in process {rank}")
            ok, value = pipe.recv()
            (results if ok else failed).append(value if ok else f"process {rank}: {value}")
        if failed:
            self.stop()  # the others may be anywhere
            raise AssertionError("\n".join(failed))
        return results

    def stop(self) -> None:
        """Ends the processes."""
        for process, _ in self._workers:
            process.kill()
            process.join()
        self._workers.clear()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        port = free_port()
        for rank in range(self.size):
            pipe, other = context.Pipe()
            process = context.Process(target=_serve, args=(other, rank, self.size, port), daemon=True)
            process.start()
            self._workers.append((process, pipe))


def free_port() -> int:
    """A port that no program uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _serve(pipe: Connection, rank: int, size: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(size),
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        NEXTREC_LIKE_WAIT_SECONDS="30",
    )
    torch.set_num_threads(1)
    while True:
        function, args, kwargs = pipe.recv()
        try:
            pipe.send((True, function(*args, **kwargs)))
        except BaseException:  # whatever it is, the test shows it
            pipe.send((False, traceback.format_exc()))
