"""Seconds to fit and transform one column, median of several runs.

Run it with ``python tests/benchmarks/processor.py``.
"""

import argparse
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.data.columns import Column, IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.tables import TableLike


def main() -> None:
    """Prints one line per kind of column and kind of input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--unique", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    for label, column, data in cases(args.rows, args.unique):
        seconds = median(seconds_to_encode(column, data) for _ in range(args.runs))
        print(f"{label:<34}{seconds:8.3f} s{args.rows / seconds / 1e6:8.1f} M values/s")


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
