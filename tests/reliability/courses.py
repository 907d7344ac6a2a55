"""A training that is killed and started again until it ends by itself, many times over."""

import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from injection import KILLS, Injection
from processes import DONE, ENDING, FORKED, PHASES, STARTING, Place, Process
from trainings import BATCH_SIZE, CHECKPOINTS, RESULT, ROWS, Case, train

from nextrec_like.training.checkpoint_folder import Position

MOMENTS = ("any", "write", "validation", "ending")
SHARES = (5, 3, 1, 1)
"""Of the kills: at any time, at an operation of writing a checkpoint, and in a phase that is too short to be hit."""
SHORT = 0.005
"""Seconds after the begin of such a phase in which the kill comes."""
OWN = (CHECKPOINTS, "runs")
"""Folders that only one training at a time uses, so that it can remove what those before it have left."""
Work = Callable[[Case, Path, Path], int]


@dataclass(frozen=True)
class Blow:
    """A signal that hit a training, where, and whether that was before there was a checkpoint."""

    number: int
    place: Place
    before_first: bool


@dataclass
class Course:
    """A training that is killed and started again until it ends by itself, many times over.

    Args:
        case: The training.
        work: What trains: `train` or `train_by_command`.
        data: Its rows.
        folder: Where its files go.
        draw: Draws moments and signals.

    Attributes:
        expected: What the undisturbed training has come to.
        seconds: How long it took.
        operations: What it did with files.
        blows: Signals that have hit.
        faults: What was wrong, of each training that ended otherwise.
        lost: Kills in these.
        ends: Trainings that have ended.
    """

    case: Case
    work: Work
    data: Path
    folder: Path
    draw: random.Random
    expected: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    operations: int = 0
    blows: list[Blow] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    ends: int = 0

    def undisturbed(self) -> None:
        """Trains once without a blow, for what the others have to come to, and how long they take."""
        folder = self._folder("undisturbed")
        notes = folder / "operations.txt"
        with Process(self.work, (self.case, self.data, folder), folder, Injection(folder, notes)) as process:
            assert process.wait() == 0, process.log
            self.seconds = time.monotonic() - process.started
        self.expected = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        self.operations = len(notes.read_text(encoding="utf-8").splitlines())

    def same_without_checkpoints(self) -> bool:
        """Whether a training that makes no checkpoints at all comes to the same."""
        folder = self._folder("unsaved")
        with Process(self.work, (replace(self.case, checkpoints=False), self.data, folder), folder) as process:
            assert process.wait() == 0, process.log
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return found.items() <= self.expected.items()

    def survive(self, numbers: Sequence[int]) -> None:
        """Trains in new folders until all these signals have hit and the last training has ended, or one went wrong."""
        left = list(numbers)
        while left:
            folder, first = self._folder(f"{self.ends}"), len(self.blows)
            while (fault := self._start(folder, left)) is None:
                pass
            self.ends += 1
            if fault:
                self.faults.append(f"{self.case}: {fault}")
                self.lost += sum(blow.number == signal.SIGKILL for blow in self.blows[first:])
                return

    def _start(self, folder: Path, left: list[int]) -> str | None:
        """Starts the training once; None if a blow ended it, otherwise what is wrong with its end: nothing if empty."""
        moment = self.draw.choices(MOMENTS, SHARES)[0] if left and left[0] == signal.SIGKILL else "any"
        injection = self._injection(folder) if moment == "write" else None
        with Process(self.work, (self.case, self.data, folder), folder, injection) as process:
            before = self._strike(process, moment, left[0]) if left and injection is None else process.place
            try:
                status = process.wait()
            except TimeoutError as error:
                return str(error)
            place, log = process.place, process.log
        if status == 0:
            return self._wrong(folder)
        if not left or (left[0] == signal.SIGKILL) != (status == -signal.SIGKILL):
            return f"it ended with status {status} and wrote: {log[-1000:]}"
        number = left.pop(0)
        self.blows.append(Blow(number, place, not _has_checkpoint(folder)))
        return None if number == signal.SIGKILL else self._wrong_leave(number, status, before, place, log)

    def _injection(self, folder: Path) -> Injection:
        number = int(self.operations ** self.draw.random())
        return Injection(folder, folder / "operations.txt", number, self.draw.choice(KILLS), self.draw.getrandbits(32))

    def _strike(self, process: Process, moment: str, number: int) -> Place:
        """Waits for the moment and sends the signal; the place just before."""
        at = process.started + self.seconds * 50 ** (self.draw.random() - 1)
        while process.is_alive and time.monotonic() < at:
            time.sleep(0.0005)
        if number != signal.SIGKILL:  # nothing is said of a signal before the training is called
            _wait(process, lambda phase: phase != FORKED)
        elif moment != "any":
            _wait(process, lambda phase: PHASES[phase] == moment)
            time.sleep(self.draw.uniform(0, SHORT))
        place = process.place
        process.send(number)
        return place

    def _wrong(self, folder: Path) -> str:
        """How the end of a training differs from that of the undisturbed one."""
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        differ = [name for name in self.expected if found.get(name) != self.expected[name]]
        own = [path for name in OWN for path in (folder / name).rglob(".*")]
        left = [path.name for path in own if path.name != ".lock"]
        return "; ".join([*(f"{name} differs" for name in differ), *(f"{name} is left behind" for name in left)])

    def _wrong_leave(self, number: int, status: int, before: Place, place: Place, log: str) -> str | None:
        """What is wrong with how a training ended that was asked to; None if nothing is."""
        if place.phase == DONE or (place.phase in (STARTING, ENDING) and status in (-number, 128 + number)):
            return None
        if status != 128 + number:
            return f"status {status} after signal {number}; it wrote: {log[-1000:]}"
        said = re.search(r"the last state is saved in '(.+?)'", log)
        if said is None or Path(said[1]).name != Position(place.epochs, place.steps).name or not Path(said[1]).exists():
            return f"after signal {number} at {place} it wrote: {log[-1000:]}"
        steps = ROWS // BATCH_SIZE
        more = (place.epochs - before.epochs) * steps + place.steps - before.steps
        return None if more <= 2 or before.phase == STARTING else f"{more} steps were made after signal {number}"

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder

    def row(self) -> dict[str, Any]:
        """The figures, JSON-ready."""
        kills = [blow for blow in self.blows if blow.number == signal.SIGKILL]
        phases = Counter(PHASES[blow.place.phase] for blow in kills)
        return {
            "weighting": self.case.weighting,
            "tables": self.case.embedding_optimizer,
            "rows": self.case.source,
            "precision": self.case.precision,
            "by": "fit" if self.work is train else "command",
            "kills": len(kills),
            "survived": len(kills) - self.lost,
            "before the first checkpoint": sum(blow.before_first for blow in kills),
            "while a checkpoint was written": sum(blow.place.is_writing for blow in kills),
            "while starting": phases["forked"] + phases["starting"],
            "while training": phases["training"],
            "in validation": phases["validation"],
            "while ending": phases["ending"] + phases["done"],
            "signals": len(self.blows) - len(kills),
            "ends": self.ends,
            "seconds undisturbed": round(self.seconds, 2),
            "faults": self.faults,
        }


def _wait(process: Process, is_there: Callable[[int], bool]) -> None:
    """Waits until a process is in a phase, or has ended."""
    while process.is_alive and not is_there(process.place.phase):
        time.sleep(0.0002)


def _has_checkpoint(folder: Path) -> bool:
    return any(not file.parent.name.startswith(".") for file in folder.rglob("manifest.json"))
