"""The factor on losses that keeps small 16-bit gradients from becoming zero."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LossScale(nn.Module):
    """Doubles the factor after many good steps, and halves it after one that overflowed, without waiting for it.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2. https://arxiv.org/abs/1710.03740

    Args:
        active: Whether to scale at all; only ``fp16`` needs it.
        initial: Factor at the start.
        interval: Good steps in a row after which the factor doubles.
    """

    def __init__(self, active: bool, initial: float = 2.0**16, interval: int = 2000) -> None:
        super().__init__()
        self.active, self.interval = active, interval
        self.scale: Tensor
        self.good_steps: Tensor
        self.register_buffer("scale", torch.tensor(initial))
        self.register_buffer("good_steps", torch.tensor(0))

    @property
    def factor(self) -> Tensor | None:
        """What to multiply losses with, 0-dim; None: nothing."""
        return self.scale if self.active else None

    @property
    def seeks(self) -> bool:
        """Whether a step may overflow because of the factor; below 1 it is the losses themselves. Waits for it."""
        return self.active and bool(self.scale > 1)

    def unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divides gradients in place."""
        if self.active and gradients:
            torch._foreach_mul_(list(gradients), 1 / self.scale)

    def update(self, is_finite: Tensor) -> None:
        """Adapts the factor after a step."""
        if not self.active:
            return
        good = torch.where(is_finite, self.good_steps + 1, 0)
        grows = good == self.interval
        self.scale.copy_(torch.where(is_finite, torch.where(grows, self.scale * 2, self.scale), self.scale / 2))
        self.good_steps.copy_(torch.where(grows, 0, good))
