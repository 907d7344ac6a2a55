"""What every weighting method can be told beside its own options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from nextrec_like.errors import InputError, integer_in, one_of, positive_int

PerTaskNumbers: TypeAlias = float | Sequence[float] | Mapping[str, float]
"""One number for all tasks, a list in task order, or a dict by task name."""

SITES = ("last_shared", "shared", "representation")


@dataclass(frozen=True)
class BalancerOptions:
    """How a weighting is applied.

    Attributes:
        base: The user's own priorities, which multiply the weights: one number, a list in task order, or a dict.
        every: The method sees each n-th step; its weights hold in between.
        site: Where gradients are probed: ``last_shared`` (the last layer that tasks share), ``shared`` (all
            parameters outside the embedding tables that two losses reach) or ``representation`` (the output of the
            shared layers, not summed over the batch); None is the default of the method.
        warmup_steps: Steps at the start with equal weights, which the method does not see.
        normalize: Whether weights are scaled to sum to the number of active tasks; None is the default of the method.
    """

    base: PerTaskNumbers | None = None
    every: int = 1
    site: str | None = None
    warmup_steps: int = 0
    normalize: bool | None = None

    def __post_init__(self) -> None:
        """Checks all but `base`, for which the tasks must be known."""
        positive_int("`every`", self.every)
        integer_in("`warmup_steps`", self.warmup_steps)
        if self.site is not None:
            one_of("site", self.site, SITES)
        if self.normalize is not None and not isinstance(self.normalize, bool):
            raise InputError(f"`normalize` should be True, False or None. Received {self.normalize!r}.")


COMMON_OPTIONS = tuple(field.name for field in fields(BalancerOptions))
