"""What the labels of the training rows are like, from one pass over them in blocks."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from nextrec_like.objectives import Objective
from nextrec_like.weighting import LabelStatistics


def label_statistics(blocks: Iterable[np.ndarray], objective: Objective) -> LabelStatistics:
    """Mean and variance of the labels that each task learns from.

    Blocks are joined by Chan et al., "Algorithms for Computing the Sample Variance", The American Statistician 1983.

    Args:
        blocks: Labels in order, NaN where not observed, shape ``(n, T)`` each.
        objective: Says which rows a task learns from.
    """
    names = objective.tasks.names
    count, mean, squares = torch.zeros(3, len(names), dtype=torch.float64)
    for block in blocks:
        labels = dict(zip(names, torch.from_numpy(block).float().unbind(dim=1)))
        observed = objective.observed(labels)
        n, m, s = torch.stack([_moments(labels[name][observed[name]].double()) for name in names], dim=1)
        total = (count + n).clamp(min=1)
        squares += s + (m - mean).square() * count * n / total
        mean += (m - mean) * n / total
        count += n
    return LabelStatistics(mean.where(count > 0, torch.nan), squares / count)


def _moments(values: Tensor) -> Tensor:
    """Number of values, mean and sum of squared distances from it, shape ``(3,)``; 0 without values."""
    if not len(values):
        return values.new_zeros(3)
    mean = values.mean()
    return torch.stack([values.new_tensor(len(values)), mean, (values - mean).square().sum()])
