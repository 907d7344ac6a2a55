"""Why a training has diverged: which tasks, and which parameters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Protocol, runtime_checkable

from torch import nn

from nextrec_like.batch import Batch
from nextrec_like.errors import DivergedError
from nextrec_like.training.finite import is_finite
from nextrec_like.training.randomness import random_state, replayed
from nextrec_like.training.step import Stepper

MOST_NAMES = 8
"""Groups of parameters that a message names."""


@runtime_checkable
class ByTask(Protocol):
    """Modules of single tasks."""

    def task_of(self, position: str) -> str:
        """The task whose module has this name among `named_modules`."""


def diverged(epoch: int, what: str, clues: Sequence[str]) -> DivergedError:
    """The error that ends a training.

    Args:
        epoch: Counted from 1.
        what: What was seen.
        clues: What may have caused it.
    """
    why = f" ({'; '.join(clues)})" if clues else ""
    return DivergedError(
        f"In epoch {epoch}, {what}{why}: training diverged. Lower the learning rate, set `clip_norm` or scale the "
        f"numeric features, and build the model anew."
    )


def loss_clue(losses: Mapping[str, float]) -> str:
    """The losses of a skipped step that are not finite."""
    wrong = [f"the loss of task `{task}` was {loss}" for task, loss in losses.items() if not isfinite(loss)]
    return ", ".join(wrong) or "losses were finite, but a gradient was not"


def gradient_clues(stepper: Stepper, batch: Batch, task_names: Sequence[str]) -> list[str]:
    """The groups of parameters whose gradient in this batch is not finite, and the tasks that cause it."""
    found = faulty_gradients(stepper, batch, task_names)
    groups = dict.fromkeys(group for groups in found.values() for group in groups)
    if not groups:
        return []
    tasks = ", ".join(f"`{task}`" for task, of_task in found.items() if of_task)
    return [f"gradients that are not finite, from the loss of {tasks}: {listed(groups)}"]


def faulty_gradients(stepper: Stepper, batch: Batch, task_names: Sequence[str]) -> dict[str, list[str]]:
    """For each task the groups of parameters for which the gradient of its loss alone is not finite.

    Weights, buffers, gradients and the random state are afterwards as they were.
    """
    found, before = {}, stepper.buffers.read()
    with replayed(random_state(stepper.device), stepper.device):
        for index, task in enumerate(task_names):
            try:
                stepper.backward_alone(batch, index)
                found[task] = _faulty(stepper)
            finally:
                stepper.clear()
                stepper.buffers.write(before)
    return found


def _faulty(stepper: Stepper) -> list[str]:
    tables = {id(rows.weight): rows.gradient() for rows in stepper.parts.tables.tables}
    gradients = {key: gradient.values for key, gradient in tables.items() if gradient is not None}
    named = ((name, gradients.get(id(each), each.grad)) for name, each in stepper.model.named_parameters())
    # As in a step, the norm decides, which may overflow where no entry does.
    wrong = (name for name, gradient in named if gradient is not None and not gradient.norm().isfinite())
    return groups_of(stepper.model, wrong)


def faulty_parameters(model: nn.Module) -> list[str]:
    """The groups of parameters with a value that is not finite."""
    return groups_of(model, (name for name, parameter in model.named_parameters() if not is_finite(parameter)))


def groups_of(model: nn.Module, names: Iterable[str]) -> list[str]:
    """The modules that a user knows, for names of parameters: ``towers.click``, ``experts``, ``embedding.tables.0``."""
    return list(dict.fromkeys(".".join(_path(model, name)) or name for name in names))


def _path(model: nn.Module, name: str) -> Iterator[str]:
    """Downwards as long as there are collections of modules below."""
    module = model
    for part in name.split(".")[:-1]:
        if module is not model and not any(_is_collection(each) for each in module.modules()):
            return
        yield module.task_of(part) if isinstance(module, ByTask) else part
        module = module.get_submodule(part)


def _is_collection(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.ModuleDict | ByTask)


def listed(names: Iterable[str]) -> str:
    """At most eight names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
