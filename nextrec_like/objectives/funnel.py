"""Probabilities along a funnel, in logits.

If a logit is that of p(task given parent), p(task) over all impressions is the product up to the root.
"""

import torch
from torch import Tensor

from nextrec_like.batch import Logits
from nextrec_like.tasks import Task, TaskSet


def joint_logit(first: Tensor, second: Tensor) -> Tensor:
    """``logit(sigmoid(a) * sigmoid(b))``, exact where the product of probabilities underflows.

    1 / (sigmoid(a) sigmoid(b)) - 1 = e^-a + e^-b + e^-(a+b), whose negative logarithm is the joint logit.

    Args:
        first: Logit of p(parent), shape ``(B,)``.
        second: Logit of p(task given parent), shape ``(B,)``.
    """
    return -torch.logsumexp(torch.stack([-first, -second, -first - second]), dim=0)  # (B,)


def chain_logits(tasks: TaskSet, logits: Logits) -> Logits:
    """Logit of p(task) over all impressions from logits of p(task given parent); regression values stay."""
    chained: Logits = {}

    def chain(task: Task) -> Tensor:
        if task.name not in chained:
            parent, own = tasks.parent(task), logits[task.name]
            is_joint = parent is not None and task.kind == "binary"
            chained[task.name] = joint_logit(chain(parent), own) if is_joint else own  # type: ignore[arg-type]
        return chained[task.name]

    return {task.name: chain(task) for task in tasks}


def conditional_probabilities(tasks: TaskSet, logits: Logits) -> dict[str, Tensor]:
    """p(task) and p(task given parent), where a logit is that of p(task given parent).

    A regression task with a parent has its value where the parent happened, and p(parent) times that value,
    its mean over all impressions.
    """
    chained = chain_logits(tasks, logits)
    result = {}
    for task in tasks:
        own = logits[task.name]
        given = own.sigmoid() if task.kind == "binary" else own
        parent = tasks.parent(task)
        if parent is None:
            result[task.name] = given
            continue
        is_binary = task.kind == "binary"
        result[task.name] = chained[task.name].sigmoid() if is_binary else chained[parent.name].sigmoid() * own
        result[tasks.conditional_name(task)] = given
    return result
