"""Seconds and peak memory of the statistics of a comparison, on generated predictions in a temporary folder."""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from results import parser_of, peak_memory, write_results

from nextrec_like.comparison.analysis import analyse
from nextrec_like.comparison.results import MetricRecord, Output, RunRecord, VariantRecord
from nextrec_like.comparison.store import Store
from nextrec_like.metrics import auc, gauc, logloss

FUNCTIONS = {"auc": auc, "logloss": logloss}


def write(folder: Path, arguments: argparse.Namespace) -> tuple[Store, list[VariantRecord], list[RunRecord], Output]:
    """Methods that differ from equal weights by a little noise; half of them also from one another in quality."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(arguments.rows)
    label = (rng.random(arguments.rows) < 2 * arguments.rate / (1 + np.exp(-signal))).astype(np.float64)
    group = rng.integers(0, arguments.groups, arguments.rows) if arguments.groups else None
    store = Store(folder, "f" * 16)
    store.write_rows({"click": label}, group)
    variants, runs = [], []
    names = ["equal", "tuned_fixed", *(f"method_{place}" for place in range(arguments.methods - 2))]
    for place, name in enumerate(names[: arguments.methods]):
        role = "method" if place > 1 else name
        variants.append(VariantRecord(name, "mmoe", "marginal", name, role, references=names[: min(place, 2)]))
        for seed in range(arguments.seeds):
            noise = rng.standard_normal(arguments.rows)
            prediction = 1 / (1 + np.exp(-signal - (0.5 + 0.01 * place) * noise))
            run = f"runs/{name}-{seed}"
            (folder / run).mkdir(parents=True)
            pq.write_table(pa.table({"click": prediction}), folder / run / "predictions.parquet", compression="none")
            values = {metric: function(label, prediction) for metric, function in FUNCTIONS.items()}
            if group is not None:
                values["gauc"] = gauc(label, prediction, group)
            (folder / run / "result.json").write_text(json.dumps({"test": {"click": values}}))
            runs.append(RunRecord(name, seed, run))
    return store, variants, runs, Output("click", "click", "binary", arguments.rows, int(label.sum()))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="test rows")
    parser.add_argument("--methods", type=int, default=20, help="variants, the first two of them references")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--groups", type=int, default=0, help="groups for GAUC; 0: without GAUC")
    parser.add_argument("--rate", type=float, default=0.05, help="share of positives")
    parser.add_argument("--jobs", type=int, default=2, help="threads of the statistics")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    metrics = [MetricRecord("auc", True), MetricRecord("logloss", False)]
    metrics += [MetricRecord("gauc", True)] if arguments.groups else []
    with tempfile.TemporaryDirectory() as folder:
        store, variants, runs, output = write(Path(folder), arguments)
        before = peak_memory()
        start = time.perf_counter()
        _, differences, _ = analyse(variants, runs, [output], metrics, range(arguments.seeds), store, arguments.jobs)
        seconds = time.perf_counter() - start
    peak = max(before, peak_memory())  # the kernel counts pages roughly, so its peak may even fall a little
    print(
        f"{arguments.methods} methods x {arguments.seeds} seeds x {arguments.rows:,} test rows, "
        f"{len(metrics)} metrics, {arguments.groups:,} groups, {arguments.jobs} threads"
    )
    print(f"  {len(differences)} differences in {seconds:.1f} s; peak memory {peak / 2**30:.2f} GiB")
    print(f"  of which {before / 2**30:.2f} GiB were reached while the predictions were generated")
    settings = {name: value for name, value in vars(arguments).items() if name not in ("output", "threads")}
    row = {"differences": len(differences), "seconds": seconds, "peak_memory": peak, "memory_before": before}
    write_results("comparison_statistics", settings, [row], arguments.output)


if __name__ == "__main__":
    main()
