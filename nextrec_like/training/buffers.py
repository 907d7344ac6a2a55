"""Buffers that a forward pass moves, such as the statistics of batch normalisation."""

from itertools import groupby

import torch
from torch import Tensor, nn


class Buffers:
    """The buffers that are part of the state of a model, so that a step that is skipped can leave them as they were.

    Those of one type are copied as one tensor, because a GPU starts a kernel for each.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        places = [
            (module, name)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and name not in module._non_persistent_buffers_set
        ]
        by_type = groupby(sorted(places, key=_type_of), key=_type_of)
        self._places = [list(group) for _, group in by_type]

    def read(self) -> list[Tensor]:
        """A copy of their values."""
        return [torch.cat([buffer.flatten() for buffer in buffers]) for buffers in self._by_type()]

    def write(self, before: list[Tensor], unless: Tensor | None = None) -> None:
        """Puts values back.

        Args:
            before: What `read` has given.
            unless: Whether to leave the buffers as they are, bool, 0-dim, on their device; None: not.
        """
        values = before if unless is None else [torch.where(unless, *pair) for pair in zip(self.read(), before)]
        for buffers, joined in zip(self._by_type(), values):
            parts = joined.split([buffer.numel() for buffer in buffers])
            torch._foreach_copy_(buffers, [part.view_as(buffer) for part, buffer in zip(parts, buffers)])

    def _by_type(self) -> list[list[Tensor]]:
        # Looked up each time, because a module may put another tensor in the place of its buffer.
        return [[getattr(module, name) for module, name in places] for places in self._places]


def _type_of(place: tuple[nn.Module, str]) -> str:
    module, name = place
    return str(getattr(module, name).dtype)
