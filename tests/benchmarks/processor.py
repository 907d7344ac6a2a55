"""Seconds to fit and transform one column; with ``--peer`` ten columns of strings, beside NextRec's DataProcessor.

    python tests/benchmarks/processor.py
    python tests/benchmarks/processor.py --peer --rows 10000000

The peer lives in a virtual environment of its own (network, about 1 GB at the first run). Both programs read the same
parquet file into memory before they are timed, and then fit and transform by turns, with the same number of threads.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from child import HERE, Child
from environments import FOLDER, environment
from results import alternate, median_ratio, parser_of, write_results

from nextrec_like.data.columns import Column, IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.tables import TableLike

OWN, PEER, TARGET = "nextrec_like", "nextrec", 10.0
FRAME = "transform_frame"
COLUMNS, CHUNK = 10, 1_000_000


def main() -> None:
    arguments = parse()
    pa.set_cpu_count(arguments.threads)
    (against_peer if arguments.peer else by_column)(arguments)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument(
        "--unique", type=int, default=100_000, help="different values; for the peer, of the last column"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help="ten columns beside NextRec instead of one by one")
    parser.add_argument("--environments", type=Path, default=FOLDER, help="folder of the virtual environments")
    return parser.parse_args()


def by_column(arguments: argparse.Namespace) -> None:
    """Prints one line per kind of column and kind of input."""
    results = []
    for label, column, data in cases(arguments.rows, arguments.unique):
        seconds = [seconds_to_encode(column, data) for _ in range(arguments.runs)]
        print(f"{label:<34}{median(seconds):8.3f} s{arguments.rows / median(seconds) / 1e6:8.1f} M values/s")
        results.append({"case": label, "seconds": seconds, "values_per_second": arguments.rows / median(seconds)})
    settings = {"rows": arguments.rows, "unique": arguments.unique, "runs": arguments.runs}
    write_results("processor", settings, results, arguments.output)


def against_peer(arguments: argparse.Namespace) -> None:
    """Prints seconds to fit and to transform, and how many times faster we are in the same round."""
    pythons = {OWN: Path(sys.executable), PEER: environment(PEER, arguments.environments)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "rows.parquet"
        write_strings(file, arguments.rows, arguments.unique)
        children = {
            name: stack.enter_context(Child([python, HERE / "peers" / f"{name}_processor.py", file], arguments.threads))
            for name, python in pythons.items()
        }
        answers = alternate({name: child.epoch for name, child in children.items()}, arguments.runs)
        results = [result(name, answers) | children[name].hello for name in answers]
    for row in results:
        print(row_text(row))
    settings = {name: getattr(arguments, name) for name in ("rows", "unique", "runs", "threads")}
    write_results("processor_peer", settings | {"columns": COLUMNS}, results, arguments.output)


def result(name: str, answers: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """One line of the results; the ratios are those of the peer's seconds to ours, within each round.

    `ratio` is for the peer's default, which returns numpy arrays, `frame_ratio` for its faster way to a data frame.
    """
    row: dict[str, Any] = {"program": name, "ratio": None, "frame_ratio": None, "target": None}
    if name != OWN:
        ratios = [median_ratio(seconds(answers[name], last), seconds(answers[OWN])) for last in ("transform", FRAME)]
        row |= {"ratio": ratios[0], "frame_ratio": ratios[1], "target": TARGET}
    steps = {step: median(answer[step] for answer in answers[name]) for step in answers[name][0]}
    return row | steps | {"seconds": seconds(answers[name])}


def seconds(answers: list[dict[str, float]], last: str = "transform") -> list[float]:
    """Seconds to fit and to transform in each round."""
    return [answer["fit"] + answer[last] for answer in answers]


def row_text(row: dict[str, Any]) -> str:
    """One line to print."""
    text = f"{row['program']:<14}fit {row['fit']:7.2f} s, transform {row['transform']:7.2f} s"
    if row["ratio"] is None:
        return text
    frame = f"to a data frame {row[FRAME]:.2f} s, {row['frame_ratio']:.1f} times"
    return f"{text}, {row['ratio']:.1f} times (target {row['target']:g}); {frame}"


def write_strings(file: Path, rows: int, unique: int) -> None:
    """Ten columns of strings, of which the first has a tenth of the different values of the last."""
    generator = np.random.default_rng(0)
    sizes = np.geomspace(max(unique // 10, 1), unique, COLUMNS).astype(int)
    words = {f"id_{number}": words_of(np.arange(size)) for number, size in enumerate(sizes)}
    schema = pa.schema([(name, pa.string()) for name in words])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for start in range(0, rows, CHUNK):
            size = min(CHUNK, rows - start)
            numbers = {name: generator.integers(len(known), size=size) for name, known in words.items()}
            columns = {name: known.take(pa.array(numbers[name])) for name, known in words.items()}
            writer.write_table(pa.table(columns, schema))


def cases(rows: int, unique: int) -> list[tuple[str, Column, TableLike]]:
    """Label, column and data of each measurement."""
    generator = np.random.default_rng(0)
    number = generator.integers(unique, size=rows)
    words = np.array([f"user_{value:07d}" for value in range(unique)], dtype=object)
    frame = pd.DataFrame({"x": words[number]})
    half = words_of(generator.integers(rows // 2, size=rows))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, rows + 1, 10, dtype=np.int32)), pa.array(number))
    return [
        ("strings, vocabulary, pandas", IdColumn("x"), frame),
        ("strings, vocabulary, numpy objects", IdColumn("x"), {"x": words[number]}),
        ("strings, vocabulary, arrow", IdColumn("x"), pa.table({"x": pa.array(words[number])})),
        ("all distinct strings, arrow", IdColumn("x"), pa.table({"x": words_of(generator.permutation(rows))})),
        ("half as many strings, arrow", IdColumn("x"), pa.table({"x": half})),
        ("half as many, min_count 2, arrow", IdColumn("x", min_count=2), pa.table({"x": half})),
        ("strings, hash, pandas", IdColumn("x", hash_size=50_000), frame),
        ("strings, hash, arrow", IdColumn("x", hash_size=50_000), pa.table({"x": pa.array(words[number])})),
        ("integers, vocabulary, numpy", IdColumn("x"), {"x": number}),
        ("lists of 10 integers, arrow", SequenceColumn("x"), pa.table({"x": lists})),
        ("numbers, standard, numpy", NumericColumn("x"), {"x": generator.normal(size=rows)}),
        ("numbers, quantile, numpy", NumericColumn("x", scaling="quantile"), {"x": generator.normal(size=rows)}),
    ]


def words_of(numbers: np.ndarray) -> pa.Array:
    """Text of one length for each number."""
    return pc.binary_join_element_wise("user", pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0"), "_")


def seconds_to_encode(column: Column, data: TableLike) -> float:
    """Seconds to fit a processor and to transform the same rows."""
    start = perf_counter()
    DataProcessor([column]).fit_transform(data)
    return perf_counter() - start


if __name__ == "__main__":
    main()
