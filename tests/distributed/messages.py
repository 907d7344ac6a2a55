"""Counts what a process sends by `torch.distributed`, for tests and benchmarks."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from nextrec_like import Callback
from nextrec_like.distributed import processes

INTERFACES = Path("/proc/net/dev")


WAITING = "seconds"
"""Key of the time that is spent in messages, waiting for other processes included."""


def ring_sum(size: int, tensor: Any, **options: Any) -> float:
    """Bytes that each of `size` processes sends around a ring to add up a tensor: each part of it goes round twice."""
    return 2 * (size - 1) / size * tensor.nbytes


def to_all(size: int, received: Any, message: Any) -> float:
    """Bytes that each process sends so that every other one has its message."""
    return (size - 1) * message.nbytes


def from_one(size: int, tensor: Any, *args: Any, **kwargs: Any) -> float:
    """Bytes that a process sends on average so that all others have the tensor of one."""
    return (size - 1) / size * tensor.nbytes


def to_each(size: int, messages: Sequence[dist.P2POp]) -> float:
    """Bytes that this process sends to single others."""
    return sum(message.tensor.nbytes for message in messages if message.op is dist.isend)


KINDS: dict[str, Callable[..., float]] = {
    "all_reduce": ring_sum,
    "all_gather": to_all,
    "broadcast": from_one,
    "batch_isend_irecv": to_each,
}
"""Functions of `torch.distributed` that the library calls, and the bytes that a call of each sends."""


@contextmanager
def counted() -> Iterator[dict[str, float]]:
    """Within the context, bytes that calls of each of `KINDS` send are added up, without the headers of packets.

    Under `WAITING` is the time of all that the library does with messages.
    """
    totals, originals = dict.fromkeys([*KINDS, WAITING], 0.0), {kind: getattr(dist, kind) for kind in KINDS}
    peers = processes._peers

    def counting(kind: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            totals[kind] += KINDS[kind](dist.get_world_size(), *args, **kwargs)
            return originals[kind](*args, **kwargs)

        return call

    @contextmanager
    def timed() -> Iterator[None]:
        start = time.perf_counter()
        with peers():
            yield
        totals[WAITING] += time.perf_counter() - start

    try:
        for kind in KINDS:
            setattr(dist, kind, counting(kind))
        processes._peers = timed
        yield totals
    finally:
        for kind, original in originals.items():
            setattr(dist, kind, original)
        processes._peers = peers


@dataclass(frozen=True)
class Moment:
    """What was sent until the end of a step, what all programs have sent to this machine, and the time."""

    sent: dict[str, float]
    loopback: int | None
    seconds: float


class StepMessages(Callback):
    """What a process sends in a step of a training, on average; the first step does not count.

    Args:
        totals: What `counted` adds up.
    """

    def __init__(self, totals: dict[str, float]) -> None:
        self.totals, self.ends = totals, list[Moment]()

    def on_step_end(self, trainer: Any) -> None:
        self.ends.append(Moment(dict(self.totals), loopback_bytes(), time.perf_counter()))

    def sent(self, kind: str) -> float:
        """What is counted under a key after the first step."""
        return self.ends[-1].sent[kind] - self.ends[0].sent[kind]

    def bytes_per_step(self, *kinds: str) -> float:
        """Bytes that calls of these kinds send in a step."""
        return sum(self.sent(kind) for kind in kinds) / (len(self.ends) - 1)

    def seconds_per_step(self) -> float:
        """Time in messages in a step."""
        return self.sent(WAITING) / (len(self.ends) - 1)

    def share_of_time(self) -> float:
        """The share of the time that is spent in messages."""
        return self.sent(WAITING) / (self.ends[-1].seconds - self.ends[0].seconds)

    def loopback_per_step(self) -> float | None:
        """Bytes that all programs of the machine have sent to it in the time of a step."""
        first, last = self.ends[0].loopback, self.ends[-1].loopback
        return None if first is None or last is None else (last - first) / (len(self.ends) - 1)


def loopback_bytes() -> int | None:
    """Bytes that have crossed the loopback interface of this machine so far; None where it cannot be read."""
    lines = INTERFACES.read_text().splitlines() if INTERFACES.is_file() else []
    return next((int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:")), None)
