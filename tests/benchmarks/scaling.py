"""Several processes that train one model: samples/s beside one process, and bytes that a step sends.

Speed: the workload of `throughput.py` with 8,192 rows of a step per process. One process on one core, two on a core
each, and two on a core each that train apart, which is what the machine could do if messages cost nothing, take turns.
What counts is the time of the epoch, without the fixed cost of a call of `fit`. Bytes: 10 id columns of 1,000,000
values and row-wise Adagrad, at several batch sizes, as counted at `torch.distributed`, and beside it what crossed the
loopback interface of the machine, with the headers of packets. The lower bound: every other process has to get the
numbers and the gradients of the distinct rows of a process once. Run on an idle Linux machine:

    python tests/benchmarks/scaling.py
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from results import alternate, median_ratio, parser_of, write_results
from workload import Workload

sys.path.append(str(Path(__file__).resolve().parents[1] / "distributed"))

from ranks import Pool
from scaling_rank import TRAININGS, epoch, prepare, profile, step_bytes

LIMIT = 600.0
"""Seconds that an epoch may take."""
STEPS_OF_BYTES = 4
PROFILED = "rowwise_adagrad"


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    workload = Workload(arguments.rows, arguments.vocabulary, arguments.batch_size)
    results = list(speeds(workload, arguments.rounds))
    for row in results:
        if row["case"] == "profile":
            print(f"{row['group']}: " + ", ".join(f"{name} {each:.1f}" for name, each in row["parts"].items()) + " ms")
            continue
        print(
            f"{row['training']:20s}{row['alone']:>10,.0f} samples/s alone{row['together']:>10,.0f} in two processes:"
            f"{row['speedup']:>5.2f} times, apart {row['apart']:.2f}; {row['in_messages']:.0%} of the time in messages"
        )
    for row in bytes_sent(replace(workload, vocabulary=arguments.large), arguments.batch_sizes, arguments.processes):
        print(
            f"{row['processes']} processes, batch {row['batch_size']:>7,}{row['distinct_rows']:>10,.0f} distinct rows"
            f"{row['sent'] / 1e6:>8.2f} MB sent{row['of_lower_bound']:>6.2f} of the lower bound"
        )
        results.append(row)
    settings = {**asdict(workload), "rounds": arguments.rounds, "large_vocabulary": arguments.large}
    write_results("scaling", settings, results, arguments.output)


def parse() -> argparse.Namespace:
    """The command line; every process has one thread, whatever `--threads` says."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=245_760)
    parser.add_argument("--vocabulary", type=int, default=10_000, help="values of each id column, for the speed")
    parser.add_argument("--batch-size", type=int, default=8192, help="rows of a step per process, for the speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=1_000_000, help="values of each id column, for the bytes")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[2048, 8192, 32768], help="for the bytes")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], help="for the bytes")
    return parser.parse_args()


def speeds(workload: Workload, rounds: int) -> Iterator[dict[str, Any]]:
    """A row per training, and what a step of one of them consists of."""
    with pool(1) as alone, pool(2) as together, pool(2) as apart:
        groups = {"alone": alone, "together": together, "apart": apart}
        for name, group in groups.items():
            group.run(prepare, apart=name == "apart")
        loops = {
            (training, name): told_to_train(group, training, workload)
            for training in TRAININGS
            for name, group in groups.items()
        }
        figures = alternate(loops, rounds)
        for training in TRAININGS:
            yield speed(training, {name: figures[training, name] for name in groups})
        for name, group in groups.items():
            answers = group.run(profile, PROFILED, workload, limit=LIMIT)
            parts = {part: mean(answer[part] for answer in answers) for part in answers[0]}
            yield {"case": "profile", "training": PROFILED, "group": name, "parts": parts}


def told_to_train(group: Pool, training: str, workload: Workload) -> Callable[[], dict[str, float]]:
    """A function that runs an epoch in all processes of a group and gives what they say of it, on average."""

    def run() -> dict[str, float]:
        answers = group.run(epoch, training, workload, limit=LIMIT)
        return {name: mean(answer[name] for answer in answers) for name in answers[0]}

    return run


def speed(training: str, figures: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """One line of the results; two processes apart make twice what each of them makes."""
    found = {name: [each["samples_per_second"] for each in rounds] for name, rounds in figures.items()}
    return {
        "case": "speed",
        "training": training,
        "alone": median(found["alone"]),
        "together": median(found["together"]),
        "speedup": median_ratio(found["together"], found["alone"]),
        "apart": 2 * median_ratio(found["apart"], found["alone"]),
        "in_messages": median(each["in_messages"] for each in figures["together"]),
        "rounds": found,
    }


def bytes_sent(workload: Workload, batch_sizes: Sequence[int], sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row per number of processes and batch size: bytes of the process that sends the most for what it must."""
    table = 4 * workload.num_ids * workload.vocabulary * workload.width
    for size in sizes:
        with pool(size) as group:
            for batch_size in batch_sizes:
                rows = batch_size * size * STEPS_OF_BYTES
                answers = group.run(step_bytes, replace(workload, rows=rows, batch_size=batch_size), limit=LIMIT)
                worst = max(answers, key=lambda answer: answer["sent"] / answer["lower_bound"])
                found = worst if worst["loopback"] is None else {**worst, "loopback": answers[0]["loopback"] / size}
                yield {
                    **{"case": "bytes", "processes": size, "batch_size": batch_size},
                    **found,
                    "of_lower_bound": worst["sent"] / worst["lower_bound"],
                    "whole_tables": 2 * (size - 1) / size * table,
                }


@contextmanager
def pool(size: int) -> Iterator[Pool]:
    """Processes that end with the context."""
    group = Pool(size)
    try:
        yield group
    finally:
        group.stop()


if __name__ == "__main__":
    main()
