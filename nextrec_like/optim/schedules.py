"""Learning rate over time: any torch scheduler, after a linear warm-up."""

from collections.abc import Mapping
from inspect import isclass, signature

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from nextrec_like.errors import InputError, check_keys, integer_in, one_of

NOT_BY_NAME = ("LRScheduler", "SequentialLR", "ChainedScheduler")
"""What is made of other schedulers must be given as an instance."""

SCHEDULERS: dict[str, type[LRScheduler]] = {
    name: kind
    for name, kind in vars(lr_scheduler).items()
    if isclass(kind) and issubclass(kind, LRScheduler) and name not in NOT_BY_NAME and not name.startswith("_")
}
INTERVALS = ("epoch", "step")
FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""How schedulers of torch fail on options, which they check in part and late."""


class Schedule:
    """A torch scheduler, stepped every epoch or every step, under a linear warm-up.

    Args:
        optimizer: The optimizer whose learning rates change.
        scheduler: The torch scheduler, if any.
        interval: ``epoch`` or ``step``: when the scheduler advances.
        warmup_steps: Steps over which the learning rate rises linearly to what the scheduler says.

    Attributes:
        last_lr: Learning rate of the first parameter group in the last step.
    """

    def __init__(
        self, optimizer: Optimizer, scheduler: LRScheduler | None = None, interval: str = "epoch", warmup_steps: int = 0
    ) -> None:
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.interval = interval
        self.warmup_steps = warmup_steps
        self.steps = 0
        self.last_lr = float(optimizer.param_groups[0]["lr"])

    @property
    def needs_score(self) -> bool:
        """Whether the scheduler follows the validation score."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    def warm_up(self) -> float:
        """The part of the learning rate that the coming step has."""
        return min(1.0, (self.steps + 1) / max(1, self.warmup_steps))

    def optimizer_step(self) -> None:
        """One step of the optimizer at the learning rate of the moment."""
        factor = self.warm_up()
        self.steps += 1
        self.last_lr = float(self.optimizer.param_groups[0]["lr"]) * factor
        if factor == 1:
            self.optimizer.step()
        else:
            self._warm_step(factor)
        self._end_step()

    def skip_step(self) -> None:
        """Counts a step that the optimizer does not take: learning rates follow batches."""
        self.steps += 1
        self._end_step()

    def end_epoch(self, score: float | None) -> None:
        """Advances a scheduler that counts epochs; `score`: monitored value, higher is better."""
        if self.scheduler is None or self.interval != "epoch":
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self._advance()
        elif score is not None:
            self.scheduler.step(score if self.scheduler.mode == "max" else -score)

    def _end_step(self) -> None:
        if self.scheduler is not None and self.interval == "step":
            self._advance()

    def _advance(self) -> None:
        assert self.scheduler is not None
        try:
            self.scheduler.step()
        except FAILURES as error:
            raise InputError(
                f"`scheduler` {type(self.scheduler).__name__} cannot go on: {error}. Count epochs times steps for an "
                f"interval of `step`."
            ) from error

    def _warm_step(self, factor: float) -> None:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate * factor
        self.optimizer.step()
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate


def build_schedule(
    optimizer: Optimizer,
    spec: str | LRScheduler | None,
    params: Mapping[str, object] | None,
    interval: str,
    warmup_steps: int,
) -> Schedule:
    """The schedule for `compile`.

    Raises:
        InputError: For an unknown scheduler, option or interval, with the closest one.
    """
    one_of("scheduler_interval", interval, INTERVALS)
    warmup_steps = integer_in("`warmup_steps`", warmup_steps)
    scheduler = _build_scheduler(optimizer, spec, params)
    if isinstance(scheduler, ReduceLROnPlateau) and interval != "epoch":
        raise InputError("ReduceLROnPlateau follows the validation score, so `scheduler_interval` must be `epoch`.")
    return Schedule(optimizer, scheduler, interval, warmup_steps)


def _build_scheduler(
    optimizer: Optimizer, spec: str | LRScheduler | None, params: Mapping[str, object] | None
) -> LRScheduler | None:
    if params is not None and not isinstance(params, Mapping):
        raise InputError(f"`scheduler_params` should be a dict such as {{'gamma': 0.5}}. Received {params!r}.")
    if spec is None or isinstance(spec, LRScheduler):
        if params:
            raise InputError("`scheduler_params` need a `scheduler` given by name.")
        if spec is not None and spec.optimizer is not optimizer:
            raise InputError(
                "`scheduler` was made for another optimizer; pass that optimizer to `compile` as well, and beside an "
                "`embedding_optimizer` give the scheduler by name."
            )
        return spec
    kind = SCHEDULERS[one_of("scheduler", spec, SCHEDULERS)]
    options = dict(params or {})
    check_keys(
        f"option of scheduler `{spec}`", options, [name for name in signature(kind).parameters if name != "optimizer"]
    )
    if kind is ReduceLROnPlateau:
        options = {"mode": "max", "threshold_mode": "abs", **options}  # the score may be negative
    try:
        return kind(optimizer, **options)  # type: ignore[arg-type]
    except FAILURES as error:
        raise InputError(f"`scheduler_params` of `{spec}` are not valid: {error}. Received {options}.") from error
