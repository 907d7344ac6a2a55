"""Counts what a process sends by `torch.distributed`, for tests and benchmarks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from nextrec_like import Callback

INTERFACES = Path("/proc/net/dev")


@dataclass(frozen=True)
class Sent:
    """What the calls of one kind have sent.

    Attributes:
        bytes: What this process sends, not counting the headers of packets.
        seconds: Time spent in them, waiting for other processes included.
    """

    bytes: float = 0.0
    seconds: float = 0.0

    def __sub__(self, before: "Sent") -> "Sent":
        return Sent(self.bytes - before.bytes, self.seconds - before.seconds)


def ring_sum(size: int, tensor: Any, *args: Any) -> float:
    """Bytes that each of `size` processes sends around a ring to add up a tensor: each part of it goes round twice."""
    return 2 * (size - 1) / size * tensor.nbytes


def to_all(size: int, received: Any, message: Any) -> float:
    """Bytes that each process sends so that every other one has its message."""
    return (size - 1) * message.nbytes


def from_one(size: int, tensor: Any, *args: Any, **kwargs: Any) -> float:
    """Bytes that a process sends on average so that all others have the tensor of one."""
    return (size - 1) / size * tensor.nbytes


KINDS: dict[str, Callable[..., float]] = {"all_reduce": ring_sum, "all_gather": to_all, "broadcast": from_one}
"""Functions of `torch.distributed` that the library calls, and the bytes that a call of each sends."""


@contextmanager
def counted() -> Iterator[dict[str, Sent]]:
    """Within the context, what the calls of each of `KINDS` send is added up."""
    totals, originals = {kind: Sent() for kind in KINDS}, {kind: getattr(dist, kind) for kind in KINDS}

    def counting(kind: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before, start = totals[kind], time.perf_counter()
            result = originals[kind](*args, **kwargs)
            seconds = before.seconds + time.perf_counter() - start
            totals[kind] = Sent(before.bytes + KINDS[kind](dist.get_world_size(), *args, **kwargs), seconds)
            return result

        return call

    try:
        for kind in KINDS:
            setattr(dist, kind, counting(kind))
        yield totals
    finally:
        for kind, original in originals.items():
            setattr(dist, kind, original)


@dataclass(frozen=True)
class Moment:
    """What was sent until the end of a step, what all programs have sent to this machine, and the time."""

    sent: dict[str, Sent]
    loopback: int | None
    seconds: float


class StepMessages(Callback):
    """What a process sends in a step of a training, on average; the first step does not count.

    Args:
        totals: What `counted` adds up.
    """

    def __init__(self, totals: dict[str, Sent]) -> None:
        self.totals, self.ends = totals, list[Moment]()

    def on_step_end(self, trainer: Any) -> None:
        self.ends.append(Moment(dict(self.totals), loopback_bytes(), time.perf_counter()))

    def sent(self, kind: str) -> Sent:
        """What the calls of a kind have sent after the first step."""
        return self.ends[-1].sent[kind] - self.ends[0].sent[kind]

    def bytes_per_step(self, *kinds: str) -> float:
        """Bytes that calls of these kinds send in a step."""
        return sum(self.sent(kind).bytes for kind in kinds) / (len(self.ends) - 1)

    def share_of_time(self) -> float:
        """The share of the time that is spent in messages."""
        return sum(self.sent(kind).seconds for kind in KINDS) / (self.ends[-1].seconds - self.ends[0].seconds)

    def loopback_per_step(self) -> float | None:
        """Bytes that all programs of the machine have sent to it in the time of a step."""
        first, last = self.ends[0].loopback, self.ends[-1].loopback
        return None if first is None or last is None else (last - first) / (len(self.ends) - 1)


def loopback_bytes() -> int | None:
    """Bytes that have crossed the loopback interface of this machine so far; None where it cannot be read."""
    lines = INTERFACES.read_text().splitlines() if INTERFACES.is_file() else []
    return next((int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:")), None)
