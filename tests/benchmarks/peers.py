"""Training speed of `model.fit` beside NextRec, torch-rechub and DeepCTR-Torch on the identical workload.

Each peer lives in a virtual environment of its own, which is made at the first run (network, about 1 GB each). One
child process per program trains an epoch at a time, in turn with the others, with the same number of threads. A peer's
conversion of the rows to its own data set is not counted; our checks and packing are. Run on an idle machine:

    python tests/benchmarks/peers.py
"""

import argparse
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from child import HERE, Child
from environments import FOLDER, PEERS, environment
from results import alternate, median_ratio, parser_of, write_results
from workload import Workload

__all__ = ["environment"]
OWN = "nextrec_like"
TARGETS = {"nextrec": 11.0, "torch_rechub": 3.2, "deepctr_torch": 2.7}


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    workload = Workload(arguments.rows, arguments.vocabulary, arguments.batch_size)
    pythons = {OWN: Path(sys.executable)} | {
        peer: environment(peer, arguments.environments) for peer in arguments.peers
    }
    with ExitStack() as stack:
        children = {
            name: stack.enter_context(
                Child([python, HERE / "peers" / f"{name}_epoch.py", workload.to_json()], arguments.threads)
            )
            for name, python in pythons.items()
        }
        answers = alternate({name: child.epoch for name, child in children.items()}, arguments.rounds)
        results = [result(name, answers, workload.rows) | children[name].hello for name in answers]
    for row in results:
        print(row_text(row))
    write_results("peers", {**asdict(workload), "rounds": arguments.rounds}, results, arguments.output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=320_000)
    parser.add_argument("--vocabulary", type=int, default=10_000, help="values of each id column")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--environments", type=Path, default=FOLDER, help="folder of the virtual environments")
    return parser.parse_args()


def result(name: str, answers: dict[str, list[dict[str, Any]]], rows: int) -> dict[str, Any]:
    """One line of the results; the ratios are those of our samples/s to the peer's, within each round.

    `ratio` compares whole calls, `epoch_ratio` what is left of them without checks, packing, summaries and checkpoints,
    where a program tells.
    """
    whole = {each: [answer["seconds"] for answer in answers[each]] for each in (name, OWN)}
    epoch = {each: [answer.get("epoch_seconds", answer["seconds"]) for answer in answers[each]] for each in (name, OWN)}
    return {
        "program": name,
        "samples_per_second": rows / median(whole[name]),
        "epoch_samples_per_second": rows / median(epoch[name]),
        "ratio": median_ratio(whole[name], whole[OWN]),
        "epoch_ratio": median_ratio(epoch[name], epoch[OWN]),
        "target": TARGETS.get(name),
        "seconds": whole[name],
    }


def row_text(row: dict[str, Any]) -> str:
    """One line to print."""
    start = f"{row['program']:14s}{row['version']:8s}{row['parameters']:>11,} parameters"
    speed = f"{row['samples_per_second']:>10,.0f} samples/s"
    if row["target"] is None:
        return f"{start}{speed} ({row['epoch_samples_per_second']:,.0f} in the epoch alone)"
    return f"{start}{speed}, {row['ratio']:.2f} times (target {row['target']}; epochs alone {row['epoch_ratio']:.2f})"


if __name__ == "__main__":
    main()
