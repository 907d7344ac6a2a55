"""Entire space: p(child given parent) learned from all impressions (ESMM)."""

from collections.abc import Mapping

from torch import Tensor

from nextrec_like.batch import Logits
from nextrec_like.errors import InputError
from nextrec_like.objectives.base import Objective
from nextrec_like.objectives.funnel import chain_logits, conditional_probabilities
from nextrec_like.objectives.losses import Loss
from nextrec_like.tasks import TaskSet


class EntireSpace(Objective):
    """The logit of a child is that of p(child given parent); its loss is on p(child) over all impressions.

    Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, eq. 2 to 4, for a funnel of any depth.
    https://arxiv.org/abs/1804.07931. Deviation: the product of probabilities is taken in logits.

    Raises:
        InputError: For a regression task with a parent, which has no product of probabilities.
    """

    follows_parents = True

    def __init__(self, tasks: TaskSet, losses: Mapping[str, Loss]) -> None:
        super().__init__(tasks, losses)
        for task in tasks:
            if task.parent is not None and task.kind == "regression":
                raise InputError(
                    f"Task `{task.name}` is a regression with parent `{task.parent}`; the entire-space objective "
                    f"needs binary children. Use the objective `click_space`, or remove the parent."
                )

    def scores(self, logits: Logits) -> Logits:
        return chain_logits(self.tasks, logits)

    def probabilities(self, logits: Logits) -> dict[str, Tensor]:
        return conditional_probabilities(self.tasks, logits)
