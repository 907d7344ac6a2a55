"""A training whose checkpoints are interfered with, while they are written and afterwards."""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL

from injection import BEFORE, DIVISIBLE, ERRORS, HOWS, KILLS, MIDDLE, Injection
from processes import Place, Process
from trainings import CHECKPOINTS, KEEP_LAST, RESULT, Case, train, write_data

from nextrec_like.training.checkpoint_folder import LATEST, MANIFEST, STATE, TENSORS, CheckpointFolder

FILES = (TENSORS, STATE, MANIFEST)
USED = "The one before it is used."
POINTERS: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "pointing to nothing": b"epoch-0099",
    "pointing elsewhere": b"../epoch-0001",
    "not text": b"\xff\x00",
}


@dataclass(frozen=True)
class Faults:
    """A training whose checkpoints are interfered with.

    Args:
        case: The training.
        data: Its rows.
        folder: Where the files of all trainings go.
        expected: What the undisturbed one has come to.
        operations: What it did with the folder of its checkpoints, such as ``rename .LATEST``.
    """

    case: Case
    data: Path
    folder: Path
    expected: dict[str, str]
    operations: list[str]

    @classmethod
    def of(cls, case: Case, folder: Path) -> "Faults":
        """Trains without a fault."""
        write_data(folder / "data")
        faults = cls(case, folder / "data", folder, {}, [])
        place = faults._folder("undisturbed")
        status, log, _ = faults._train(place, Injection(place / CHECKPOINTS, place / "operations.txt"))
        assert status == 0, log
        faults.expected.update(json.loads((place / RESULT).read_text(encoding="utf-8")))
        faults.operations.extend((place / "operations.txt").read_text(encoding="utf-8").splitlines())
        return faults

    def ways(self, number: int) -> list[str]:
        """How an operation, counted from 1, can go wrong."""
        kind = self.operations[number - 1].split()[0]
        return [how for how in HOWS if how != MIDDLE or kind in DIVISIBLE]

    def inject(self, number: int, how: str, seed: int = 0) -> list[str]:
        """Has an operation go wrong, looks at the folder, and lets the training go on; what is wrong then."""
        place = self._folder(f"{number}-{how}")
        injection = Injection(place / CHECKPOINTS, place / "operations.txt", number, how, seed)
        status, log, where = self._train(place, injection)
        wrong = [*self._wrong_end(how, status, log, place), *self._wrong_checkpoint(place, where)]
        wrong += self._wrong_after(place)
        shutil.rmtree(place)
        return wrong

    def several(self) -> Path:
        """The folder of a training that was killed when it had several checkpoints."""
        number = max(index for index, each in enumerate(self.operations) if each.startswith("make .epoch"))
        place = self._folder("several")
        status, log, _ = self._train(place, Injection(place / CHECKPOINTS, place / "notes.txt", number + 1, BEFORE))
        assert status == -SIGKILL, log
        return place

    def damaged(self, place: Path) -> Iterator[tuple[str, list[str]]]:
        """Damages the newest of several checkpoints in many ways; for each what is wrong afterwards."""
        newest = CheckpointFolder(place / CHECKPOINTS, KEEP_LAST).found()[0].name
        for name, content in POINTERS.items():
            yield f"{LATEST} {name}", self._damage(place, LATEST, partial(_replace, content=content), "")
        for file in FILES:
            for how, change in CHANGES.items():
                yield f"{file} {how}", self._damage(place, f"{newest}/{file}", change, USED)

    def _damage(self, place: Path, name: str, change: Callable[[Path], None], said: str) -> list[str]:
        copy = self.folder / "damaged"
        shutil.copytree(place, copy)
        change(copy / CHECKPOINTS / name)
        wrong = self._wrong_after(copy, said)
        shutil.rmtree(copy)
        return wrong

    def _train(self, place: Path, injection: Injection | None = None) -> tuple[int, str, Place]:
        with Process(train, (self.case, self.data, place), place, injection) as process:
            return process.wait(), process.log, process.place

    def _wrong_end(self, how: str, status: int, log: str, place: Path) -> list[str]:
        if how in KILLS:
            return [] if status == -SIGKILL else [f"the killed process ended with status {status}: {log}"]
        errors = [line for line in log.splitlines() if line.startswith("error: ")]
        clear = [line for line in errors if str(place / CHECKPOINTS) in line and os.strerror(ERRORS[how]) in line]
        if (status, len(errors), len(clear)) != (2, 1, 1) or "Traceback" in log:
            return [f"status {status} and no clear error: {log}"]
        return []

    def _wrong_checkpoint(self, place: Path, where: Place) -> list[str]:
        """Whether the newest checkpoint is the last that was written, or the one that was being written."""
        names = [each.removeprefix("make .") for each in self.operations if each.startswith("make .epoch")]
        allowed = [name for at, name in enumerate(names) if at in (where.written - 1, where.written)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = CheckpointFolder(place / CHECKPOINTS, KEEP_LAST).read() if where.begun else None
            except Exception as error:
                return [f"the checkpoints cannot be read: {error!r}"]
        if found is None:
            return [f"there is no checkpoint, and {where.written} were written"] if where.written else []
        return [] if found[0].name in allowed else [f"the newest is {found[0].name}, and not one of {allowed}"]

    def _wrong_after(self, place: Path, said: str = "") -> list[str]:
        """Goes on: how the end differs from that of the undisturbed training."""
        status, log, _ = self._train(place)
        if status:
            return [f"it did not go on, but ended with status {status}: {log}"]
        found = json.loads((place / RESULT).read_text(encoding="utf-8"))
        wrong = [f"{name} differs" for name in self.expected if found.get(name) != self.expected[name]]
        wrong += [f"{path.name} is left behind" for path in place.rglob(".*") if path.name != ".lock"]
        return wrong if said in log else [*wrong, f"it does not say {said!r}: {log}"]

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder


def _replace(file: Path, content: bytes | None) -> None:
    file.unlink() if content is None else file.write_bytes(content)


def _truncate(file: Path) -> None:
    _replace(file, file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path, bit: int) -> None:
    """Turns over a bit of a file."""
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def unnoticed(folder: CheckpointFolder, name: str, bits: Iterable[int]) -> list[int]:
    """Turns over single bits of a file of the newest checkpoint: those with which the one before is not used."""
    newest, before = folder.found()[:2]
    file, found = newest / name, []
    content = file.read_bytes()
    for bit in bits:
        flip(file, bit)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            read = folder.read()
        if read is None or read[0] != before or len(said) != 1 or USED not in str(said[0].message):
            found.append(bit)
        file.write_bytes(content)
    return found


CHANGES: dict[str, Callable[[Path], None]] = {
    "truncated": _truncate,
    "with a bit flipped": lambda file: flip(file, 4 * file.stat().st_size),
    "empty": partial(_replace, content=b""),
    "missing": Path.unlink,
}
