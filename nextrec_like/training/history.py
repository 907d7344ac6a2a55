"""What happened in each epoch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Mean training loss of each task over its observed rows; NaN-free: None without one.
        weights: Mean weight of each task over the steps.
        valid: Validation metrics of each task, also under names such as ``conversion_given_click``; None
            where undefined.
        reasons: Why a validation metric is None, by task and metric.
        error_bounds: How far a validation metric is at most from the exact value, where there were too many rows for
            it; see `MetricsAccumulator`.
        score: Monitored value, higher is better; None without validation data.
        lr: Learning rate of the last step, warm-up included.
        seconds: Training time, without validation.
        samples_per_second: Training rows per second.
    """

    epoch: int
    loss: dict[str, float | None]
    weights: dict[str, float]
    valid: dict[str, dict[str, float | int | None]]
    reasons: dict[str, dict[str, str]]
    error_bounds: dict[str, dict[str, float]]
    score: float | None
    lr: float
    seconds: float
    samples_per_second: float

    def append_to(self, path: str | Path, extra: Mapping[str, object] | None = None) -> None:
        """Appends the record to a file as one line of strictly valid JSON, after the extra keys."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**(extra or {}), **asdict(self)}, allow_nan=False) + "\n")


@dataclass
class StepRecord:
    """One logged step.

    Attributes:
        epoch: Counted from 1.
        step: Counted from 1 over all epochs.
        loss: Loss of each task in the batch; None without an observed label.
        weight: Weight of each task.
        norm: Norm of each task's gradient at the site; empty if not probed.
        cosine: Cosine of the gradients of each pair, ``cosine["click"]["conversion"]``; empty if not probed, None
            where a gradient is 0.
    """

    epoch: int
    step: int
    loss: dict[str, float | None]
    weight: dict[str, float | None]
    norm: dict[str, float | None]
    cosine: dict[str, dict[str, float | None]]

    def rows(self) -> Iterator[tuple[int, int, str, str, str | None, float | None]]:
        """Rows of `History.steps_frame`."""
        for figure, by_task in (("loss", self.loss), ("weight", self.weight), ("norm", self.norm)):
            for task, value in by_task.items():
                yield self.epoch, self.step, figure, task, None, value
        for task, others in self.cosine.items():
            for other, value in others.items():
                yield self.epoch, self.step, "cosine", task, other, value


@dataclass(frozen=True)
class SkippedStep:
    """A step that moved nothing, because a loss or gradient was not finite.

    Attributes:
        epoch: Counted from 1.
        step: Counted from 1 within the epoch.
        first: First row of its batch in the order of the epoch, counted from 0.
        stop: One past its last row.
        loss: Loss of each task in the batch; ``"nan"``, ``"inf"`` or ``"-inf"`` where it is not finite, as JSON has no
            such numbers; None without an observed label.
        rows: Numbers of its rows among the training rows, counted from 0; None for streamed rows that are shuffled,
            and once 2**18 numbers are listed.
    """

    epoch: int
    step: int
    first: int
    stop: int
    loss: dict[str, float | str | None]
    rows: list[int] | None = None


@dataclass
class History:
    """All epochs of a training.

    Attributes:
        epochs: One record per epoch.
        steps: One record per logged step.
        skipped_steps: Steps that were left out because a loss or gradient was not finite.
        skipped: The first 100 of them, without those in which fp16 has sought its scale.
        best_epoch: Epoch with the best monitored value; None without validation data.
        stopped_early: Whether patience ran out.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False
    steps: list[StepRecord] = field(default_factory=list)
    skipped_steps: int = 0
    skipped: list[SkippedStep] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The history JSON-ready, with lists of its own; records, which do not change any more, are not copied."""
        own = {name: [vars(record) for record in getattr(self, name)] for name in ("epochs", "steps", "skipped")}
        return {**vars(self), **own}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "History":
        """The history that `to_dict` gave."""
        epochs = [EpochRecord(**record) for record in content["epochs"]]
        steps = [StepRecord(**record) for record in content["steps"]]
        skipped = [SkippedStep(**record) for record in content["skipped"]]
        return cls(**{**content, "epochs": epochs, "steps": steps, "skipped": skipped})

    def steps_frame(self) -> pd.DataFrame:
        """The logged steps as a tidy table with one row per figure.

        Columns: epoch, step, figure (``loss``, ``weight``, ``norm`` or ``cosine``), task, other (the second task of a
        cosine), value.
        """
        columns = ["epoch", "step", "figure", "task", "other", "value"]
        frame = pd.DataFrame([row for record in self.steps for row in record.rows()], columns=columns)
        return frame.astype({"epoch": "int64", "step": "int64", "value": "float64"})

    def conflict_share(self) -> dict[tuple[str, str], float]:
        """For each pair of tasks the share of the probed steps in which their gradients had a negative cosine."""
        found: dict[tuple[str, str], list[bool]] = {}
        for record in self.steps:
            for task, others in record.cosine.items():
                for other, cosine in others.items():
                    if cosine is not None:
                        found.setdefault((task, other), []).append(cosine < 0)
        return {pair: sum(conflicts) / len(conflicts) for pair, conflicts in found.items()}

    def to_frame(self) -> pd.DataFrame:
        """A tidy table with one row per epoch and task, and a column per figure."""
        rows = []
        for record in self.epochs:
            for task in dict.fromkeys([*record.loss, *record.valid]):
                row: dict[str, Any] = {"epoch": record.epoch, "task": task}
                row["loss"], row["weight"] = record.loss.get(task), record.weights.get(task)
                rows.append(row | {f"valid_{name}": value for name, value in record.valid.get(task, {}).items()})
        return pd.DataFrame(rows)

    def save(self, path: str | Path, extra: Mapping[str, object] | None = None) -> None:
        """Appends one JSON line per epoch, each with the extra keys."""
        for record in self.epochs:
            record.append_to(path, extra)
