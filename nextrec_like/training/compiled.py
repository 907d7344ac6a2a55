"""What `compile` makes of its arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nextrec_like.errors import InputError, number_in, one_of, positive_int
from nextrec_like.layers import EmbeddingTable
from nextrec_like.objectives import LOSSES, OBJECTIVES, Objective, build_losses, build_objective
from nextrec_like.objectives.build import LossSpec
from nextrec_like.optim import Schedule, TableGradients, build_optimizers, build_schedule, move_state
from nextrec_like.sharded import build_sharded, check_steps, check_whole
from nextrec_like.tasks import TaskSet
from nextrec_like.training.plain import plain
from nextrec_like.training.scaling import LossScale
from nextrec_like.weighting import WEIGHTINGS, Balancer, Weighting, WeightingSpec, build_weighting
from nextrec_like.weighting.site import Site

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Type in which the model computes; weights, losses and the state of the optimizer are float32."""


@dataclass(frozen=True)
class Sites:
    """What a model offers to probe.

    Attributes:
        last_shared: Parameters, or a module whose output is probed; None: all that are found.
        representation: A module whose output is probed; None if the model names none.
        candidates: Parameters among which those that tasks share are found.
    """

    last_shared: Sequence[nn.Parameter] | nn.Module | None
    representation: nn.Module | None
    candidates: Sequence[nn.Parameter]

    def site_of(self, weighting: Weighting) -> Site:
        """Where this weighting probes.

        Raises:
            InputError: If the model has no such site, or the weighting cannot probe there.
        """
        name = weighting.options.site or weighting.default_site
        if name == "representation" and weighting.needs_parameters:
            raise InputError(
                f"{type(weighting).__name__} needs a `site` of parameters, as it combines the gradients of different "
                f"batches; use last_shared or shared."
            )
        if name == "representation" and self.representation is None:
            raise InputError(
                "`site` is representation, but this model names no shared representation; implement "
                "`representation`, or use last_shared or shared."
            )
        declared = {"last_shared": self.last_shared, "shared": None, "representation": self.representation}[name]
        output = self.last_shared if isinstance(self.last_shared, nn.Module) else None
        if weighting.needs_parameters and output is not None:
            declared = output = None
        return Site(declared, self.candidates, weighting.task_names, fallback=output)


@dataclass
class Compiled:
    """The parts of a training step besides the model."""

    optimizer: Optimizer
    tables: TableGradients
    schedule: Schedule
    objective: Objective
    balancer: Balancer
    dense_parameters: list[nn.Parameter]
    clip_norm: float | None
    precision: torch.dtype
    scale: LossScale
    accumulate_steps: int
    jit: bool
    arguments: dict[str, object]

    @property
    def weighting(self) -> Weighting:
        """The weighting of the balancer."""
        return self.balancer.weighting

    def to(self, device: torch.device) -> None:
        """Moves all state to a device, after the parameters are there."""
        self.balancer.to(device)
        self.scale.to(device)
        move_state(self.optimizer)


def compile_parts(
    parameters: Sequence[nn.Parameter],
    tables: Sequence[EmbeddingTable],
    tasks: TaskSet,
    sites: Sites,
    *,
    optimizer: str | Optimizer,
    optimizer_params: Mapping[str, object] | None,
    embedding_optimizer: str,
    embedding_optimizer_params: Mapping[str, object] | None,
    loss: LossSpec | Sequence[LossSpec] | None,
    loss_weights: WeightingSpec,
    objective: str | type[Objective],
    scheduler: str | LRScheduler | None,
    scheduler_params: Mapping[str, object] | None,
    scheduler_interval: str,
    warmup_steps: int,
    clip_norm: float | None,
    precision: str,
    accumulate_steps: int,
    jit: bool,
    sharding: str | None,
) -> Compiled:
    """Builds every part; see `Estimator.compile` for the arguments.

    Raises:
        InputError: For anything unknown or out of range, with the closest name.
    """
    arguments = {
        "optimizer": optimizer,
        "optimizer_params": optimizer_params,
        "embedding_optimizer": embedding_optimizer,
        "embedding_optimizer_params": embedding_optimizer_params,
        "loss": loss,
        "scheduler": scheduler,
        "scheduler_params": scheduler_params,
        "scheduler_interval": scheduler_interval,
        "warmup_steps": warmup_steps,
        "clip_norm": clip_norm,
        "precision": precision,
        "accumulate_steps": accumulate_steps,
        "jit": jit,
        "sharded": sharding is not None,
    }
    one_of("precision", precision, PRECISIONS)
    if not isinstance(jit, bool):
        raise InputError(f"`jit` should be True or False. Received {jit!r}.")
    accumulate_steps = positive_int("`accumulate_steps`", accumulate_steps)
    if clip_norm is not None:
        clip_norm = number_in("`clip_norm`", clip_norm, above_low=True)
    meaning = build_objective(objective, tasks, build_losses(loss, tasks, LOSSES), OBJECTIVES)
    given = optimizer, optimizer_params, parameters, tables, embedding_optimizer, embedding_optimizer_params
    gradients: TableGradients
    if sharding is None:
        check_whole(tables)
        built, gradients = build_optimizers(*given)
        schedule = build_schedule(built, scheduler, scheduler_params, scheduler_interval, warmup_steps)
    else:
        check_steps(accumulate_steps=accumulate_steps, clip_norm=clip_norm, precision=precision, jit=jit)
        built, shards = build_sharded(*given, sharding)
        schedule = build_schedule(built, scheduler, scheduler_params, scheduler_interval, warmup_steps)
        shards.warm_up, gradients = schedule.warm_up, shards
    balancer = _build_balancer(loss_weights, tasks, sites)
    return Compiled(
        optimizer=built,
        tables=gradients,
        schedule=schedule,
        objective=meaning,
        balancer=balancer,
        dense_parameters=list(sites.candidates),
        clip_norm=clip_norm,
        precision=PRECISIONS[precision],
        scale=LossScale(precision == "fp16"),
        accumulate_steps=accumulate_steps,
        jit=jit,
        arguments={**plain(arguments), "weighting": _identity(balancer.weighting)},
    )


def _build_balancer(loss_weights: WeightingSpec, tasks: TaskSet, sites: Sites) -> Balancer:
    weighting = build_weighting(loss_weights, tasks.names, WEIGHTINGS, [task.kind for task in tasks])
    try:
        return Balancer(weighting, sites.site_of(weighting))
    except InputError:
        weighting.release()
        raise


def _identity(weighting: Weighting) -> dict[str, Any]:
    """Class, options and initial state of a weighting, JSON-ready."""
    own = {name: value for name, value in vars(weighting).items() if not name.startswith("_") and name != "options"}
    state = dict(weighting.named_buffers())
    return plain({"class": type(weighting).__name__, **own, **asdict(weighting.options), **state})
