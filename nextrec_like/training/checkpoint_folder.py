"""A folder of checkpoints on disk: each is complete, and known to be unaltered."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from nextrec_like.errors import InputError, warn
from nextrec_like.storage import atomic
from nextrec_like.storage.reading import inside, read_json, read_text
from nextrec_like.storage.tensors import write_tensors
from nextrec_like.training.training_state import TrainingState

FORMAT = 6
TENSORS, STATE, MANIFEST, SHARDS = "tensors.safetensors", "state.json", "manifest.json", "shards"
LATEST, BEST = "LATEST", "BEST"
NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?")
STATE_BYTES = 2**30
FIX = "a checkpoint has to be as it was written"


@dataclass(frozen=True)
class Position:
    """Where a training is: so many epochs, and so many steps of the next one."""

    epochs: int
    steps: int = 0

    @property
    def name(self) -> str:
        """Name of the checkpoint there."""
        return f"epoch-{self.epochs:04d}" + (f"-step-{self.steps:06d}" if self.steps else "")

    @classmethod
    def of(cls, checkpoint: Path) -> "Position":
        """The position that the name of a checkpoint says."""
        match = NAME.fullmatch(checkpoint.name)
        assert match is not None
        return cls(*map(int, match.groups(default="0")))

    @property
    def begun(self) -> int:
        """Epochs that have begun."""
        return self.epochs + (self.steps > 0)


class CheckpointFolder:
    """Writes and reads checkpoints.

    A checkpoint is a folder such as ``epoch-0003``, or ``epoch-0003-step-000500`` with 500 steps of the epoch after.
    It is written under another name, flushed to the disk and renamed, and then the file ``LATEST`` is made to name it,
    in the same way. Its manifest has the length and the SHA-256 of its other files.

    Args:
        path: The folder, which exists.
        keep_last: Newest checkpoints to keep.
    """

    def __init__(self, path: Path, keep_last: int) -> None:
        self.path, self.keep_last = path, keep_last

    def found(self) -> list[Path]:
        """All checkpoints, the newest first: where ``LATEST`` points, and then those before it."""
        names = {Position.of(path): path for path, _ in self._matches()}
        newest_first = [names[each] for each in sorted(names, key=lambda at: (at.epochs, at.steps), reverse=True)]
        latest = self._pointed(LATEST)
        return newest_first[newest_first.index(latest) :] if latest in newest_first else newest_first

    def write(
        self,
        position: Position,
        state: TrainingState,
        description: dict[str, Any],
        best: Position | None,
        shards: Path | None = None,
    ) -> Path:
        """Writes a checkpoint and removes those that are no longer kept.

        Args:
            position: Of the training.
            state: Its state.
            description: What has to be the same when it goes on, JSON-ready.
            best: The checkpoint of the best epoch so far, which is kept.
            shards: Folder with what each process has written of sharded tables; it becomes part of the checkpoint.

        Raises:
            InputError: If the folder cannot be written; checkpoints that were there before are.
        """
        final = self.path / position.name
        with atomic.writing("The checkpoint", final):
            with atomic.whole_folder(final) as part:
                write_tensors(part / TENSORS, state.tensors)
                content = {"format": FORMAT, "description": description, **state.values}
                (part / STATE).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
                if shards is not None:
                    atomic.rename(shards, part / SHARDS)
                names = [TENSORS, STATE, *(f"{SHARDS}/{file.name}" for file in sorted(part.glob(f"{SHARDS}/*")))]
                manifest = {"format": FORMAT, "files": {name: seal(part / name) for name in names}}
                (part / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            if best is not None and (self.path / best.name).exists():
                atomic.write_text(self.path / BEST, best.name)
            atomic.write_text(self.path / LATEST, final.name)
            self._remove_old(final)
        return final

    def read(self) -> tuple[Path, TrainingState, dict[str, Any]] | None:
        """The newest checkpoint that is complete and unaltered, its state and its description; None if there is none.

        Warns of each that is not.

        Raises:
            InputError: If there are checkpoints, and none can be used.
        """
        fault = None
        for folder in self.found():
            if fault is not None:
                warn(f"{fault} The one before it is used.")
            try:
                return folder, *_read(folder)
            except _UnusableError as error:
                fault = f"The checkpoint '{folder}' {error}."
        if fault is not None:
            raise InputError(f"{fault} There is none before it; remove it to start anew.")
        return None

    def shards_of(self, position: Position) -> Path:
        """Where processes write sharded tables, before they become part of a checkpoint."""
        return self.path / f".{position.name}-{SHARDS}.0"

    def tidy(self) -> None:
        """Removes what killed processes have left behind; the folder has to be locked."""
        atomic.remove_parts(self.path, rf"{NAME.pattern}(-{SHARDS})?|{LATEST}|{BEST}")

    def _matches(self) -> Iterator[tuple[Path, re.Match[str]]]:
        for path in self.path.iterdir():
            match = NAME.fullmatch(path.name)
            if match and path.is_dir():
                yield path, match

    def _pointed(self, name: str) -> Path | None:
        try:
            return self.path / read_text(inside(self.path, name, FIX), FIX).strip()
        except (InputError, ValueError):
            return None

    def _remove_old(self, newest: Path) -> None:
        """Removes all but the newest ones and the best; also newer ones, of a future that did not come to be."""
        found = self.found()
        kept = {*found[found.index(newest) :][: self.keep_last], self._pointed(BEST)}
        for path, _ in list(self._matches()):
            if path not in kept:
                shutil.rmtree(path)


def seal(file: Path) -> dict[str, Any]:
    """Length and digest of a file."""
    digest = sha256()
    with file.open("rb") as opened:
        while block := opened.read(2**22):
            digest.update(block)
    return {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}


class _UnusableError(Exception):
    """A checkpoint is not what this version writes; the message goes on from its name."""


def _read(folder: Path) -> tuple[TrainingState, dict[str, Any]]:
    try:
        name = MANIFEST if (folder / MANIFEST).exists() else STATE  # there were none in older formats
        manifest = read_json(inside(folder, name, FIX), FIX, max_bytes=STATE_BYTES)
        if manifest["format"] != FORMAT:
            raise _UnusableError(f"has format {manifest['format']!r}, and this version goes on from format {FORMAT}")
        for name in {TENSORS: 0, STATE: 0, **manifest["files"]}:
            file, sealed = inside(folder, name, FIX), manifest["files"][name]
            if file.stat().st_size != sealed["bytes"] or seal(file) != sealed:
                raise _UnusableError(f"is damaged: {name} is not as it was written")
        values = read_json(folder / STATE, FIX, max_bytes=STATE_BYTES)
        return TrainingState(load_file(folder / TENSORS), values), values["description"]
    except (KeyError, TypeError) as error:
        raise _UnusableError("is damaged: its description lacks something") from error
    except (InputError, OSError, SafetensorError) as error:
        raise _UnusableError(f"is damaged: {str(error).rstrip('.')}") from error
