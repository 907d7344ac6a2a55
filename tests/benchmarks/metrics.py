"""Seconds for AUC and GAUC, beside scikit-learn's, and metrics of a stream of rows that is larger than what is kept.

GAUC by scikit-learn is a loop over groups, timed on a share of them. Run it on an idle machine:

    python tests/benchmarks/metrics.py
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from results import parser_of, peak_memory, write_results
from sklearn.metrics import roc_auc_score

from nextrec_like.metrics import MetricsAccumulator, auc, compute_metrics, gauc

STREAMED = ("auc", "logloss", "ece", "gauc")
CHUNK = 1_000_000
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def sklearn_gauc(label: np.ndarray, score: np.ndarray, group: np.ndarray) -> float:
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    parts = [rows for rows in np.split(order, first[1:]) if 0 < label[rows].sum() < len(rows)]
    values = [roc_auc_score(label[rows], score[rows]) for rows in parts]
    return float(np.average(values, weights=[len(rows) for rows in parts]))


def benchmark(num_rows: int, num_groups: int, rate: float, repeats: int, loop_groups: int) -> dict[str, Any]:
    """Seconds of each function, all rows at once."""
    rng = np.random.default_rng(0)
    label = (rng.random(num_rows) < rate).astype(np.float64)
    score = rng.random(num_rows)
    group = rng.integers(0, num_groups, num_rows)
    words = np.char.add("u", group.astype(str)).astype(object)
    loop = group < loop_groups
    share = min(loop_groups / num_groups, 1.0)
    rows = {
        "auc": median_seconds(lambda: auc(label, score), repeats),
        "auc, scikit-learn": median_seconds(lambda: roc_auc_score(label, score), repeats),
        "gauc, integer groups": median_seconds(lambda: gauc(label, score, group), repeats),
        "gauc, string groups": median_seconds(lambda: gauc(label, score, words), repeats),
        "gauc, loop over scikit-learn (extrapolated)": median_seconds(
            lambda: sklearn_gauc(label[loop], score[loop], group[loop]), 1
        )
        / share,
    }
    print(f"{num_rows:,} rows, {num_groups:,} groups, {rate:.1%} positives, median of {repeats}")
    for name, seconds in rows.items():
        print(f"  {name:<45}{seconds:9.3f} s")
    return {"case": "functions", "rows": num_rows, "groups": num_groups, "seconds": rows}


def chunks(num_rows: int, num_groups: int, rate: float) -> Iterator[Columns]:
    """Label, probability and group of the rows: positives have higher logits, and groups differ in quality."""
    rng = np.random.default_rng(1)
    for start in range(0, num_rows, CHUNK):
        size = min(CHUNK, num_rows - start)
        label = (rng.random(size) < rate).astype(np.float64)
        group = rng.integers(0, num_groups, size)
        logit = rng.standard_normal(size) + label * (0.5 + group % 7 / 7) + np.log(rate / (1 - rate))
        yield label, 1 / (1 + np.exp(-logit)), group


def stream(num_rows: int, num_groups: int, rate: float, max_rows: int, has_exact: bool) -> dict[str, Any]:
    """Rows per second, memory and error of the accumulator; making the rows takes none of its time.

    Args:
        num_rows: Rows of the stream.
        num_groups: Groups that they are drawn from.
        rate: Share of positives.
        max_rows: Rows that the accumulator keeps.
        has_exact: Whether to compute the metrics of all rows at once as well, which need memory for all of them.
    """
    before, seconds = peak_memory(), 0.0
    accumulator = MetricsAccumulator(STREAMED, max_rows=max_rows)
    for columns in chunks(num_rows, num_groups, rate):
        start = time.perf_counter()
        accumulator.add(*columns)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    result = accumulator.result()
    result_seconds = time.perf_counter() - start
    memory = None if has_exact else max(before, peak_memory())  # the kernel counts pages roughly
    errors: dict[str, float] | None = None
    if has_exact:
        label, probability, group = (np.concatenate(column) for column in zip(*chunks(num_rows, num_groups, rate)))
        exact = compute_metrics(STREAMED, label, probability, group=group)
        errors = {name: abs(result[name] - exact[name]) for name in STREAMED}
    print(f"stream of {num_rows:,} rows, {num_groups:,} groups, {rate:.1%} positives, {max_rows:,} rows kept")
    print(f"  {num_rows / (seconds + result_seconds) / 1e6:.1f} M rows/s, of {seconds + result_seconds:.1f} s ", end="")
    print(f"{result_seconds:.1f} for the result")
    if memory is not None:
        print(f"  memory {before / 1e9:.2f} GB before, peak {memory / 1e9:.2f} GB")
    for name in STREAMED:
        error = "not measured" if errors is None else f"{errors[name]:.1e}"
        print(f"  {name:<9}{result[name]:.8f}  error {error}, bound {result.error_bounds.get(name, 0.0):.1e}")
    return {
        "case": "stream",
        "rows": num_rows,
        "groups": num_groups,
        "rows_per_second": num_rows / (seconds + result_seconds),
        "result_seconds": result_seconds,
        "memory_before": None if has_exact else before,
        "peak_memory": memory,
        "values": dict(result),
        "errors": errors,
        "error_bounds": result.error_bounds,
        "group_share": result.group_share,
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The results; the stream without exact metrics comes first, so that the peak of memory is its own."""
    found = []
    for num_rows, has_exact in ((arguments.stream_rows, False), (arguments.exact_rows, True)):
        if num_rows:
            found.append(stream(num_rows, max(num_rows // 10, 1), arguments.rate, arguments.max_rows, has_exact))
    for num_rows, rows_per_group in product(arguments.rows, arguments.rows_per_group):
        num_groups = max(num_rows // rows_per_group, 1)
        found.append(benchmark(num_rows, num_groups, arguments.rate, arguments.repeats, arguments.loop_groups))
    return found


def main() -> None:
    parser = parser_of(__doc__ or "")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rows-per-group", type=int, nargs="+", default=[20, 10])
    parser.add_argument("--rate", type=float, default=0.05, help="share of positives")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--loop-groups", type=int, default=2000, help="groups in the timed loop over scikit-learn")
    parser.add_argument("--stream-rows", type=int, default=100_000_000, help="0 for no stream")
    parser.add_argument("--exact-rows", type=int, default=20_000_000, help="rows of the stream with a known error")
    parser.add_argument("--max-rows", type=int, default=2**24, help="rows that the accumulator keeps")
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("rate", "repeats", "loop_groups", "max_rows")}
    write_results("metrics", {**settings, "chunk": CHUNK}, run(arguments), arguments.output)


if __name__ == "__main__":
    main()
