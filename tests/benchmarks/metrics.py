"""Seconds for AUC and GAUC, beside scikit-learn's. GAUC there is a loop over groups, timed on a share of them."""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from nextrec_like.metrics import auc, gauc


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


def benchmark(num_rows: int, num_groups: int, rate: float, repeats: int, loop_groups: int) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="for example 1000000 10000000")
    parser.add_argument("--rows-per-group", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.05, help="share of positives")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--loop-groups", type=int, default=2000, help="groups in the timed loop over scikit-learn")
    arguments = parser.parse_args()
    for num_rows in arguments.rows:
        num_groups = max(num_rows // arguments.rows_per_group, 1)
        benchmark(num_rows, num_groups, arguments.rate, arguments.repeats, arguments.loop_groups)


if __name__ == "__main__":
    main()
