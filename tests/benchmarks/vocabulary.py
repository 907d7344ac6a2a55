"""Training speed and memory of `model.fit` against the number of rows of the embedding tables.

Each size and embedding optimizer runs in a process of its own; the speed is that of the second and later epochs, the
memory the largest resident set. Sizes whose weights and optimizer state would need more than 80 % of the memory are
left out. Run on an idle machine:

    python tests/benchmarks/vocabulary.py
"""

import argparse
import sys
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from child import Child, ChildError, serve
from loops import Fit
from results import memory_bytes, parser_of, peak_memory, write_results
from workload import Workload, make_data

STATES = {"auto": 3, "dense": 4, "lazy_adam": 3, "rowwise_adagrad": 2}
"""Tensors of the size of a table that an embedding optimizer may need: weights, their gradient, and its state.

`auto` is counted as `lazy_adam`, as it is no dense optimizer where the size matters.
"""
SHARE = 0.8


def main() -> None:
    arguments = parse()
    if arguments.child is not None:
        train(Workload.from_json(arguments.child), arguments.optimizers[0], arguments.epochs)
        return
    torch.set_num_threads(arguments.threads)
    results = []
    for _ in range(arguments.rounds):
        results += [
            measure(size, optimizer, arguments) for size in arguments.sizes for optimizer in arguments.optimizers
        ]
    summary = summarized(results)
    for row in summary:
        print(row_text(row))
    settings = asdict(workload_of(arguments.sizes[0], arguments)) | {"vocabulary": arguments.sizes}
    settings |= {"epochs": arguments.epochs, "rounds": arguments.rounds}
    write_results("vocabulary", settings, summary, arguments.output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7], help="rows per table")
    parser.add_argument("--optimizers", nargs="+", choices=list(STATES), default=list(STATES))
    parser.add_argument("--rows", type=int, default=160_000)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def workload_of(size: int, arguments: argparse.Namespace) -> Workload:
    """The workload with tables of this size."""
    return Workload(arguments.rows, size, arguments.batch_size)


def measure(size: int, optimizer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speed and memory of one size and optimizer, or why there is none."""
    row: dict[str, Any] = {"vocabulary": size, "embedding_optimizer": optimizer, "left_out": None}
    workload = workload_of(size, arguments)
    needed = STATES[optimizer] * 4 * workload.num_ids * size * workload.width
    if needed > SHARE * memory_bytes():
        text = f"left out: weights and state need {needed / 1e9:.1f} GB, over 80 % of the memory"
        return row | {"left_out": text}
    command = [sys.executable, __file__, "--child", workload.to_json()]
    command += ["--optimizers", optimizer, "--epochs", str(arguments.epochs)]
    try:
        with Child(command, arguments.threads) as child:
            return row | child.epoch()
    except ChildError as error:
        return row | {"left_out": f"failed: {error}"}


def train(workload: Workload, optimizer: str, epochs: int) -> None:
    """The child's side: one call of `fit`."""
    fit = Fit(make_data(workload), workload, embedding_optimizer=optimizer)

    def epoch() -> dict[str, Any]:
        records = fit.epochs(epochs)
        speed = median(record.samples_per_second for record in records[1:])
        return {"samples_per_second": speed, "peak_memory": peak_memory()}

    serve({"threads": torch.get_num_threads()}, epoch)


def summarized(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rounds of each size and optimizer as one line, with the speed relative to the same optimizer's first size."""
    rounds: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in results:
        rounds.setdefault((row["vocabulary"], row["embedding_optimizer"]), []).append(row)
    summary = []
    for (size, optimizer), rows in rounds.items():
        line = {"vocabulary": size, "embedding_optimizer": optimizer}
        smallest = rounds[min(each for each, name in rounds if name == optimizer), optimizer]
        summary.append(line | figures(rows, smallest))
    return summary


def figures(rows: list[dict[str, Any]], smallest: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds; None where a round has no figure."""
    reasons = [row["left_out"] for row in [*rows, *smallest] if row["left_out"] is not None]
    if any(row["left_out"] is not None for row in rows):
        return {"left_out": reasons[0], "samples_per_second": None, "peak_memory": None, "ratio": None}
    ratios = [
        row["samples_per_second"] / first["samples_per_second"] for row, first in zip(rows, smallest) if not reasons
    ]
    return {
        "left_out": None,
        "samples_per_second": median(row["samples_per_second"] for row in rows),
        "peak_memory": max(row["peak_memory"] for row in rows),
        "ratio": median(ratios) if ratios else None,
    }


def row_text(row: dict[str, Any]) -> str:
    """One line to print."""
    start = f"{row['vocabulary']:>12,}  {row['embedding_optimizer']:18s}"
    if row["left_out"] is not None:
        return start + row["left_out"]
    ratio = "" if row["ratio"] is None else f"{row['ratio']:8.3f} of the first size"
    return f"{start}{row['samples_per_second']:>10,.0f} samples/s{row['peak_memory'] / 1e9:8.2f} GB{ratio}"


if __name__ == "__main__":
    main()
