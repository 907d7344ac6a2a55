"""Predictions of a model over a data set, and the metrics of every task."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from math import ceil

import numpy as np
import torch
from torch import nn

from nextrec_like.batch import batch_bounds
from nextrec_like.data.packed import PackedData
from nextrec_like.data.source import Rows
from nextrec_like.distributed import ALONE, Processes
from nextrec_like.metrics import TaskMetrics
from nextrec_like.metrics.accumulate import MetricsAccumulator
from nextrec_like.objectives import Objective
from nextrec_like.tasks import Task, TaskSet
from nextrec_like.training.device import enough_memory

EVALUATION_BATCH = 16_384
"""A divisor of `BLOCK_ROWS`, so that the batches of rows in memory and in files are the same."""


class Evaluation:
    """Metrics of every task over all impressions and, for a task with a parent, where the parent happened.

    Args:
        tasks: The tasks.
        metrics: Metric names.
    """

    def __init__(self, tasks: TaskSet, metrics: Sequence[str]) -> None:
        self.tasks = tasks
        self._metrics = {
            name: MetricsAccumulator(metrics, kind=task.kind) for task in tasks for name in _outputs(tasks, task)
        }

    def add(self, predictions: Mapping[str, np.ndarray], labels: np.ndarray, group: np.ndarray | None) -> None:
        """Takes in rows.

        Args:
            predictions: Output of `predict_packed`.
            labels: NaN where not observed, shape ``(N, T)``.
            group: Group of each row for GAUC, shape ``(N,)``; numbers that mean the same in all calls.
        """
        by_task = dict(zip(self.tasks.names, labels.T))
        for task in self.tasks:
            label = by_task[task.name]
            self._metrics[task.name].add(label, predictions[task.name], group)
            if task.parent is not None:
                name, happened = self.tasks.conditional_name(task), by_task[task.parent] == 1
                groups = None if group is None else group[happened]
                self._metrics[name].add(label[happened], predictions[name][happened], groups)

    def result(self) -> dict[str, TaskMetrics]:
        """The metrics of all rows."""
        return {name: metrics.result() for name, metrics in self._metrics.items()}


@torch.inference_mode()
def predict_packed(
    model: nn.Module,
    objective: Objective,
    data: PackedData,
    device: torch.device,
    batch_size: int = EVALUATION_BATCH,
    num_batches: int = 0,
) -> dict[str, np.ndarray]:
    """Probabilities by output name, float64, shape ``(N,)`` each.

    Logits become float64 before the link, so that two that differ do not become tied probabilities. With fewer batches
    than `num_batches`, empty ones follow: processes that share out embedding tables need each other in each batch.
    """
    was_training = model.training
    model.eval()
    parts: dict[str, list[torch.Tensor]] = {}
    try:
        with enough_memory(device, f"predicting {batch_size:,} rows", "free some of it, or use `device='cpu'`"):
            missing = num_batches - len(batch_bounds(len(data), batch_size))
            for batch in chain(data.batches(batch_size, device), repeat(data.rows.slice(0, 0).to(device), missing)):
                logits = {task: logit.double() for task, logit in model(batch).items()}
                for name, values in objective.probabilities(logits).items():
                    parts.setdefault(name, []).append(values)
    finally:
        model.train(was_training)
    return {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}


def predict_blocks(
    model: nn.Module, objective: Objective, data: Rows, device: torch.device, processes: Processes = ALONE
) -> Iterator[tuple[PackedData, dict[str, np.ndarray]]]:
    """The blocks of the rows in order, each with its predictions; each process makes its share, and has all."""
    for block in data.blocks():
        own = block.slice(*processes.share.of(0, len(block)))
        most = batch_bounds(ceil(len(block) / processes.size), EVALUATION_BATCH)
        predictions = predict_packed(model, objective, own, device, num_batches=len(most))
        names = output_names(objective.tasks)
        own_values = [torch.from_numpy(predictions[name]) if len(own) else torch.empty(0).double() for name in names]
        parts = processes.exchange(own_values)
        yield block, {name: torch.cat(values).numpy() for name, values in zip(names, zip(*parts))}


def evaluate_rows(
    model: nn.Module,
    objective: Objective,
    data: Rows,
    device: torch.device,
    metrics: Sequence[str],
    processes: Processes = ALONE,
) -> dict[str, TaskMetrics]:
    """Metrics of every output of a model over rows with labels, those of all processes."""
    evaluation = Evaluation(objective.tasks, metrics)
    for block, predictions in predict_blocks(model, objective, data, device, processes):
        assert block.labels is not None
        evaluation.add(predictions, block.labels, block.group)
    return evaluation.result()


def evaluate_predictions(
    tasks: TaskSet,
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    metrics: Sequence[str],
    group: np.ndarray | None,
) -> dict[str, TaskMetrics]:
    """Metrics of predictions that are all there; see `Evaluation` for the arguments."""
    evaluation = Evaluation(tasks, metrics)
    evaluation.add(predictions, labels, group)
    return evaluation.result()


def output_names(tasks: TaskSet) -> list[str]:
    """Names that predictions and metrics have: each task, then p(task given parent) where it has a parent."""
    return [name for task in tasks for name in _outputs(tasks, task)]


def _outputs(tasks: TaskSet, task: Task) -> list[str]:
    return [task.name] if task.parent is None else [task.name, tasks.conditional_name(task)]
