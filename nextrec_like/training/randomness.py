"""Initial weights and dropout from one seed, without touching the user's random state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within the context, torch's generators start from the seed; afterwards they are as they were before.

    Dropout and `reset_parameters` can draw from nothing else than torch's own generators.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def initialize(model: nn.Module) -> None:
    """Draws all weights anew."""
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


def fingerprint(model: nn.Module) -> list[int]:
    """One integer per parameter that changes when a value does, equal on all devices."""
    views = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return [
        int(parameter.detach().contiguous().view(views[parameter.element_size()]).sum(dtype=torch.int64))
        for parameter in model.parameters()
    ]
