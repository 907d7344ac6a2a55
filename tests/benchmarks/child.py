"""A benchmark's child process that trains an epoch each time it is told to, and says in JSON what it took.

Needs the standard library and nothing else, because the environments of the peers import it too.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
PIPE = "BENCHMARK_ANSWERS"
"""Environment variable with the number of the open file that answers go to. Standard output is for the program."""


class ChildError(RuntimeError):
    """The child process ended before it answered."""


class Child(AbstractContextManager["Child"]):
    """A process that waits, without using a processor, until `epoch` is called.

    Args:
        command: What to run: a program that calls `serve`.
        threads: Threads of its numeric libraries.

    It starts at once and gets ready beside others; `hello` and `epoch` wait for it. If it ends before it answers, they
    raise a `ChildError` with the end of what it wrote.
    """

    def __init__(self, command: Sequence[str | Path], threads: int) -> None:
        reading, writing = os.pipe()
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        threads_of = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        with ExitStack() as stack:
            self.answers = stack.enter_context(os.fdopen(reading, encoding="utf-8"))
            self.log = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                text=True,
                env={**os.environ, **threads_of, "PYTHONPATH": path, PIPE: str(writing)},
            )
            stack.callback(self._end)
            os.close(writing)
            self._stack = stack.pop_all()

    @cached_property
    def hello(self) -> dict[str, Any]:
        """What the child says when it is ready."""
        return self._answer()

    def epoch(self) -> dict[str, Any]:
        """One epoch, and what the child says of it."""
        assert self.hello is not None
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the answer that is then missing says why
            print(file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._stack.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        try:
            self.process.communicate(timeout=30)  # the end of its input ends it, and it removes its temporary files
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            status = self.process.wait()
            self.log.seek(0)
            last = "".join(self.log.readlines()[-15:]).strip()
            raise ChildError(f"A child process ended with status {status} before it answered. It wrote: {last}")
        return json.loads(line)


def serve(hello: Mapping[str, Any], epoch: Callable[[], Mapping[str, Any]]) -> None:
    """The child's side: says hello, then trains an epoch for each line on standard input and answers with a line."""
    with os.fdopen(int(os.environ[PIPE]), "w", encoding="utf-8") as answers:
        print(json.dumps(dict(hello)), file=answers, flush=True)
        for _ in sys.stdin:
            print(json.dumps(dict(epoch())), file=answers, flush=True)
