"""Click space: a child task learns only where its parent happened."""

from torch import Tensor

from nextrec_like.batch import Logits
from nextrec_like.objectives.base import Objective
from nextrec_like.objectives.funnel import conditional_probabilities


class ClickSpace(Objective):
    """The logit of a child is that of p(child given parent), learned on rows where the parent's label is 1.

    This is the usual CVR model, biased towards clicked impressions; `EntireSpace` is the remedy. p(child) over
    all impressions is the product along the funnel.
    """

    needs_all_impressions = False
    follows_parents = True

    def scores(self, logits: Logits) -> Logits:
        return logits

    def observed(self, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = super().observed(labels)
        for task in self.tasks:
            if task.parent is not None:
                rows[task.name] = rows[task.name] & (labels[task.parent] == 1)
        return rows

    def probabilities(self, logits: Logits) -> dict[str, Tensor]:
        return conditional_probabilities(self.tasks, logits)
