"""Which steps were skipped, with what losses, and where their rows are in the table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor

from nextrec_like.data.packed import PackedData
from nextrec_like.data.source import Rows
from nextrec_like.training.history import History, SkippedStep
from nextrec_like.training.scaling import LossScale
from nextrec_like.weighting import Step

MAX_PENDING = 1000
"""Steps after which a GPU is waited for, so that what is kept of them does not grow."""
MAX_RECORDS = 100
"""Skipped steps that a history lists."""
MAX_ROW_NUMBERS = 2**18
"""Row numbers in a history after which no further step has its own listed."""
SHOWN = 3
"""Skipped steps of an epoch that are shown."""


def has_failed(step: Step, scale: LossScale) -> Tensor:
    """Whether a step was skipped for a reason of its own, and not while fp16 seeks its scale, bool, 0-dim.

    Losses are free of the scale, so that one that is not finite is never its fault.
    """
    skipped = ~step.is_finite
    if not scale.active:
        return skipped
    return skipped & ~(step.losses.isfinite().all() & (scale.scale > 1))


@dataclass(frozen=True)
class _Pending:
    """A step whose values may still be on their way."""

    epoch: int
    step: int
    rows: range
    failed: Tensor
    losses: Tensor
    counts: Tensor


class SkippedSteps:
    """Keeps figures of steps on the device until they are asked for, so that no step waits for them.

    Args:
        task_names: The tasks.

    Attributes:
        last: The last skipped step that was read.
    """

    def __init__(self, task_names: Sequence[str]) -> None:
        self.task_names = list(task_names)
        self.last: SkippedStep | None = None
        self._pending: list[_Pending] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to move what is pending."""
        return len(self._pending) >= MAX_PENDING

    def add(self, epoch: int, number: int, rows: range, step: Step, failed: Tensor) -> None:
        """Notes a step that may have failed.

        Args:
            epoch: Counted from 1.
            number: Counted from 1 within the epoch.
            rows: Of its batch, in the order of the epoch.
            step: The step.
            failed: See `has_failed`.
        """
        self._pending.append(_Pending(epoch, number, rows, failed, step.losses, step.counts))

    def move_to(self, history: History, data: Rows, order: Tensor | None) -> None:
        """Moves what is pending into a history, as far as that lists them; waits for the device.

        Args:
            history: Of the training.
            data: Its rows.
            order: State of the generator from which the order of the epoch was drawn; None: the rows are in their own.
        """
        found = self._read()
        if not found:
            return
        self.last = found[-1]
        listed = sum(len(record.rows or ()) for record in history.skipped)
        kept = found[: max(0, MAX_RECORDS - len(history.skipped))]
        numbers = _numbers(data, order) if kept and listed < MAX_ROW_NUMBERS else None
        for record in kept:
            if numbers is not None and listed < MAX_ROW_NUMBERS:
                record = replace(record, rows=list(map(int, numbers[record.first : record.stop])))
                listed += len(record.rows or ())
            history.skipped.append(record)

    def _read(self) -> list[SkippedStep]:
        pending, self._pending = self._pending, []
        if not pending:
            return []
        failed = torch.stack([each.failed for each in pending]).tolist()
        return [self._record(each) for each, is_one in zip(pending, failed) if is_one]

    def _record(self, each: _Pending) -> SkippedStep:
        figures = zip(self.task_names, each.losses.tolist(), each.counts.tolist())
        loss = {name: _readable(value) if count else None for name, value, count in figures}
        return SkippedStep(each.epoch, each.step, each.rows.start, each.rows.stop, loss)


def shown(records: Sequence[SkippedStep], count: int, *, shuffled: bool) -> str:
    """The first skipped steps of an epoch in words.

    Args:
        records: At least one.
        count: How many there are in all.
        shuffled: Whether the epoch had an order of its own.
    """
    words = [f"step {each.step} ({_losses(each)}{rows_of(each, shuffled)})" for each in records[:SHOWN]]
    more = f" and {count - len(words):,} more" if count > len(words) else ""
    return f"{', '.join(words)}{more}; `history.skipped` lists them with their rows"


def rows_of(record: SkippedStep, shuffled: bool) -> str:
    """The rows of a step in words."""
    return f"rows {record.first:,} to {record.stop - 1:,}{' of the shuffled order' if shuffled else ''}"


def _losses(record: SkippedStep) -> str:
    wrong = [f"loss of `{task}` {loss}" for task, loss in record.loss.items() if isinstance(loss, str)]
    return "".join(f"{each}, " for each in wrong)


def _readable(value: float) -> float | str:
    return value if isfinite(value) else str(value)


def _numbers(data: Rows, order: Tensor | None) -> Sequence[int] | Tensor | None:
    """For each place in the order of an epoch the number of its row; None where that takes reading the files."""
    if order is None:
        return range(len(data))
    if not isinstance(data, PackedData):
        return None
    return torch.randperm(len(data), generator=generator_at(order))


def generator_at(state: Tensor) -> torch.Generator:
    """A generator in a state."""
    generator = torch.Generator()
    generator.set_state(state)
    return generator
