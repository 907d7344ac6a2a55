"""Losses and objectives from what the user writes in `compile`."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TypeAlias

from nextrec_like.errors import InputError, check_keys, unknown, within
from nextrec_like.objectives.base import Objective
from nextrec_like.objectives.losses import Loss
from nextrec_like.tasks import Task, TaskSet

LossSpec: TypeAlias = str | Mapping[str, object] | Loss


def build_losses(
    spec: LossSpec | Sequence[LossSpec] | None, tasks: TaskSet, registry: Mapping[str, type[Loss]]
) -> dict[str, Loss]:
    """One loss per task.

    Args:
        spec: None (`bce` for binary tasks, `mse` for regressions); or a name, ``{"name": "focal", "gamma": 1}``
            or `Loss` for all tasks; or a list in task order or a dict by task name of these.
        tasks: The tasks.
        registry: Loss by name.

    Raises:
        InputError: For a wrong number, an unknown name or key, or a loss that does not suit the kind of task.
    """
    specs = _spec_per_task(spec, tasks)
    return {task.name: _build_loss(specs[task.name], task, registry) for task in tasks}


def build_objective(
    spec: str | type[Objective], tasks: TaskSet, losses: Mapping[str, Loss], registry: Mapping[str, type[Objective]]
) -> Objective:
    """The objective with that name or class."""
    if isinstance(spec, str):
        if spec not in registry:
            raise unknown("objective", spec, registry)
        return registry[spec](tasks, losses)
    if not (isinstance(spec, type) and issubclass(spec, Objective)):
        raise InputError(f"`objective` should be a name or a class of Objective. Received {spec!r}.")
    return spec(tasks, losses)


def _spec_per_task(spec: LossSpec | Sequence[LossSpec] | None, tasks: TaskSet) -> dict[str, LossSpec]:
    names = tasks.names
    if spec is None:
        return {task.name: "bce" if task.kind == "binary" else "mse" for task in tasks}
    if isinstance(spec, Mapping) and ("name" not in spec or "name" in names):
        check_keys("task in `loss`", spec, names)
        missing = [name for name in names if name not in spec]
        if missing:
            raise InputError(f"`loss` gives no loss for task `{missing[0]}`; it names {', '.join(spec)}.")
        return dict(spec)  # type: ignore[arg-type]
    if isinstance(spec, (str, Mapping, Loss)):
        return dict.fromkeys(names, spec)
    if not isinstance(spec, Sequence):
        raise InputError(f"`loss` should be a name, a Loss, a list, or a dict by task. Received {spec!r}.")
    specs = list(spec)
    if len(specs) != len(names):
        raise InputError(
            f"`loss` has {len(specs)} entries for {len(names)} tasks; give one for each of {', '.join(names)}."
        )
    return dict(zip(names, specs))


def _build_loss(spec: LossSpec, task: Task, registry: Mapping[str, type[Loss]]) -> Loss:
    with within(f"Task `{task.name}`: "):
        loss = spec if isinstance(spec, Loss) else _from_name(spec, task, registry)
    if task.kind not in loss.kinds:
        suitable = [name for name, kind in registry.items() if task.kind in kind.kinds]
        raise InputError(
            f"Loss `{_name(loss, registry)}` of task `{task.name}` does not suit a {task.kind} task; "
            f"use one of {', '.join(suitable)}."
        )
    return loss


def _from_name(spec: str | Mapping[str, object], task: Task, registry: Mapping[str, type[Loss]]) -> Loss:
    options = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"The loss of task `{task.name}` should be a name, such as 'bce'. Received {spec!r}.")
    if name not in registry:
        raise unknown("loss", name, registry)
    check_keys(f"option of loss `{name}`", options, signature(registry[name]).parameters)
    return registry[name](**options)


def _name(loss: Loss, registry: Mapping[str, type[Loss]]) -> str:
    return next((name for name, kind in registry.items() if kind is type(loss)), type(loss).__name__)
