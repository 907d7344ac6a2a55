"""Ctrl-C and SIGTERM wait for the end of a step."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nextrec_like.distributed import ALONE, Processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal has ended the training; the message says where its state is.

    Args:
        message: What is said to the user.
        number: Number of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    @classmethod
    def of(cls, interrupt: KeyboardInterrupt, more: str) -> "Interrupted":
        """The same with more to say."""
        return cls(f"{str(interrupt) or 'interrupted'}; {more}", getattr(interrupt, "number", signal.SIGINT))


class InterruptedAgain(Interrupted):
    """A second signal has ended the training, at a place where its state cannot be saved."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the context SIGTERM raises `Interrupted`, where Python allows handlers."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted("interrupted by SIGTERM", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupts:
    """Notes a signal instead of being interrupted by it, in the main thread, while `noted`.

    Args:
        processes: Those that end after the same step, whichever of them has got a signal.

    Attributes:
        number: Signal that has come; None if none has.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self.number: int | None = None
        self._processes, self._parent = processes, os.getppid()
        self._at_once = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Within the context a first signal is noted; a second one interrupts whatever is being done."""
        if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
            self.check()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the context already the first signal interrupts: nothing is half done.

        Of several processes each would be interrupted somewhere else, so they wait for the next `check`.
        """
        self.check()
        self._at_once = self._processes.size == 1
        try:
            yield
        finally:
            self._at_once = False

    def check(self) -> None:
        """Raises `Interrupted` if a signal has come, to any process, or what has started several of them has ended."""
        if self._processes.any(self.number is not None or self._is_left_alone()):
            self._end()

    def _is_left_alone(self) -> bool:
        return self._processes.size > 1 and os.getppid() != self._parent

    def _end(self) -> None:
        number = signal.SIGTERM if self.number is None else self.number
        by = "the end of the program that had started this process" if self._is_left_alone() else ""
        raise Interrupted(f"interrupted by {by or signal.Signals(number).name}", number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise InterruptedAgain(f"interrupted again by {signal.Signals(number).name}", number)
        self.number = number
        if self._at_once:
            self._end()
