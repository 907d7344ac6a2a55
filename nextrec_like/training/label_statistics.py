"""What the labels of the training rows are like, from one pass over them in blocks."""

from collections.abc import Iterable

import numpy as np
import torch

from nextrec_like.data.moments import Moments
from nextrec_like.objectives import Objective
from nextrec_like.weighting import LabelStatistics


def label_statistics(blocks: Iterable[np.ndarray], objective: Objective) -> LabelStatistics:
    """Mean and variance of the labels that each task learns from.

    Args:
        blocks: Labels in order, NaN where not observed, shape ``(n, T)`` each.
        objective: Says which rows a task learns from.
    """
    names = objective.tasks.names
    moments = {name: Moments() for name in names}
    for block in blocks:
        labels = dict(zip(names, torch.from_numpy(block).float().unbind(dim=1)))
        for name, observed in objective.observed(labels).items():
            moments[name].add(labels[name][observed].double().numpy())
    count, mean, squares = torch.tensor(
        [(each.count, each.mean, each.squares) for each in moments.values()], dtype=torch.float64
    ).unbind(dim=1)
    return LabelStatistics(mean.where(count > 0, torch.nan), squares / count)
