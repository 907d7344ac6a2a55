"""One task at a time beside the training."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

NICENESS = 10
"""Of the thread, in the words of Unix: it gets what the training leaves of the processors."""


class Background:
    """A thread that does one task at a time; a task that fails raises its error at the next call."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nextrec_like-checkpoint", initializer=_give_way)
        self._task: Future[object] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the last task still runs."""
        if self._task is not None and self._task.done():
            self.wait()
        return self._task is not None

    def start(self, task: Callable[[], object]) -> None:
        """Starts a task, after the one before."""
        self.wait()
        self._task = self._pool.submit(task)

    def wait(self) -> None:
        """Waits for the last task."""
        task, self._task = self._task, None
        if task is not None:
            task.result()

    def __enter__(self) -> "Background":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._pool.shutdown()


def _give_way() -> None:
    """Lets other threads go first, where threads have priorities of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
