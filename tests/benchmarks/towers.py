"""Gates and towers of all tasks together, beside one task after the other; and forms of the mixture of experts.

Forward and backward pass of an MMoE above its embeddings, fed with random rows, for several numbers of tasks and batch
sizes. All forms alternate, so that a slow phase of the machine hits all of them. Run on an idle machine:

    python tests/benchmarks/towers.py
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeAlias

import torch
from results import alternate, median_ratio, parser_of, synchronized, timed, write_results
from torch import Tensor, nn
from workload import Workload

from nextrec_like.layers import Experts, Gate, MLPParams, Tower
from nextrec_like.layers.experts import mixtures
from nextrec_like.layers.towers import Gates, Towers

SMALL, LARGE = Workload(), Workload(num_experts=8, expert_dims=(256, 128), tower_dims=(64,))
SIZES = [(SMALL, batch_size, tasks) for batch_size in (2048, 512) for tasks in (2, 4, 8)]
SIZES += [(LARGE, 2048, tasks) for tasks in (2, 4)]
"""Network, batch size, number of tasks."""

Mix: TypeAlias = Callable[[Sequence[Tensor], Tensor], Sequence[Tensor]]
"""The mixture of each task: ``(B, E)`` of each, ``(B, E, H) -> (B, H)`` of each."""

MIXTURES: dict[str, Mix] = {
    "einsum of each": lambda shares, experts: [torch.einsum("be,beh->bh", share, experts) for share in shares],
    "product and sum of each": lambda shares, experts: [(s.unsqueeze(-1) * experts).sum(dim=1) for s in shares],
    "matrix product of all": lambda shares, experts: torch.bmm(torch.stack(list(shares), dim=1), experts).unbind(1),
    "as each gate does": lambda shares, experts: [mixtures(share.unsqueeze(1), experts)[0] for share in shares],
    "as gates together do": lambda shares, experts: mixtures(torch.stack(list(shares), dim=1), experts),
}


class Top(nn.Module):
    """An MMoE above its embeddings, ``(B, D) -> (K, B)``."""

    def __init__(self, workload: Workload, tasks: int) -> None:
        super().__init__()
        self.names = [f"task{k}" for k in range(tasks)]
        self.experts = Experts(workload.num_experts, workload.in_dim, MLPParams(workload.expert_dims))
        self.gates = Gates(self.names, lambda _: Gate(workload.in_dim, workload.num_experts))
        self.towers = Towers(self.names, lambda _: Tower(workload.expert_dims[-1], MLPParams(workload.tower_dims)))

    def forward(self, x: Tensor) -> Tensor:
        mixtures = self.gates(dict.fromkeys(self.names, x), self.experts(x))
        return torch.stack(list(self.towers(mixtures).values()))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = []
    for workload, batch_size, tasks in SIZES:
        sizes = {"expert_dims": workload.expert_dims, "num_experts": workload.num_experts}
        sizes |= {"tower_dims": workload.tower_dims, "batch_size": batch_size, "tasks": tasks}
        parts = {"experts, gates and towers": towers_of, "mixture": mixtures_of}
        for part, build in parts.items():
            loops = build(workload, batch_size, tasks, arguments.device)
            measured = {name: second_call(synchronized(loop, arguments.device)) for name, loop in loops.items()}
            lines = [{"part": part, **sizes, **line} for line in compared(alternate(measured, arguments.rounds))]
            show(lines)
            results += lines
    write_results("towers", {"rounds": arguments.rounds, "device": arguments.device}, results, arguments.output)


def towers_of(workload: Workload, batch_size: int, tasks: int, device: str) -> dict[str, Callable[[], None]]:
    """Forward and backward pass of the same network, with its tasks alone and together."""
    x = torch.randn(batch_size, workload.in_dim, device=device, requires_grad=True)

    def run(network: Top) -> None:
        network.zero_grad(set_to_none=True)
        x.grad = None
        network(x).square().sum().backward()

    alone, together = Top(workload, tasks).to(device), Top(workload, tasks).to(device)
    for layers in (together.gates, together.towers):
        layers.batch(True, fewest=2)
    return {"one after the other": partial(run, alone), "together": partial(run, together)}


def mixtures_of(workload: Workload, batch_size: int, tasks: int, device: str) -> dict[str, Callable[[], None]]:
    """Forward and backward pass of each form, with experts in the memory layout that `Experts` gives them."""
    hidden = torch.randn(workload.num_experts, batch_size, workload.expert_dims[-1], device=device, requires_grad=True)
    scores = [torch.randn(batch_size, workload.num_experts, device=device, requires_grad=True) for _ in range(tasks)]
    slopes = [torch.randn(batch_size, workload.expert_dims[-1], device=device) for _ in range(tasks)]

    def run(form: Mix) -> None:
        for tensor in (hidden, *scores):
            tensor.grad = None
        mixed = form([score.softmax(dim=-1) for score in scores], hidden.relu().transpose(0, 1))
        torch.autograd.backward(list(mixed), slopes)

    return {name: partial(run, form) for name, form in MIXTURES.items()}


def second_call(loop: Callable[[], None]) -> Callable[[], float]:
    """The seconds of the second of two calls, which meets caches and memory as its own form leaves them."""

    def measured() -> float:
        loop()
        return timed(loop)()

    return measured


def compared(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """For each form its time, and how many times faster than the first it is."""
    first = next(iter(seconds.values()))
    return [
        {"form": name, "median_seconds": median(own), "least_seconds": min(own), "speedup": median_ratio(first, own)}
        for name, own in seconds.items()
    ]


def show(lines: Sequence[dict[str, Any]]) -> None:
    """Prints the forms of one size."""
    print(f"{lines[0]['part']}, {lines[0]['expert_dims']}, batch {lines[0]['batch_size']}, {lines[0]['tasks']} tasks")
    for line in lines:
        times = f"median {1e6 * line['median_seconds']:8,.0f} us, least {1e6 * line['least_seconds']:8,.0f} us"
        print(f"    {line['form']:26s}{times}{line['speedup']:8.2f} times as fast")


if __name__ == "__main__":
    main()
