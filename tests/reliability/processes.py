"""A training in a process of its own, which can be killed at any moment and leaves word of where it was."""

import gc
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from injection import Injection

from nextrec_like.training import trainer
from nextrec_like.training.checkpoint_folder import CheckpointFolder

LIMIT = 120.0
FORKED, STARTING, TRAINING, VALIDATION, ENDING, DONE = range(6)
PHASES = ("forked", "starting", "training", "validation", "ending", "done")


class Place(NamedTuple):
    """Where a process is.

    Attributes:
        phase: Index in `PHASES`.
        epochs: Epochs that are complete.
        steps: Steps of the next one.
        begun: Checkpoints that it began to write.
        written: Checkpoints that it has written.
    """

    phase: int
    epochs: int
    steps: int
    begun: int
    written: int

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return self.begun > self.written


class PlaceFile:
    """A `Place` in a file, each number of which is written at once, and which outlives the process that writes it."""

    NUMBERS = struct.Struct("<5q")

    def __init__(self, file: Path) -> None:
        self._number = os.open(file, os.O_RDWR | os.O_CREAT)

    def clear(self) -> None:
        """A place before everything."""
        os.pwrite(self._number, bytes(self.NUMBERS.size), 0)

    def read(self) -> Place:
        """The place."""
        return Place(*self.NUMBERS.unpack(os.pread(self._number, self.NUMBERS.size, 0)))

    def note(self, **values: int) -> None:
        """Changes some of the numbers."""
        for name, value in values.items():
            os.pwrite(self._number, struct.pack("<q", value), 8 * Place._fields.index(name))

    def close(self) -> None:
        """Closes the file."""
        os.close(self._number)


class Process(AbstractContextManager["Process"]):
    """A process that trains; it is forked from a server that has imported the library already.

    Args:
        work: A function of a module, which returns the exit status.
        arguments: Its arguments.
        folder: Where the files go with which it says where it is, and what it writes to its outputs.
        injection: What goes wrong in it, if anything.
        limit: Seconds after which it is taken for one that hangs.
    """

    def __init__(
        self,
        work: Callable[..., int],
        arguments: tuple[Any, ...],
        folder: Path,
        injection: Injection | None = None,
        limit: float = LIMIT,
    ) -> None:
        self._file, self._log, self._limit = PlaceFile(folder / "place"), folder / "log.txt", limit
        self._file.clear()
        self._process = _context().Process(
            target=_run, args=(work, arguments, folder, injection), daemon=True, name="training"
        )
        self._process.start()
        self.started = time.monotonic()

    @property
    def place(self) -> Place:
        """Where it is, or was when it ended."""
        return self._file.read()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def wait(self) -> int:
        """Waits for its end, and gives its exit status, negative after a signal.

        Raises:
            TimeoutError: If it does not end; it is killed.
        """
        self._process.join(self._limit)
        status = self._process.exitcode
        if status is None:
            raise TimeoutError(f"A training did not end within {self._limit} s. It wrote: {self.log[-1000:]}")
        return status

    def send(self, number: int) -> None:
        """Sends a signal; nothing happens if it has ended."""
        if self._process.is_alive():
            os.kill(self._process.pid or 0, number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._file.close()


def _context() -> Any:
    context = get_context("forkserver")
    context.set_forkserver_preload(["nextrec_like.cli", "pyarrow.dataset", "torch._dynamo"])
    return context


def _run(work: Callable[..., int], arguments: tuple[Any, ...], folder: Path, injection: Injection | None) -> None:
    gc.freeze()  # a collection that looks at all that the server has imported takes longer than such a training
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    torch.set_num_threads(1)
    place = PlaceFile(folder / "place")
    _note_places(place)
    if injection is not None:
        injection.install()
    place.note(phase=STARTING)
    status = work(*arguments)
    place.note(phase=DONE)
    sys.exit(status)


def _note_places(file: PlaceFile) -> None:
    """Has the trainings of this process say where they are."""
    fit, validate, call, write = trainer.Trainer.fit, trainer.Trainer._validate, trainer.Trainer._call, _write

    def noted_fit(self: trainer.Trainer) -> Any:
        file.note(phase=TRAINING)
        history = fit(self)
        file.note(phase=ENDING)
        return history

    def noted_validate(self: trainer.Trainer) -> Any:
        file.note(phase=VALIDATION)
        found = validate(self)
        file.note(phase=TRAINING)
        return found

    def noted_call(self: trainer.Trainer, hook: str) -> None:
        file.note(epochs=len(self.history.epochs), steps=self.totals.steps)
        call(self, hook)

    def noted_write(*arguments: Any) -> Path:
        file.note(begun=file.read().begun + 1)
        path = write(*arguments)
        file.note(written=file.read().written + 1)
        return path

    trainer.Trainer.fit, trainer.Trainer._validate = noted_fit, noted_validate  # type: ignore[method-assign]
    trainer.Trainer._call = noted_call  # type: ignore[method-assign]
    CheckpointFolder.write = noted_write  # type: ignore[method-assign]


_write = CheckpointFolder.write
