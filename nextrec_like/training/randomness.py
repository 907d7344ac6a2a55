"""Initial weights and dropout from one seed, without touching the user's random state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer type of each element size in bytes."""


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


def initialize(model: nn.Module, constructed: dict[str, int]) -> None:
    """Draws all weights anew, except those that were changed since the model was constructed.

    Args:
        model: The model; a module draws its weights in `reset_parameters`.
        constructed: `fingerprint` of the model as it was constructed.
    """
    changed = {name for name, value in fingerprint(model).items() if value != constructed.get(name)}
    kept = {name: value.clone() for name, value in model.state_dict().items() if name in changed}
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    model.load_state_dict(kept, strict=False)


def fingerprint(model: nn.Module) -> dict[str, int]:
    """For each entry of the state one integer that changes when values change or move, equal on all devices."""
    return {name: _digest(value) for name, value in model.state_dict().items()}


def _digest(tensor: Tensor) -> int:
    """Bits as integers, summed with weights by row and by column; sums wrap around."""
    bits = tensor.contiguous().view(INTEGERS[tensor.element_size()])
    table = bits.reshape(-1, bits.shape[-1]) if bits.dim() > 1 else bits.reshape(1, -1)
    rows, columns = table.sum(dim=1, dtype=torch.int64), table.sum(dim=0, dtype=torch.int64)
    return int((rows * _positions(rows)).sum() * 1_000_003 + (columns * _positions(columns)).sum())


def _positions(sums: Tensor) -> Tensor:
    return torch.arange(1, len(sums) + 1, device=sums.device)
