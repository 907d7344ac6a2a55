"""What `compile` makes of its arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nextrec_like.errors import InputError
from nextrec_like.objectives import LOSSES, OBJECTIVES, Objective, build_losses, build_objective
from nextrec_like.objectives.build import LossSpec
from nextrec_like.optim import Schedule, build_optimizer, build_schedule
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
    if clip_norm is not None and not (isinstance(clip_norm, (int, float)) and isfinite(clip_norm) and clip_norm > 0):
        raise InputError(f"`clip_norm` should be a positive number. Received {clip_norm!r}.")
    meaning = build_objective(objective, tasks, build_losses(loss, tasks, LOSSES), OBJECTIVES)
    weighting = build_weighting(loss_weights, tasks.names, WEIGHTINGS)
    built = build_optimizer(optimizer, optimizer_params, parameters)
    schedule = build_schedule(built, scheduler, scheduler_params, scheduler_interval, warmup_steps)
    return Compiled(built, schedule, meaning, weighting, site, Balancer(weighting, site), list(parameters), clip_norm)
