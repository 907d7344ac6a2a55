"""What happened in each epoch."""

import json
from collections.abc import Mapping
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
    score: float | None
    lr: float
    seconds: float
    samples_per_second: float

    def append_to(self, path: str | Path, extra: Mapping[str, object] | None = None) -> None:
        """Appends the record to a file as one line of strictly valid JSON, after the extra keys."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**(extra or {}), **asdict(self)}, allow_nan=False) + "\n")


@dataclass
class History:
    """All epochs of a training.

    Attributes:
        epochs: One record per epoch.
        best_epoch: Epoch with the best monitored value; None without validation data.
        stopped_early: Whether patience ran out.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

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
