"""Training speed of `model.fit` beside hand-written loops of the same mathematics.

The workload: MMoE with 10 id columns of 10,000 values x 16, 5 numeric columns, 4 experts [64, 32], towers [32, 16],
2 tasks; 320,000 rows, batch 2,048, Adam. The loops alternate, one epoch each, so that a slow phase of the machine
hits all of them. Run on an idle machine:

    python tests/benchmarks/throughput.py
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from loops import DenseLoop, Fit, LeafGatherLoop
from results import alternate, median_ratio, parser_of, synchronized, timed, write_results
from workload import Columns, Workload, make_data

DENSE, LEAF = "hand-written, dense Adam", "hand-written, row-wise Adagrad"
FIXED = {"loss_weights": [0.3, 0.7]}
FITS: dict[str, tuple[dict[str, object], str]] = {
    "fit, auto": (FIXED, DENSE),
    "fit, dense": ({**FIXED, "embedding_optimizer": "dense"}, DENSE),
    "fit, lazy_adam": ({**FIXED, "embedding_optimizer": "lazy_adam"}, "fit, dense"),
    "fit, rowwise_adagrad": ({**FIXED, "embedding_optimizer": "rowwise_adagrad"}, LEAF),
    "fit, grad_norm": ({"loss_weights": "grad_norm"}, "fit, auto"),
}
"""Arguments of `compile`, and the loop that each is compared with."""
JIT, BF16 = {**FIXED, "jit": True}, {**FIXED, "precision": "bf16"}


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    workload = Workload(arguments.rows, arguments.vocabulary, arguments.batch_size)
    fits = FITS | ({"fit, jit": (JIT, DENSE)} if arguments.jit else {})
    fits |= {"fit, bf16": (BF16, DENSE)} if arguments.bf16 else {}
    seconds = alternate(loops_of(fits, make_data(workload), workload, arguments.device), arguments.rounds)
    references = {name: reference for name, (_, reference) in fits.items()}
    results = [result(name, references.get(name), seconds, workload.rows) for name in seconds]
    for row in results:
        against = "" if row["reference"] is None else f"{row['ratio']:8.3f} of {row['reference']}"
        print(f"{row['loop']:32s}{row['samples_per_second']:>10,.0f} samples/s{against}")
    print("targets: `fit, dense` at least 0.93 of its hand-written loop")
    settings = {**asdict(workload), "rounds": arguments.rounds, "device": arguments.device}
    write_results("throughput", settings, results, arguments.output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=320_000)
    parser.add_argument("--vocabulary", type=int, default=10_000, help="values of each id column")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jit", action="store_true", help="also fit with jit=True")
    parser.add_argument("--bf16", action="store_true", help="also fit with precision='bf16'")
    return parser.parse_args()


def loops_of(
    fits: dict[str, tuple[dict[str, object], str]], data: Columns, workload: Workload, device: str
) -> dict[str, Callable[[], float]]:
    """Each loop as a function that runs an epoch and returns its seconds."""
    loops = {DENSE: DenseLoop(data, workload, device), LEAF: LeafGatherLoop(data, workload, device)}
    loops |= {name: Fit(data, workload, device, **options) for name, (options, _) in fits.items()}
    return {name: timed(synchronized(loop.epoch, device)) for name, loop in loops.items()}


def result(name: str, reference: str | None, seconds: dict[str, list[float]], rows: int) -> dict[str, Any]:
    """One line of the results."""
    own = seconds[name]
    return {
        "loop": name,
        "samples_per_second": rows / median(own),
        "reference": reference,
        "ratio": None if reference is None else median_ratio(seconds[reference], own),
        "seconds": own,
    }


if __name__ == "__main__":
    main()
