"""What each process of `scaling.py` does when it is told to."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
from loops import Fit
from messages import KINDS, StepMessages, counted
from workload import Columns, Workload, make_data

from nextrec_like.distributed.join import current
from nextrec_like.optim.tables import TableRows
from nextrec_like.training.forward import Forward
from nextrec_like.training.step import Stepper
from nextrec_like.weighting import Balancer

FIXED = {"loss_weights": [0.3, 0.7]}
TRAININGS: dict[str, dict[str, object]] = {
    "fixed weights": FIXED,
    "rowwise_adagrad": {**FIXED, "embedding_optimizer": "rowwise_adagrad"},
    "grad_norm": {"loss_weights": "grad_norm"},
}
"""Arguments of `compile`."""
PARTS: dict[str, tuple[type, str]] = {
    "forward": (Forward, "__call__"),
    "backward": (Balancer, "_run"),
    "joining rows": (TableRows, "take_joint"),
    "update": (Stepper, "_update"),
}
"""What a step does, and the method that does it."""


def prepare(apart: bool = False) -> None:
    """Keeps this process, before it has any thread, on one core.

    Args:
        apart: Whether it then trains by itself, while the others do the same.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["RANK"]) % len(cores)]})
    if apart:
        os.environ["WORLD_SIZE"] = "1"


def epoch(training: str, workload: Workload) -> dict[str, float]:
    """Samples/s of an epoch, of all processes that train together, and the share of it that this one is in messages."""
    with counted() as totals:
        counter = StepMessages(totals)
        (record,) = _trained_before(training, workload).epochs(1, callbacks=[counter])
    return {"samples_per_second": record.samples_per_second, "in_messages": counter.share_of_time()}


def profile(training: str, workload: Workload) -> dict[str, float]:
    """Milliseconds of a step in each of `PARTS`, in messages, and in all."""
    seconds = dict.fromkeys(PARTS, 0.0)
    fit = _trained_before(training, workload)
    with counted() as totals, ExitStack() as stack:
        for name, (owner, method) in PARTS.items():
            original = getattr(owner, method)
            stack.callback(setattr, owner, method, original)
            setattr(owner, method, _timed(original, name, seconds))
        counter = StepMessages(totals)
        (record,) = fit.epochs(1, callbacks=[counter])
    steps = len(counter.ends)
    found = {**{name: each / steps for name, each in seconds.items()}, "all": record.seconds / steps}
    return {name: 1e3 * each for name, each in {**found, "messages": counter.seconds_per_step()}.items()}


def _timed(method: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        start = time.perf_counter()
        result = method(*args)
        seconds[name] += time.perf_counter() - start
        return result

    return run


def step_bytes(workload: Workload) -> dict[str, Any]:
    """Bytes that this process sends in a step, with those that it cannot do without, and what the machine has counted.

    Rows are read in order. The first step does not count.
    """
    processes, data = current(), make_data(workload)
    with counted() as totals:
        counter = StepMessages(totals)
        Fit(data, workload, **TRAININGS["rowwise_adagrad"]).epochs(1, callbacks=[counter], shuffle=False)
    joint = workload.batch_size * processes.size
    parts = [processes.share.of(start, start + joint) for start in range(joint, workload.rows, joint)]
    distinct = np.mean([_distinct_rows(data, workload, slice(*part)) for part in parts])
    return {
        "distinct_rows": float(distinct),
        "lower_bound": float(distinct) * (8 + 4 * workload.width) * (processes.size - 1),
        "rows_sent": counter.bytes_per_step("all_gather", "batch_isend_irecv"),
        "sent": counter.bytes_per_step(*KINDS),
        "loopback": counter.loopback_per_step(),
    }


def _distinct_rows(data: Columns, workload: Workload, rows: slice) -> int:
    return sum(len(np.unique(data[name][rows])) for name in workload.id_names)


@cache
def _trained_before(training: str, workload: Workload) -> Fit:
    return Fit(make_data(workload), workload, **TRAININGS[training])
