"""When a training is saved, and going on from what was saved."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextrec_like.distributed.join import current
from nextrec_like.errors import DivergedError, InputError, check_keys, number_in, positive_int
from nextrec_like.memory import available_memory
from nextrec_like.storage.lock import locked
from nextrec_like.storage.paths import named_path
from nextrec_like.training.background import Background
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.checkpoint_folder import SHARDS, CheckpointFolder, Position
from nextrec_like.training.interrupts import Interrupted, InterruptedAgain
from nextrec_like.training.same_training import MAY_CHANGE, check_same
from nextrec_like.training.saving import new_folder
from nextrec_like.training.training_state import TrainingState, check_can_be_saved, num_bytes

if TYPE_CHECKING:
    from nextrec_like.training.trainer import Trainer

COPY_SHARE = 1 / 4
"""Share of the available memory that the copy of a state may take; a larger one is written while training waits."""


@dataclass(frozen=True)
class CheckpointParams:
    """When to save besides the end of each epoch, and how many to keep.

    Args:
        every_steps: Steps after which to save; training waits if the save before is not written yet.
        every_seconds: Seconds after which to save; while the save before is being written, it is put off.
        keep_last: Newest checkpoints to keep, besides that of the best epoch.
    """

    every_steps: int | None = None
    every_seconds: float | None = None
    keep_last: int = 2

    @classmethod
    def of(cls, params: "CheckpointParams | Mapping[str, Any] | None") -> "CheckpointParams":
        """Params from what the user gave, checked.

        Raises:
            InputError: For an unknown key, with the closest one, or a value out of range.
        """
        if isinstance(params, Mapping):
            check_keys("key of `checkpoint_params`", params, [field.name for field in fields(cls)])
            params = cls(**params)
        params = cls() if params is None else params
        if not isinstance(params, cls):
            raise InputError(
                f"`checkpoint_params` should be a dict such as {{'every_steps': 500}}. Received {params!r}."
            )
        steps, seconds = params.every_steps, params.every_seconds
        return cls(
            None if steps is None else positive_int("`checkpoint_params.every_steps`", steps),
            None if seconds is None else number_in("`checkpoint_params.every_seconds`", seconds, above_low=True),
            positive_int("`checkpoint_params.keep_last`", params.keep_last),
        )


class Checkpoint(Callback):
    """Saves a training after every epoch and where else it is due, so that it can go on bitwise as if uninterrupted.

    Between two steps the state is copied; a thread writes the copy. See `CheckpointFolder` for what is written.

    Args:
        folder: Where to keep the checkpoints; only one training at a time can use it. Of several processes the first
            one writes there, and is the only one that has to reach it.
        params: When to save.
        resume: Whether to go on from the newest one; or the arguments of `MAY_CHANGE` that may differ then.

    Attributes:
        description: What must be the same when the training goes on; see `same_training.description`.
    """

    def __init__(self, folder: str | Path, params: CheckpointParams, resume: bool | Sequence[str]) -> None:
        self.params, self.resumes = params, bool(resume)
        self.may_change = _checked_changes(resume)
        # Absolute, because the program may change its folder while it trains.
        path = new_folder(folder, "checkpoint_dir") if current().is_first else named_path("`checkpoint_dir`", folder)
        self.folder = CheckpointFolder(path.absolute(), params.keep_last)
        self.description: dict[str, Any] = {}
        self._saved_at = time.monotonic()
        self._saved: Position | None = None

    @contextmanager
    def attached(self, trainer: "Trainer") -> Iterator[None]:
        """Joins a training: within the context it is saved, and a signal ends it only after that.

        Args:
            trainer: The training, set up; it takes the state of the newest checkpoint if it is to go on.

        Raises:
            InputError: If another training uses the folder, no checkpoint can be read or written, one is there and
                `resume` is not given, or the training differs from the one that was saved.
            Interrupted: After a signal, when the state is saved.
        """
        processes = trainer.processes
        with ExitStack() as stack:
            with processes.together():
                if processes.is_first:
                    stack.enter_context(locked(self.folder.path, "trains"))
                    self.folder.tidy()
                check_can_be_saved(trainer)
            stack.enter_context(trainer.interrupts.noted())
            self._writer = stack.enter_context(Background())
            self._restore(trainer)
            trainer.callbacks.append(self)
            self._saved_at = time.monotonic()
            try:
                yield
            except InterruptedAgain as stop:
                raise InterruptedAgain.of(stop, "what was done since the last checkpoint is lost") from stop
            except Interrupted as stop:
                raise Interrupted.of(stop, self._last_state(trainer)) from stop
            except DivergedError as error:  # steps that were skipped have moved nothing, so the present state is good
                raise DivergedError(f"{error} For a look at it: {self._last_state(trainer)}.") from error

    def on_step_end(self, trainer: "Trainer") -> None:
        """Saves within the epoch, where that is due; raises if a signal has come, or the save before has failed."""
        trainer.interrupts.check()
        self._save(trainer, self._is_due(trainer.totals.steps, is_busy=self._writer.is_busy))

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """Saves the epoch."""
        trainer.should_stop = trainer.processes.any(trainer.should_stop)
        self._save(trainer, True)
        trainer.interrupts.check()

    def _save(self, trainer: "Trainer", is_due: bool) -> None:
        """Saves, if it is due for the first process; the others have to do with it only where they hold tables."""
        is_due = is_due and trainer.processes.is_first
        if trainer.parts.tables.moves_in_backward:
            is_due = trainer.processes.any(is_due)
        if is_due:
            self._start(trainer)

    def _is_due(self, steps: int, *, is_busy: bool) -> bool:
        every, seconds = self.params.every_steps, self.params.every_seconds
        if every is not None and steps % every == 0:
            return True
        return seconds is not None and not is_busy and time.monotonic() - self._saved_at >= seconds

    def _start(self, trainer: "Trainer") -> None:
        """Copies the state, and has it written."""
        self._writer.wait()
        tables, processes = trainer.parts.tables, trainer.processes
        shards = self.folder.shards_of(_position(trainer)) if tables.moves_in_backward else None
        copy = shards is None and num_bytes(trainer) <= COPY_SHARE * available_memory()
        state, position, best = TrainingState.of(trainer, copy=copy), _position(trainer), _best(trainer)
        is_finite = state.is_finite and tables.is_finite()
        if shards is not None:
            is_finite = not processes.any(not is_finite)
        if not is_finite:
            return  # training is about to find out, and what was saved before is the last good state
        self._saved_at, self._saved = time.monotonic(), position
        if shards is not None:
            tables.write(shards, processes)
        if processes.is_first:
            self._writer.start(partial(self.folder.write, position, state, self.description, best, shards))
        if not copy:
            self._writer.wait()

    def _last_state(self, trainer: "Trainer") -> str:
        """Saves the present state if its weights are finite, and says where the newest one is."""
        if not (trainer.processes.is_first or trainer.parts.tables.moves_in_backward):
            return "the first process saves the last state"
        self._writer.wait()
        if self._saved != _position(trainer):
            self._start(trainer)
            self._writer.wait()
        newest = next(iter(self.folder.found()), None)
        return f"the last state is saved in '{newest}'" if newest else "no state had been saved"

    def _restore(self, trainer: "Trainer") -> None:
        """Puts the newest checkpoint, if any, which the first process reads, into the trainer of each."""
        processes, found = trainer.processes, None
        with processes.together():
            if processes.is_first:
                found = self._found(trainer)
        state = TrainingState.of_first(processes, None if found is None else found[1])
        if state is None:
            return
        state.restore(trainer)
        with processes.together():
            folder = processes.gather(None if found is None else str(found[0]))[0]
            trainer.parts.tables.read(Path(folder) / SHARDS, best=trainer.best_weights is not None)
        trainer.reconsider_patience()
        if found is not None:
            reached = f"{_reached(trainer)} of {trainer.settings.epochs}"
            trainer.progress.write(f"resumed after {reached} from '{found[0]}'")

    def _found(self, trainer: "Trainer") -> tuple[Path, TrainingState] | None:
        """The newest checkpoint, if the training can go on from it."""
        if not self.resumes:
            if self.folder.found():
                raise InputError(
                    f"`checkpoint_dir` '{self.folder.path}' holds a checkpoint of another training; pass `resume=True` "
                    f"to go on from it, or give a new folder."
                )
            return None
        found = self.folder.read()
        if found is None:
            return None
        folder, state, saved = found
        check_same(saved, self.description, self.may_change, folder)
        if (epochs := trainer.settings.epochs) < (begun := Position.of(folder).begun):
            raise InputError(f"`epochs` is {epochs}, but '{folder}' is of epoch {begun}; give at least {begun}.")
        return folder, state


def _checked_changes(resume: bool | Sequence[str]) -> tuple[str, ...]:
    if isinstance(resume, bool):
        return ()
    if isinstance(resume, str) or not isinstance(resume, Sequence):
        raise InputError(f"`resume` should be True, False or a list of {', '.join(MAY_CHANGE)}. Received {resume!r}.")
    check_keys("argument in `resume`", resume, MAY_CHANGE)
    return tuple(resume)


def _position(trainer: "Trainer") -> Position:
    return Position(len(trainer.history.epochs), trainer.totals.steps)


def _best(trainer: "Trainer") -> Position | None:
    best = trainer.history.best_epoch
    return None if best is None else Position(best)


def _reached(trainer: "Trainer") -> str:
    at = _position(trainer)
    return f"{at.steps} steps of epoch {at.epochs + 1}" if at.steps else f"epoch {at.epochs}"
