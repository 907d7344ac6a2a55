"""Marginal: every logit is that of its task over all impressions."""

import torch
from torch import Tensor

from nextrec_like.batch import Logits
from nextrec_like.objectives.base import Objective


class Marginal(Objective):
    """Each task is learned from all impressions on its own; a parent has no influence on training.

    For a task with a parent, p(task given parent) is p(task) / p(parent), at most 1. A regression task has
    the same value in both places.
    """

    def scores(self, logits: Logits) -> Logits:
        return logits

    def probabilities(self, logits: Logits) -> dict[str, Tensor]:
        result = {}
        for task in self.tasks:
            own, parent = logits[task.name], self.tasks.parent(task)
            result[task.name] = own.sigmoid() if task.kind == "binary" else own
            if parent is None:
                continue
            given = result[task.name]
            if task.kind == "binary":
                log_ratio = torch.nn.functional.logsigmoid(own) - torch.nn.functional.logsigmoid(logits[parent.name])
                given = log_ratio.clamp(max=0).exp()
            result[self.tasks.conditional_name(task)] = given
        return result
