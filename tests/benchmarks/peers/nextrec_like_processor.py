"""Ids by our DataProcessor, for ../processor.py: fitted and transformed in memory."""

import sys
import time

import pyarrow.parquet
from child import serve

from nextrec_like import __version__
from nextrec_like.data.columns import IdColumn
from nextrec_like.data.processor import DataProcessor

table = pyarrow.parquet.read_table(sys.argv[1])


def encode() -> dict[str, float]:
    """Seconds to fit and to transform."""
    processor = DataProcessor([IdColumn(name) for name in table.column_names])
    start = time.perf_counter()
    processor.fit(table)
    fitted = time.perf_counter()
    processor.transform(table)
    return {"fit": fitted - start, "transform": time.perf_counter() - fitted}


serve({"version": __version__}, encode)
