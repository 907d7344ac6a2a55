"""Where the time of a training step goes: operations of `fit` beside those of the hand-written loop.

The workload of `throughput.py`, one epoch of each under torch's profiler, which itself makes steps somewhat slower:

    python tests/benchmarks/step_profile.py
"""

import argparse
from dataclasses import asdict
from typing import Any

import torch
from loops import DenseLoop, Fit
from results import parser_of, timed, write_results
from torch.profiler import ProfilerActivity, profile
from workload import Workload, make_data

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "rows of tables and of the data": (
        *("index_select", "index_copy_", "index_fill_", "index", "embedding", "embedding_dense_backward"),
        *("scatter_", "scatter_add_", "nonzero", "arange", "eq"),
    ),
    "optimizer": ("_fused_adam_", "Optimizer.step#Adam.step"),
    "activations, sums and other small operations": (),
}
"""Names of operations; what has none of them is of the last kind."""


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    workload = Workload(arguments.steps * 2048)
    data = make_data(workload)
    loops = {
        "fit, dense": Fit(data, workload, loss_weights=[0.3, 0.7], embedding_optimizer="dense"),
        "hand-written, dense Adam": DenseLoop(data, workload),
    }
    results = [row for name, loop in loops.items() for row in profiled(name, loop, arguments.steps)]
    for row in results:
        print(f"{row['loop']:26s}{row['kind']:46s}{row['microseconds']:>8,.0f} us{row['calls']:>7,.0f} calls a step")
    write_results("step_profile", asdict(workload), results, arguments.output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=100)
    return parser.parse_args()


def profiled(name: str, loop: Fit | DenseLoop, steps: int) -> list[dict[str, Any]]:
    """Microseconds and calls of each kind of operation in a step, of the thread that calls them; then the rest."""
    loop.epoch()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        seconds = timed(loop.epoch)()
    kind_of = {operation: kind for kind, operations in KINDS.items() for operation in operations}
    totals = {kind: [0.0, 0] for kind in KINDS}
    for event in found.key_averages():
        total = totals[kind_of.get(event.key.removeprefix("aten::"), list(KINDS)[-1])]
        total[0] += event.self_cpu_time_total
        total[1] += event.count
    rest = seconds * 1e6 - sum(spent for spent, _ in totals.values())
    totals["Python between operations"] = [rest, 0]
    return [
        {"loop": name, "kind": kind, "microseconds": spent / steps, "calls": count / steps}
        for kind, (spent, count) in totals.items()
    ]


if __name__ == "__main__":
    main()
