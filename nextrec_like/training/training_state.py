"""All that a training has to remember, as tensors and JSON, and putting it back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nextrec_like.distributed import Processes
from nextrec_like.errors import InputError, warn
from nextrec_like.training.finite import is_finite
from nextrec_like.training.history import History

if TYPE_CHECKING:
    from nextrec_like.training.trainer import Trainer

PAIRS, NUMBER, TENSOR, NUMPY = "pairs", "number", "tensor", "numpy"
SMALL = 2**20


@dataclass(frozen=True)
class TrainingState:
    """The state of a training between two steps.

    Attributes:
        tensors: By name, on the CPU.
        values: The rest, JSON-ready.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    @classmethod
    def of(cls, trainer: "Trainer", *, copy: bool = True) -> "TrainingState":
        """The state of a training.

        Args:
            trainer: The training; its pending figures of steps go into its history.
            copy: Whether tensors are copied, so that the training may go on while they are written.
        """
        trainer.flush_logs()
        values = _settings(trainer) | {
            "steps": trainer.parts.schedule.steps,
            "last_lr": trainer.parts.schedule.last_lr,
            "history": trainer.history.to_dict(),
            "best_score": trainer.best_score,
            "should_stop": trainer.should_stop,
            "seconds": trainer.seconds,
            "seed": trainer.settings.seed,
            "num_fits_before": trainer.num_fits_before,
            "batch_rows": trainer.batch_rows,
            "streams": trainer.streams,
        }
        return cls({name: _on_cpu(value, copy) for name, value in _tensors(trainer).items()}, values)

    @classmethod
    def of_first(cls, processes: Processes, own: "TrainingState | None") -> "TrainingState | None":
        """The state that the first process has, in all of them."""
        if processes.size == 1:
            return own
        values = processes.gather(None if own is None else own.values)[0]
        return None if values is None else cls(processes.broadcast({} if own is None else own.tensors), values)

    @property
    def is_finite(self) -> bool:
        """Whether all weights of the model are."""
        return all(is_finite(each) for each in self._under("model/").values())

    def restore(self, trainer: "Trainer") -> None:
        """Puts the state into a trainer that was set up in the same way."""
        values, parts = self.values, trainer.parts
        trainer.model.load_state_dict(self._under("model/"))
        parts.balancer.load_state_dict(self._under("balancer/"))
        parts.scale.load_state_dict(self._under("scale/"))
        parts.optimizer.load_state_dict(self._optimizer())
        if parts.schedule.scheduler is not None:
            parts.schedule.scheduler.load_state_dict(_from_json(values["scheduler"]))
        parts.schedule.steps, parts.schedule.last_lr = values["steps"], values["last_lr"]
        trainer.best_weights = {name: each.to(trainer.device) for name, each in self._under("best/").items()} or None
        trainer.totals.load_state_dict(self._under("epoch/"))
        trainer.settings = replace(trainer.settings, seed=values["seed"])  # of a model's later fits it is another one
        trainer.num_fits_before = values["num_fits_before"]
        trainer.batch_rows, trainer.streams = values["batch_rows"], values["streams"]  # also for other processes
        trainer.history = History.from_dict(values["history"])
        trainer.best_score, trainer.should_stop = values["best_score"], values["should_stop"]
        trainer.seconds, trainer.has_stepped = values["seconds"], True
        self._restore_random(trainer)

    def _optimizer(self) -> dict[str, Any]:
        saved = _from_json(self.values["optimizer"])
        slots: dict[int, dict[str, Any]] = saved["numbers"]
        for key, value in self._under("optimizer/").items():
            index, name = key.split("/", 1)
            slots[int(index)][name] = value
        return {"state": slots, "param_groups": saved["groups"]}

    def _restore_random(self, trainer: "Trainer") -> None:
        random = self._under("random/")
        torch.set_rng_state(random["cpu"])
        trainer.draws.set_state(random["draws"])
        if trainer.device.type == "cuda":
            if "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"], trainer.device)
            else:
                warn("The checkpoint was made without a GPU, so dropout draws anew from here on.")
        if trainer.generator is not None:
            trainer.generator.set_state(random["order"])

    def _under(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


def _on_cpu(value: Tensor, copy: bool) -> Tensor:
    """The values; small ones always as a copy, because safetensors wants memory that no two tensors share."""
    return value.detach().to("cpu", copy=copy or value.numel() < SMALL).contiguous()


def num_bytes(trainer: "Trainer") -> int:
    """What the tensors of a state take."""
    return sum(value.numel() * value.element_size() for value in _tensors(trainer).values())


def _tensors(trainer: "Trainer") -> dict[str, Tensor]:
    parts = trainer.parts
    found = _with_prefix("model/", trainer.model.state_dict())
    found |= _with_prefix("balancer/", parts.balancer.state_dict())
    found |= _with_prefix("scale/", parts.scale.state_dict())
    found |= _with_prefix("best/", trainer.best_weights or {})
    for index, slots in parts.optimizer.state_dict()["state"].items():
        tensors = {name: value for name, value in slots.items() if isinstance(value, Tensor)}
        found |= _with_prefix(f"optimizer/{index}/", tensors)
    found |= {"random/cpu": torch.get_rng_state(), "random/draws": trainer.draws.get_state()}
    if trainer.device.type == "cuda":
        found["random/cuda"] = torch.cuda.get_rng_state(trainer.device)
    if trainer.generator is not None:
        found["random/order"] = trainer.generator.get_state() if trainer.order is None else trainer.order
    return found | _with_prefix("epoch/", trainer.totals.state_dict())


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def check_can_be_saved(trainer: "Trainer") -> None:
    """Raises if an option or state of the optimizer or scheduler is nothing that a checkpoint can hold.

    Raises:
        InputError: Names its type.
    """
    _settings(trainer)


def _settings(trainer: "Trainer") -> dict[str, Any]:
    """What optimizer and scheduler remember besides tensors of state."""
    optimizer, scheduler = trainer.parts.optimizer.state_dict(), trainer.parts.schedule.scheduler
    numbers = {
        index: {name: value for name, value in slots.items() if not isinstance(value, Tensor)}
        for index, slots in optimizer["state"].items()
    }
    return {
        "optimizer": _to_json({"groups": optimizer["param_groups"], "numbers": numbers}),
        "scheduler": None if scheduler is None else _to_json(scheduler.state_dict()),
    }


def _to_json(value: Any) -> Any:  # noqa: ANN401
    """The value as JSON, which has neither keys but texts, nor infinity, nor tensors and numbers of numpy."""
    if isinstance(value, dict):
        return {PAIRS: [[key, _to_json(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, Tensor):
        return {TENSOR: _to_json(value.tolist()), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, np.generic):  # a float32 is another factor than the float of the same value
        return {NUMPY: _to_json(value.item()), "dtype": value.dtype.name}
    if isinstance(value, float) and not isfinite(value):
        return {NUMBER: str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"The optimizer or the scheduler holds a {type(value).__name__}, which no checkpoint can hold; use numbers, or "
        f"train without `checkpoint_dir`."
    )


def _from_json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return torch.tensor(_from_json(value[TENSOR]), dtype=getattr(torch, value["dtype"]))
    if NUMPY in value:
        return np.dtype(value["dtype"]).type(_from_json(value[NUMPY]))
    return float(value[NUMBER]) if NUMBER in value else {key: _from_json(item) for key, item in value[PAIRS]}
