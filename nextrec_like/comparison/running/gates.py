"""How much each expert is used by each gate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from nextrec_like.distributed import ALONE, Processes
from nextrec_like.layers import Gate, PerTask


@contextmanager
def watched_gates(model: nn.Module, processes: Processes = ALONE) -> Iterator[list[dict[str, Any]]]:
    """Within the context, forward passes are counted; afterwards the list holds the mean share of each expert.

    Args:
        model: Any model; one without gates gives an empty list.
        processes: Of which each counts rows of its own.

    Yields:
        A list that is filled at the end: ``{"gate": "gates.click", "shares": [0.2, 0.8]}`` for each gate.
    """
    sums: dict[str, Tensor] = {}
    rows: dict[str, int] = {}

    def count(name: str, score: Tensor) -> None:
        shares = score.double().softmax(dim=-1).sum(dim=0)  # (E,)
        sums[name] = sums[name] + shares if name in sums else shares
        rows[name] = rows.get(name, 0) + len(score)

    found: list[dict[str, Any]] = []
    handles = [
        gate.score.register_forward_hook(lambda _module, _input, score, name=name: count(name, score))
        for name, gate in named_gates(model).items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    counted = processes.gather([[name, rows[name], total.tolist()] for name, total in sums.items()])
    for each in zip(*filter(None, counted)):  # one gate, in all processes
        num_rows, shares = sum(count for _, count, _ in each), zip(*(total for _, _, total in each))
        found.append({"gate": each[0][0], "shares": [sum(share) / num_rows for share in shares]})


def named_gates(model: nn.Module) -> dict[str, Gate]:
    """The gates by their place in the model, with the names of tasks."""
    modules = dict(model.named_modules())
    found = {}
    for path, module in modules.items():
        if isinstance(module, Gate):
            parent, _, position = path.rpartition(".")
            owner = modules[parent]
            found[f"{parent}.{owner.task_of(position)}" if isinstance(owner, PerTask) else path] = module
    return found
