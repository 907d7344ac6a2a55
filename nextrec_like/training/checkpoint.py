"""A training's whole state after each epoch, and going on from it."""

import json
import os
import shutil
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nextrec_like.data.source import Rows
from nextrec_like.errors import InputError, positive_int
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.history import EpochRecord, History, StepRecord
from nextrec_like.training.saving import new_folder

if TYPE_CHECKING:
    from nextrec_like.training.trainer import Trainer

FORMAT = 4
TENSORS, STATE = "tensors.safetensors", "state.json"
PAIRS = "pairs"


class Checkpoint(Callback):
    """Saves the training after every epoch, so that an interrupted one ends bitwise as if it had run through.

    A checkpoint is a folder ``epoch-0003``, or ``epoch-0003-step-000500`` with 500 steps of the epoch after; it is
    written under another name and renamed, so that it is either complete or not there, and only then the one before
    it is removed.

    Args:
        folder: Where to keep the newest checkpoint.
        every: Steps after which to save within an epoch, too; None for never.
    """

    def __init__(self, folder: str | Path, every: int | None = None) -> None:
        self.folder = new_folder(folder, "checkpoint_dir")
        self.every = None if every is None else positive_int("`checkpoint_every`", every)
        self.arguments: dict[str, Any] = {}

    def attach(self, trainer: "Trainer", model: dict[str, Any], seed: int) -> None:
        """Joins a training, and notes what must be the same when it goes on.

        Args:
            trainer: The training.
            model: Description of the model.
            seed: The seed as the user gave it.
        """
        settings, train, valid = trainer.settings, trainer.train_data, trainer.valid_data
        self.arguments = {
            "seed": seed,
            "batch_size": settings.batch_size,
            "shuffle": settings.shuffle,
            "order of rows": train.order if settings.shuffle or trainer.parts.weighting.extra_batches else None,
            "metrics": settings.metrics,
            "monitor": asdict(settings.monitor),
            "min_delta": settings.min_delta,
            "restore_best": settings.restore_best,
            "training labels": _labels_digest(train),
            "validation labels": None if valid is None else _labels_digest(valid),
            **{name: value for name, value in model.items() if name not in ("fitted", "num_fits")},
            **trainer.parts.arguments,
        }
        trainer.callbacks.append(self)

    def newest(self) -> Path | None:
        """The newest checkpoint, if there is any."""
        found = sorted(self.folder.glob("epoch-*[0-9]"))
        return found[-1] if found else None

    def check_unused(self) -> None:
        """Raises if the folder has a checkpoint that a new training would replace."""
        if self.newest() is not None:
            raise InputError(
                f"`checkpoint_dir` '{self.folder}' holds a checkpoint of another training; pass `resume=True` to go on "
                f"from it, or give a new folder."
            )

    def on_step_end(self, trainer: "Trainer") -> None:
        """Writes a checkpoint within the epoch, where one is due."""
        if self.every is not None and trainer.totals.steps % self.every == 0:
            trainer.history.steps.extend(trainer.log.read())
            self._write(trainer, f"epoch-{len(trainer.history.epochs):04d}-step-{trainer.totals.steps:06d}")

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """Writes the checkpoint of this epoch."""
        self._write(trainer, f"epoch-{len(trainer.history.epochs):04d}")

    def _write(self, trainer: "Trainer", name: str) -> None:
        before = self.newest()
        final = self.folder / name
        part = final.with_name(f".{final.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_file(_tensors(trainer), part / TENSORS)
        (part / STATE).write_text(json.dumps(self._state(trainer)), encoding="utf-8")
        os.replace(part, final)
        if before is not None and before != final:
            shutil.rmtree(before)

    def restore(self, trainer: "Trainer") -> None:
        """Puts the newest checkpoint into a trainer that was set up in the same way; none: nothing happens.

        Raises:
            InputError: If the checkpoint is damaged, or the training differs from the one that was saved.
        """
        folder = self.newest()
        if folder is None:
            return
        try:
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            tensors = load_file(folder / TENSORS)
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"The checkpoint '{folder}' is damaged ({error}); remove it to start anew.") from error
        self._check_same(state, folder)
        _restore_tensors(trainer, tensors, state["optimizer"])
        if trainer.parts.schedule.scheduler is not None:
            trainer.parts.schedule.scheduler.load_state_dict(_from_json(state["scheduler"]))
        trainer.parts.schedule.steps = state["steps"]
        history = state["history"]
        epochs = [EpochRecord(**record) for record in history.pop("epochs")]
        steps = [StepRecord(**record) for record in history.pop("steps")]
        trainer.history = History(epochs, steps=steps, **history)
        trainer.has_stepped = True
        trainer.best_score, trainer.should_stop = state["best_score"], history["stopped_early"]
        trainer.progress.write(f"resumed after {_reached(trainer)} of {trainer.settings.epochs} from '{folder}'")

    def _state(self, trainer: "Trainer") -> dict[str, Any]:
        schedule = trainer.parts.schedule
        optimizer = trainer.parts.optimizer.state_dict()
        numbers = {
            str(index): {name: value for name, value in slots.items() if not isinstance(value, Tensor)}
            for index, slots in optimizer["state"].items()
        }
        return {
            "format": FORMAT,
            "arguments": self.arguments,
            "optimizer": {"groups": optimizer["param_groups"], "numbers": numbers},
            "scheduler": None if schedule.scheduler is None else _to_json(schedule.scheduler.state_dict()),
            "steps": schedule.steps,
            "history": asdict(trainer.history),
            "best_score": trainer.best_score,
        }

    def _check_same(self, state: dict[str, Any], folder: Path) -> None:
        if state.get("format") != FORMAT:
            raise InputError(
                f"The checkpoint '{folder}' has format {state.get('format')!r}; this version reads {FORMAT}."
            )
        saved, now = state["arguments"], json.loads(json.dumps(self.arguments))
        different = [f"{name} was {saved.get(name)}, now {now[name]}" for name in now if saved.get(name) != now[name]]
        if different:
            raise InputError(f"The training differs from the checkpoint '{folder}': {'; '.join(different)}.")


