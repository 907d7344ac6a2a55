"""Label encoding by NextRec's DataProcessor, for ../processor.py: fitted and transformed in memory."""

import os
import sys
import time
from functools import partial
from importlib.metadata import version

os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"]

import polars as pl
from child import serve
from nextrec.data.preprocessor import DataProcessor

frame = pl.read_parquet(sys.argv[1])


def encode() -> dict[str, float]:
    """Seconds to fit, to transform as by default, which is to numpy arrays, and to transform to a data frame."""
    processor = DataProcessor()
    for name in frame.columns:
        processor.add_sparse_feature(name, encode_method="label")
    times = [time.perf_counter()]
    for step in (processor.fit, processor.transform, partial(processor.transform, return_dict=False)):
        step(frame)
        times.append(time.perf_counter())
    return {name: end - start for name, start, end in zip(("fit", "transform", "transform_frame"), times, times[1:])}


serve({"version": version("nextrec")}, encode)
