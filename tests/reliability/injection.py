"""What can go wrong where checkpoints are written: at each write, flush, rename and removal."""

import errno
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

from nextrec_like.storage import atomic
from nextrec_like.training import checkpoint_folder

BEFORE, MIDDLE, AFTER = "killed before", "killed in the middle", "killed after"
KILLS = (BEFORE, MIDDLE, AFTER)
ERRORS = {"disk full": errno.ENOSPC, "disk broken": errno.EIO, "read-only": errno.EROFS}
HOWS = (*KILLS, *ERRORS)
DIVISIBLE = ("write", "remove")
"""Operations that have a middle."""


@dataclass
class Injection:
    """Counts the operations on a folder, notes them in a file, and has one of them go wrong.

    A full disk refuses all that is written from then on, a read-only one everything, and a broken one that operation.

    Args:
        folder: What happens within it counts.
        notes: File to which the operations are written, one per line.
        number: The operation that goes wrong, counted from 1; 0: none does.
        how: One of `HOWS`.
        seed: Draws where the middle of a file is.
    """

    folder: Path
    notes: Path
    number: int = 0
    how: str = BEFORE
    seed: int = 0
    count: int = 0

    def install(self) -> None:
        """Puts itself between the library and the system, in this process."""
        atomic.flush = self._watched("flush", atomic.flush)
        atomic.rename = self._watched("rename", atomic.rename)
        checkpoint_folder.write_tensors = self._watched("write", checkpoint_folder.write_tensors)
        Path.write_text = self._watched("write", Path.write_text)  # type: ignore[assignment, method-assign]
        Path.mkdir = self._watched("make", Path.mkdir)  # type: ignore[assignment, method-assign]
        shutil.rmtree = self._watched("remove", shutil.rmtree)  # type: ignore[assignment]
        self.folder = self.folder.resolve()

    def _watched(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def operate(path: Path, *arguments: Any, **options: Any) -> Any:
            inside = Path(path).absolute().is_relative_to(self.folder)
            if not inside or (kind == "remove" and not path.exists()):
                return function(path, *arguments, **options)
            try:
                return self._operate(kind, path, lambda: function(path, *arguments, **options))
            except OSError:
                if kind == "remove" and options.get("ignore_errors"):
                    return None
                raise

        return operate

    def _operate(self, kind: str, path: Path, do: Callable[[], Any]) -> Any:
        self.count += 1
        with self.notes.open("a", encoding="utf-8") as file:
            file.write(f"{kind} {re.sub(r'[.]([0-9]+)(?=/|$)', '', str(path.relative_to(self.folder)))}\n")
        if self._is_spared(kind):
            return do()
        if self.how == BEFORE:
            _die()
        if self.how != AFTER and kind in DIVISIBLE:
            self._leave_half(kind, path, do)
        if self.how in ERRORS:
            raise OSError(ERRORS[self.how], os.strerror(ERRORS[self.how]), str(path))
        if self.how == AFTER:
            do()
        _die()

    def _is_spared(self, kind: str) -> bool:
        if self.number == 0 or self.count < self.number:
            return True
        if self.count == self.number:
            return False
        return self.how == "disk broken" or (self.how == "disk full" and kind not in ("write", "make"))

    def _leave_half(self, kind: str, path: Path, do: Callable[[], Any]) -> None:
        draw = random.Random(self.seed)
        if kind == "write":
            do()
            os.truncate(path, draw.randrange(path.stat().st_size))
        elif path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.is_file())
            for file in draw.sample(files, draw.randint(1, len(files))) if files else ():
                file.unlink()


def _die() -> None:
    os.kill(os.getpid(), SIGKILL)