def _reached(trainer: "Trainer") -> str:
    epochs, steps = len(trainer.history.epochs), trainer.totals.steps
    return f"{steps} steps of epoch {epochs + 1}" if steps else f"epoch {epochs}"


def _labels_digest(data: Rows) -> str:
    """Number of rows, and a digest of their labels in order, however they are cut into blocks."""
    digest = blake2b(digest_size=8)
    for block in data.label_blocks():
        digest.update(np.ascontiguousarray(block).data)
    return f"{len(data)} rows, {digest.hexdigest()}"


def _to_json(value: Any) -> Any:  # noqa: ANN401
    """The value with each dict as a list of pairs, because JSON has no keys but strings."""
    if isinstance(value, dict):
        return {PAIRS: [[key, _to_json(item)] for key, item in value.items()]}
    return [_to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _from_json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _from_json(item) for key, item in value[PAIRS]}
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def _tensors(trainer: "Trainer") -> dict[str, Tensor]:
    """All tensors of a training, each a copy with its own memory, as safetensors wants them."""
    found = {f"model/{name}": value for name, value in trainer.model.state_dict().items()}
    found |= {f"balancer/{name}": value for name, value in trainer.parts.balancer.state_dict().items()}
    found |= {f"scale/{name}": value for name, value in trainer.parts.scale.state_dict().items()}
    found |= {f"best/{name}": value for name, value in (trainer.best_weights or {}).items()}
    for index, slots in trainer.parts.optimizer.state_dict()["state"].items():
        tensors = {name: value for name, value in slots.items() if isinstance(value, Tensor)}
        found |= {f"optimizer/{index}/{name}": value for name, value in tensors.items()}
    found["random/cpu"] = torch.get_rng_state()
    found["random/draws"] = trainer.draws.get_state()
    if trainer.device.type == "cuda":
        found["random/cuda"] = torch.cuda.get_rng_state(trainer.device)
    if trainer.generator is not None:
        found["random/order"] = trainer.generator.get_state() if trainer.order is None else trainer.order
    found |= {f"epoch/{name}": value for name, value in trainer.totals.state_dict().items()}
    return {name: value.detach().cpu().clone().contiguous() for name, value in found.items()}


def _restore_tensors(trainer: "Trainer", tensors: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
    trainer.model.load_state_dict(_under(tensors, "model/"))
    trainer.parts.balancer.load_state_dict(_under(tensors, "balancer/"))
    trainer.parts.scale.load_state_dict(_under(tensors, "scale/"))
    best = _under(tensors, "best/")
    trainer.best_weights = {name: value.to(trainer.device) for name, value in best.items()} or None
    slots: dict[int, dict[str, Any]] = {int(index): dict(numbers) for index, numbers in optimizer["numbers"].items()}
    for key, value in _under(tensors, "optimizer/").items():
        index, name = key.split("/", 1)
        slots[int(index)][name] = value
    trainer.parts.optimizer.load_state_dict({"state": slots, "param_groups": optimizer["groups"]})
    trainer.totals.load_state_dict(_under(tensors, "epoch/"))
    random = _under(tensors, "random/")
    torch.set_rng_state(random["cpu"])
    trainer.draws.set_state(random["draws"])
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(random["cuda"], trainer.device)
    if trainer.generator is not None:
        trainer.generator.set_state(random["order"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
