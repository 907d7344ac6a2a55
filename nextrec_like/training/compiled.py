"""What `compile` makes of its arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nextrec_like.errors import number_in
from nextrec_like.objectives import LOSSES, OBJECTIVES, Objective, build_losses, build_objective
from nextrec_like.objectives.build import LossSpec
from nextrec_like.optim import Schedule, build_optimizer, build_schedule, move_state
from nextrec_like.tasks import TaskSet
from nextrec_like.weighting import WEIGHTINGS, Balancer, Weighting, WeightingSpec, build_weighting
from nextrec_like.weighting.site import Site


@dataclass
class Compiled:
    """The parts of a training step besides the model."""

    optimizer: Optimizer
    schedule: Schedule
    objective: Objective
    weighting: Weighting
    site: Site
    balancer: Balancer
    parameters: list[nn.Parameter]
    clip_norm: float | None
    arguments: dict[str, object]

    def to(self, device: torch.device) -> None:
        """Moves all state to a device, after the parameters are there."""
        self.weighting.to(device)
        move_state(self.optimizer)


def compile_parts(
    parameters: Sequence[nn.Parameter],
    tasks: TaskSet,
    site: Site,
    *,
    optimizer: str | Optimizer,
    optimizer_params: Mapping[str, object] | None,
    loss: LossSpec | Sequence[LossSpec] | None,
    loss_weights: WeightingSpec,
    objective: str | type[Objective],
    scheduler: str | LRScheduler | None,
    scheduler_params: Mapping[str, object] | None,
    scheduler_interval: str,
    warmup_steps: int,
    clip_norm: float | None,
) -> Compiled:
    """Builds every part; see `Estimator.compile` for the arguments.

    Raises:
        InputError: For anything unknown or out of range, with the closest name.
    """
    arguments = {
        "optimizer": optimizer,
        "optimizer_params": optimizer_params,
        "loss": loss,
        "scheduler": scheduler,
        "scheduler_params": scheduler_params,
        "scheduler_interval": scheduler_interval,
        "warmup_steps": warmup_steps,
        "clip_norm": clip_norm,
    }
    if clip_norm is not None:
        clip_norm = number_in("`clip_norm`", clip_norm, above_low=True)
    meaning = build_objective(objective, tasks, build_losses(loss, tasks, LOSSES), OBJECTIVES)
    weighting = build_weighting(loss_weights, tasks.names, WEIGHTINGS)
    built = build_optimizer(optimizer, optimizer_params, parameters)
    schedule = build_schedule(built, scheduler, scheduler_params, scheduler_interval, warmup_steps)
    return Compiled(
        optimizer=built,
        schedule=schedule,
        objective=meaning,
        weighting=weighting,
        site=site,
        balancer=Balancer(weighting, site),
        parameters=list(parameters),
        clip_norm=clip_norm,
        arguments={**plain(arguments), "weighting": _identity(weighting)},
    )


def _identity(weighting: Weighting) -> dict[str, Any]:
    """Class, options and initial state of a weighting, JSON-ready."""
    options = {name: value for name, value in vars(weighting).items() if isinstance(value, (str, int, float))}
    state = {name: value.tolist() for name, value in weighting.state_dict().items()}
    return {"class": type(weighting).__name__, **options, **state}


def plain(value: Any) -> Any:  # noqa: ANN401
    """The value as JSON can hold it; of any other object only the name of its class."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else type(value).__name__
