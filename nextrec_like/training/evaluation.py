"""Predictions of a model over a data set, and the metrics of every task."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from nextrec_like.data.packed import PackedData
from nextrec_like.metrics import TaskMetrics, compute_metrics
from nextrec_like.objectives import Objective
from nextrec_like.tasks import TaskSet

EVALUATION_BATCH = 16_384


@torch.inference_mode()
def predict_packed(
    model: nn.Module, objective: Objective, data: PackedData, device: torch.device, batch_size: int = EVALUATION_BATCH
) -> dict[str, np.ndarray]:
    """Probabilities by output name, float64, shape ``(N,)`` each.

    Logits become float64 before the link, so that two that differ do not become tied probabilities.
    """
    was_training = model.training
    model.eval()
    parts: dict[str, list[torch.Tensor]] = {}
    try:
        for batch in data.batches(batch_size, device):
            logits = {task: logit.double() for task, logit in model(batch).items()}
            for name, values in objective.probabilities(logits).items():
                parts.setdefault(name, []).append(values)
    finally:
        model.train(was_training)
    return {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}


def evaluate_predictions(
    tasks: TaskSet,
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    metrics: Sequence[str],
    group: np.ndarray | None,
) -> dict[str, TaskMetrics]:
    """Metrics of every task over all impressions and, for a task with a parent, where the parent happened.

    Args:
        tasks: The tasks.
        predictions: Output of `predict_packed`.
        labels: NaN where not observed, shape ``(N, T)``.
        metrics: Metric names.
        group: Group of each row for GAUC, shape ``(N,)``.
    """
    by_task = dict(zip(tasks.names, labels.T))
    result = {}
    for task in tasks:
        label = by_task[task.name]
        result[task.name] = compute_metrics(metrics, label, predictions[task.name], kind=task.kind, group=group)
        if task.parent is not None:
            name, clicked = tasks.conditional_name(task), by_task[task.parent] == 1
            groups = None if group is None else group[clicked]
            result[name] = compute_metrics(
                metrics, label[clicked], predictions[name][clicked], kind=task.kind, group=groups
            )
    return result


def output_names(tasks: TaskSet) -> list[str]:
    """Names that predictions and metrics have: each task, then p(task given parent) where it has a parent."""
    names = []
    for task in tasks:
        names += [task.name] if task.parent is None else [task.name, tasks.conditional_name(task)]
    return names
