"""Training speed and memory of `model.fit` on parquet files: streamed, streamed with a cache, and read into memory.

The rows of the workload are written to a folder at the first run, in files of 5 M rows with row groups of 100,000;
50 M rows are about 2 GB. Each way of reading is a process of its own, which trains one epoch in turn with the others:
the speed is that of the epoch, and of the whole call of `fit`; the memory is the largest resident set, in which the
mapped pages of the cache count, although the system can take them back. At more than `--in-memory` rows only the
stream is trained, for one epoch. Run on an idle machine:

    python tests/benchmarks/streaming.py
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from child import Child, serve
from environments import FOLDER
from loops import Fit
from results import alternate, median_ratio, parser_of, peak_memory, write_results
from workload import Workload, make_data

FILE_ROWS, GROUP_ROWS = 5_000_000, 100_000
WAYS = ("memory", "stream", "cache")


def main() -> None:
    arguments = parse()
    if arguments.child is not None:
        train(Workload.from_json(arguments.child), arguments.folder, arguments.ways[0])
        return
    torch.set_num_threads(arguments.threads)
    results = []
    for rows in arguments.rows:
        workload = Workload(rows=rows, batch_size=arguments.batch_size)
        files = generate(workload, arguments.folder / f"rows-{rows}")
        results += measure(workload, files, arguments)
    for row in results:
        speed = f"{row['rows_per_second']:>10,.0f} rows/s ({row['fit_rows_per_second']:,.0f} in all of `fit`)"
        ratio = "" if row["ratio"] is None else f", {row['ratio']:.3f} of memory (target 0.9)"
        print(f"{row['rows']:>12,} rows  {row['way']:8s}{speed}{row['peak_memory'] / 1e9:8.2f} GB{ratio}")
    settings = asdict(workload) | {"rows": arguments.rows, "rounds": arguments.rounds}
    write_results("streaming", settings | {"row_group_rows": GROUP_ROWS}, results, arguments.output)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--in-memory", type=int, default=10_000_000, help="largest number of rows read into memory")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--folder", type=Path, default=FOLDER / "streaming", help="where the parquet files are")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def generate(workload: Workload, folder: Path) -> Path:
    """The rows of the workload as parquet files, a row group at a time; they stay for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, workload.rows, FILE_ROWS)):
        path = folder / f"part-{number:03d}.parquet"
        if path.is_file():
            continue
        unfinished = path.with_suffix(".unfinished")
        last = min(first + FILE_ROWS, workload.rows)
        with pq.ParquetWriter(unfinished, table_of(replace(workload, rows=0), 0).schema) as writer:
            for start in range(first, last, GROUP_ROWS):
                group = replace(workload, rows=min(GROUP_ROWS, last - start))
                writer.write_table(table_of(group, seed=start))
        unfinished.rename(path)
    return folder


def table_of(workload: Workload, seed: int) -> pa.Table:
    """Rows of the workload; ids as int32."""
    data = make_data(workload, seed)
    return pa.table({name: data[name].astype(np.int32) if name in workload.id_names else data[name] for name in data})


def measure(workload: Workload, files: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One line for each way that this number of rows is trained in."""
    large = workload.rows > arguments.in_memory
    ways = ["stream"] if large else arguments.ways
    command = [sys.executable, __file__, "--child", workload.to_json(), "--folder", files, "--ways"]
    with ExitStack() as stack:
        children = {way: stack.enter_context(Child([*command, way], arguments.threads)) for way in ways}
        epochs = {way: child.epoch for way, child in children.items()}
        answers = alternate(epochs, 1 if large else arguments.rounds, warm_up=not large)
    seconds = {way: [answer["epoch_seconds"] for answer in given] for way, given in answers.items()}
    return [
        {
            "rows": workload.rows,
            "way": way,
            "rows_per_second": workload.rows / median(seconds[way]),
            "fit_rows_per_second": workload.rows / median(answer["seconds"] for answer in answers[way]),
            "peak_memory": max(answer["peak_memory"] for answer in answers[way]),
            "ratio": None if way == "memory" or "memory" not in ways else median_ratio(seconds["memory"], seconds[way]),
            "seconds": seconds[way],
        }
        for way in ways
    ]


def train(workload: Workload, files: Path, way: str) -> None:
    """The child's side: each time one call of `fit` with one epoch."""
    fit = Fit(files, workload)
    with tempfile.TemporaryDirectory(dir=files.parent) as cache:
        options: dict[str, object] = {"streaming": way != "memory", "cache_dir": cache if way == "cache" else None}

        def epoch() -> dict[str, Any]:
            start = time.perf_counter()
            (record,) = fit.epochs(1, **options)
            seconds = time.perf_counter() - start
            return {"seconds": seconds, "epoch_seconds": record.seconds, "peak_memory": peak_memory()}

        serve({"threads": torch.get_num_threads()}, epoch)


if __name__ == "__main__":
    main()
