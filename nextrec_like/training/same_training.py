"""Whether a training that goes on is the one that was saved."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nextrec_like.distributed import Processes
from nextrec_like.errors import PACKAGE, InputError, warn
from nextrec_like.training.plain import plain

if TYPE_CHECKING:
    from nextrec_like.training.trainer import Trainer

MAY_CHANGE = ("epochs", "patience", "log_every", "diagnose", "max_skipped_steps")
"""Arguments of `fit` with which a training can go on although they differ, if it is told so."""


def description(trainer: "Trainer", model: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What decides on the result of a training, JSON-ready: its arguments, its data, what it is made with.

    Args:
        trainer: The training.
        model: Description of the model.
        seed: The seed as the user gave it.
    """
    settings, train, valid = trainer.settings, trainer.train_data, trainer.valid_data
    arguments = {
        "seed": seed,
        "batch_size": settings.batch_size,
        "shuffle": settings.shuffle,
        "order of rows": train.order if settings.shuffle or trainer.parts.weighting.extra_batches else None,
        "metrics": settings.metrics,
        "monitor": asdict(settings.monitor),
        "min_delta": settings.min_delta,
        "restore_best": settings.restore_best,
        **{name: getattr(settings, name) for name in MAY_CHANGE},
        **{name: value for name, value in model.items() if name not in ("format", "fitted", "num_fits")},
        **trainer.parts.arguments,
        "frozen": dict.fromkeys(_frozen(trainer), True),
    }
    data = {f"training {name}": each for name, each in train.fingerprint().items()}
    if valid is not None:
        data |= {f"validation {name}": each for name, each in valid.fingerprint().items()}
    return dict(
        plain({"arguments": arguments, "data": data, "made with": _made_with(trainer.device, trainer.processes)})
    )


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any], may_change: Collection[str], folder: Path) -> None:
    """Compares two descriptions.

    Args:
        saved: Of the checkpoint.
        now: Of the training that is to go on.
        may_change: Names of `MAY_CHANGE` that may differ.
        folder: The checkpoint, for messages.

    Raises:
        InputError: If arguments or data differ; it lists all differences.
    """
    found = dict(differences(saved["arguments"], now["arguments"]))
    found |= differences(_comparable(saved["data"], now["data"]), _comparable(now["data"], saved["data"]))
    refused = {name: text for name, text in found.items() if name not in may_change}
    if refused:
        free = [name for name in refused if name in MAY_CHANGE]
        fix = f" What may differ is {' and '.join(free)}, if `resume={free}` says so." if free else ""
        raise InputError(f"The training differs from the checkpoint '{folder}': {'; '.join(refused.values())}.{fix}")
    elsewhere = [text for _, text in differences(saved["made with"], now["made with"])]
    if elsewhere:
        warn(
            f"The training goes on from '{folder}' under other conditions ({'; '.join(elsewhere)}), so its result may "
            f"differ in the last bits from that of an uninterrupted one."
        )


def check_alike(processes: Processes, what: str, given: Mapping[str, Any]) -> None:
    """Compares what all processes are given.

    Args:
        processes: The processes.
        what: What it is for, such as a training.
        given: To this process, JSON-ready.

    Raises:
        InputError: In all of them, if it differs; it lists the differences of one process.
    """
    for rank, found in _unlike(processes, given):
        raise InputError(
            f"Process {rank} of {processes.size} is given another {what} than process 0: {found}. Give all the same."
        )


def check_same_training(processes: Processes, own: Mapping[str, Any], others: Mapping[str, object]) -> None:
    """Compares what all processes of a training are given; warns if they compute with different things.

    Args:
        processes: The processes.
        own: What `description` says in this one.
        others: Further things on which it depends that all make the same calls.

    Raises:
        InputError: In all of them, if arguments or data differ.
    """
    check_alike(processes, "training", {**own["arguments"], **own["data"], **others})
    for _, found in _unlike(processes, own["made with"]):
        warn(f"The processes of this training work under different conditions: {found}.")


def _unlike(processes: Processes, given: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The processes that are given something else than the first one, and what differs, in words."""
    first, *others = processes.gather(given)
    for rank, other in enumerate(others, 1):
        found = [text for _, text in differences(first, other, words=("is", f"in process {rank} it is"))]
        if found:
            yield rank, "; ".join(found)


def differences(
    saved: Any,  # noqa: ANN401
    now: Any,  # noqa: ANN401
    name: str = "",
    *,
    words: tuple[str, str] = ("was", "now"),
) -> Iterator[tuple[str, str]]:
    """What differs between two JSON values: the dotted name, and a phrase with both values."""
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*saved, *now]):
            yield from differences(saved.get(key), now.get(key), f"{name}.{key}" if name else str(key), words=words)
    elif isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        for index, (old, new) in enumerate(zip(saved, now)):
            yield from differences(old, new, f"{name}.{index}", words=words)
    elif saved != now:
        yield name, f"{name} {words[0]} {shorten(str(saved), 100)}, {words[1]} {shorten(str(now), 100)}"


def _frozen(trainer: "Trainer") -> list[str]:
    """Parameters that keep their values: they need no gradient, or the optimizer does not hold them."""
    held = {id(parameter) for group in trainer.parts.optimizer.param_groups for parameter in group["params"]}
    named = trainer.model.named_parameters()
    return sorted(name for name, each in named if not each.requires_grad or id(each) not in held)


def _comparable(data: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """The digests that both have: features in memory and in files are not known by the same digest, labels are."""
    return {name: value for name, value in data.items() if name in other or name.endswith("labels")}


def _made_with(device: torch.device, processes: Processes) -> dict[str, Any]:
    """What decides on the last bits of a result, besides arguments and data."""
    on_cpu = f"cpu with {torch.backends.cpu.get_cpu_capability()}"
    return {
        "processes": processes.size,
        "nextrec_like": version(PACKAGE),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu,
        "threads": torch.get_num_threads(),
    }
