"""Initial weights and dropout from one seed, without touching the user's random state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within the context, torch's generators start from the seed; afterwards they are as they were before.

    Dropout and `reset_parameters` can draw from nothing else than torch's own generators.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _start_from(seed, device)
        yield


def draw_anew(key: Sequence[int], device: torch.device) -> None:
    """Starts torch's generators from a key, within `seeded`."""
    _start_from(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]), device)


def _start_from(seed: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def random_state(device: torch.device) -> list[Tensor]:
    """Where torch's generators are, for `replayed`."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


@contextmanager
def replayed(state: list[Tensor], device: torch.device) -> Iterator[None]:
    """Within the context, dropout draws again what it drew after this state; afterwards it goes on as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state[1], device)
        yield


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """Within the context the model has copies of its buffers, such as the statistics of batch normalisation.

    Graphs that were built before or within the context stay valid, as nothing is written to what they hold.
    """
    own = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    for module, buffers in own:
        module._buffers.update({name: None if value is None else value.clone() for name, value in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in own:
            module._buffers.update(buffers)


def initialize(model: nn.Module, constructed: dict[str, str]) -> dict[str, str]:
    """Draws all weights anew, except those that were changed since the model was constructed.

    Buffers, such as the statistics of batch normalisation, are kept only if some weight was changed: a trial
    forward moves them as well.

    Args:
        model: The model; a module draws its weights in `reset_parameters`.
        constructed: `fingerprint` of the model as it was constructed.

    Returns:
        The fingerprint now, under which the same weights count as changed.
    """
    changed = {name for name, value in fingerprint(model).items() if value != constructed.get(name)}
    if not changed & {name for name, _ in model.named_parameters()}:
        changed = set()
    kept = {name: value.clone() for name, value in model.state_dict().items() if name in changed}
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(reset):
            reset()
    model.load_state_dict(kept, strict=False)
    return {**fingerprint(model), **{name: constructed.get(name, "") for name in changed}}


def fingerprint(model: nn.Module) -> dict[str, str]:
    """A digest of each entry of the state, equal on all devices."""
    return {name: _digest(value) for name, value in model.state_dict().items()}


def _digest(tensor: Tensor) -> str:
    values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return blake2b(values.numpy().data, digest_size=16).hexdigest()
