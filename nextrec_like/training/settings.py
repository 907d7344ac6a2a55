"""What `fit` is told about the course of a training, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nextrec_like.errors import InputError, checked_seed, integer_in, number_in, positive_int
from nextrec_like.metrics import check_metrics
from nextrec_like.tasks import TaskSet
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.monitor import Monitor, MonitorSpec

SEED_STEP = 0x9E3779B97F4A7C15
"""Odd and large, so that the seeds of later fits do not meet those that users choose."""


@dataclass(frozen=True)
class Settings:
    """The course of a training; see `Estimator.fit` for each. `check` builds it from what the user gave."""

    epochs: int
    batch_size: int
    shuffle: bool
    metrics: tuple[str, ...]
    monitor: Monitor
    patience: int | None
    min_delta: float
    restore_best: bool
    seed: int
    callbacks: tuple[Callback, ...]
    log_every: int
    diagnose: bool
    max_skipped_steps: int
    verbose: int

    @classmethod
    def check(
        cls,
        tasks: TaskSet,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        metrics: str | Sequence[str],
        monitor: MonitorSpec,
        patience: int | None,
        min_delta: float,
        restore_best: bool,
        seed: int,
        callbacks: Sequence[Callback],
        log_every: int,
        diagnose: bool,
        max_skipped_steps: int,
        verbose: int,
    ) -> "Settings":
        """The settings.

        Raises:
            InputError: Names the argument that breaks a rule, its value and the rule.
        """
        names = check_metrics(metrics)
        return cls(
            epochs=positive_int("`epochs`", epochs),
            batch_size=positive_int("`batch_size`", batch_size),
            shuffle=checked_switch("`shuffle`", shuffle),
            metrics=names,
            monitor=Monitor.of(monitor, names, tasks),
            patience=None if patience is None else positive_int("`patience`", patience),
            min_delta=number_in("`min_delta`", min_delta),
            restore_best=checked_switch("`restore_best`", restore_best),
            seed=checked_seed(seed),
            callbacks=_checked_callbacks(callbacks),
            log_every=positive_int("`log_every`", log_every),
            diagnose=checked_switch("`diagnose`", diagnose),
            max_skipped_steps=positive_int("`max_skipped_steps`", max_skipped_steps),
            verbose=integer_in("`verbose`", int(verbose) if isinstance(verbose, bool) else verbose),
        )

    def for_fit(self, number: int) -> "Settings":
        """The settings with a seed of its own for each later `fit` of a model, so that no order of rows repeats."""
        return replace(self, seed=(self.seed + number * SEED_STEP) % 2**63)


def checked_switch(what: str, value: object) -> bool:
    """True or False; raises for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{what} should be True or False. Received {value!r}.")
    return bool(value)


def _checked_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    listed = tuple(callbacks) if isinstance(callbacks, Sequence) else (callbacks,)
    wrong = [callback for callback in listed if not isinstance(callback, Callback)]
    if wrong or not isinstance(callbacks, Sequence):
        raise InputError(f"`callbacks` should be a list of Callback objects. Received {callbacks!r}.")
    return listed
