"""What a run says before it trains."""

from collections.abc import Mapping, Sequence

import numpy as np

from nextrec_like.config import Config, build_tasks
from nextrec_like.config.data import Part, blocks_of, num_rows
from nextrec_like.data.checks import label_values
from nextrec_like.models import Model
from nextrec_like.tasks import Task
from nextrec_like.training.device import resolve_device


def describe_data(config: Config, parts: Mapping[str, Part]) -> str:
    """Rows of each part, and how often each task happens in the training rows."""
    rows = {part: num_rows(source) for part, source in parts.items()}
    lines = [f"{config.name}   rows: {', '.join(f'{part} {count:,}' for part, count in rows.items())}"]
    tasks = build_tasks(config)
    with config.blame("tasks", "data"):
        counts, totals = _label_totals(parts["train"], tasks)
    for task, count, total in zip(tasks, counts, totals):
        mean = total / max(count, 1)
        shown = f"{mean:.2%} positive" if task.kind == "binary" else f"mean {mean:.4g}"
        missing = f", {rows['train'] - count:,} not observed" if count < rows["train"] else ""
        lines.append(f"  {task.name}: {shown if count else 'no label'}{missing}")
    return "\n".join(lines)


def describe_model(config: Config, model: Model) -> str:
    """Name, size and device."""
    size = sum(parameter.numel() for parameter in model.parameters())
    dense = sum(parameter.numel() for parameter in model.dense_parameters())
    device = resolve_device(config.training.device)
    return f"{config.model.name}: {size:,} parameters, {dense:,} outside embedding tables; {device}"


def _label_totals(rows: Part, tasks: Sequence[Task]) -> tuple[list[int], list[float]]:
    """By task the number of observed labels and their sum, from one pass over the labels."""
    count, total = np.zeros(len(tasks), np.int64), np.zeros(len(tasks))
    for block in blocks_of(rows, [task.column for task in tasks]):
        labels = np.stack([label_values(block.table[task.column], task) for task in tasks])  # (T, n)
        count += (~np.isnan(labels)).sum(axis=1)
        total += np.nansum(labels, axis=1)
    return count.tolist(), total.tolist()
