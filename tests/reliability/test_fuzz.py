"""A short form of the fuzzer, every case that once failed, and what counts as a failure."""

import gzip
import time

import numpy as np
import pandas as pd
import pytest
import torch
from fuzz import KINDS, REFUSED, WORKED, Failure, Hang, outcome, search
from strategies import Damage, InputChanged, good_rows, unchanged
from strategies_folders import Bytes, FolderCase, Replaced
from strategies_schemas import CallCase
from strategies_tables import FileCase, TableCase
from strategies_yaml import FUNNEL, ConfigCase

from nextrec_like import DenseFeature, IdColumn, InputError, NumericColumn, SequenceColumn, SparseFeature, Task

RAW = [NumericColumn("age"), IdColumn("user"), SequenceColumn("hist", separator="|")]
CSV = b"age,user,hist,click,buy,price\n1,2,3,1,0,0.5\n"
CELL = pd.Series([1, 2])


def table(**columns):
    return TableCase([*{**good_rows(3), **columns}.items()], "dict", "pack", RAW)


CORPUS = {
    "UnicodeDecodeError: a compressed file without .gz": FileCase("a.csv", gzip.compress(CSV), "raw predict", RAW),
    "KeyError of pyarrow: a name twice in a CSV file": FileCase("a.csv", b"age,age,user\n1,2,3\n", "raw predict", RAW),
    "NotImplementedError: a tensor without data": table(age=torch.zeros(3, device="meta")),
    "TypeError: columns that are no list": CallCase("read", {"data": good_rows(3), "columns": False}),
    "letters taken for columns": CallCase("read", {"data": good_rows(3), "columns": "age"}),
    "a message of several lines": CallCase("definition", {"define": DenseFeature, "name": CELL}),
    "a message as long as its value": CallCase("definition", {"define": DenseFeature, "name": ["x"] * 10_000}),
    "truth of an array: streaming": CallCase("predict", {"output": None, "streaming": np.zeros(2)}),
    "truth of an array: device": CallCase("evaluate", {"device": np.zeros(2)}),
    "truth of pandas.NA: device": CallCase("fit", {"device": pd.NA}),
    "ValueError: a device number beyond 64 bits": CallCase("evaluate", {"device": 2**63}),
    "truth of a series: keep": CallCase("predict", {"output": None, "keep": CELL}),
    "truth of a series: fill_value": CallCase("definition", {"define": NumericColumn, "name": "x", "fill_value": CELL}),
    "unhashable: precision": CallCase("compile", {"precision": []}),
    "unhashable: parent": CallCase("definition", {"define": Task, "name": "x", "parent": ["click"]}),
    "unhashable: embedding_name": CallCase(
        "definition", {"define": SparseFeature, "name": "x", "vocab_size": 3, "embedding_name": ["y"]}
    ),
    "AttributeError: optimizer_params": CallCase("compile", {"optimizer_params": 1}),
    "TypeError: scheduler_params": CallCase("compile", {"scheduler_params": 0}),
    "TypeError in the first step: amsgrad": CallCase("compile", {"optimizer_params": {"amsgrad": 0.1}}),
    "IndexError: betas": CallCase("compile", {"optimizer_params": {"betas": (0.9,)}}),
    "OverflowError: fill_value": CallCase("definition", {"define": NumericColumn, "name": "x", "fill_value": 10**400}),
    "OverflowError: lr": CallCase("compile", {"optimizer_params": {"lr": 10**400}}),
    "a model without end": CallCase("model", {"model": "ple", "num_levels": 2**62}),
    "all memory: vocab_size": CallCase("model", {"model": "mmoe", "sparse_features": [SparseFeature("user", 2**50)]}),
    "all memory: max_len": CallCase("definition", {"define": SequenceColumn, "name": "x", "max_len": 10**10}),
    "all memory: dim": CallCase("definition", {"define": DenseFeature, "name": "x", "dim": 10**10}),
    "all memory: num_rows": CallCase("funnel", {"num_rows": 10**12}),
    "all memory: num_experts": CallCase("model", {"model": "mmoe", "num_experts": 2**62}),
    "all memory: num_buckets": CallCase(
        "processor", {"columns": [NumericColumn("age", "quantile", num_buckets=10**5), IdColumn("user")]}
    ),
    "ValueError of a checkpoint: nash_mtl": ConfigCase("train", FUNNEL.encode(), ["weighting=nash_mtl"]),
    "TypeError: a folder that is no path": CallCase("load", {"folder": None}),
    "MemoryError: weights of 8 TiB": FolderCase("model", [(1.0, Replaced("sparse"))], 0),
    "OSError: a path that is too long": CallCase("read", {"data": "x" * 300 + ".csv"}),
    "OSError: a folder that is too long": CallCase("save", {"folder": "x" * 300}),
    "RuntimeError: the home of nobody": CallCase("read", {"data": "~nosuchuser/rows.csv"}),
    "UnicodeEncodeError: half a character in a path": CallCase("save", {"folder": "\ud800"}),
    "OSError: a configuration that is too long": ConfigCase("train", FUNNEL.encode(), ["output=" + "x" * 300]),
    "waits for ever: rows that are a pipe": FolderCase("cache", [(1.0, Replaced("fifo"))], 0),
    "waits for ever: weights that are a pipe": FolderCase("model", [(1.0, Replaced("fifo"))], 0),
    "waits for ever: checkpoints that are pipes": FolderCase("checkpoints", [(1.0, Replaced("fifo"))], 0),
    "reads for ever: checkpoints of 8 TiB": FolderCase("checkpoints", [(1.0, Replaced("sparse"))], 0),
    "waits for ever: LATEST that is a pipe": FolderCase("checkpoints", [(0.2961253992917779, Replaced("fifo"))], 1),
    "TokenError: a header of numpy": FolderCase("cache", [(0.5, Bytes((Damage("flip", 0.1875, 0),)))], 0),
}
WORKS = (
    "num_buckets",
    "nash_mtl",
    "checkpoints that are pipes",
    "checkpoints of 8 TiB",
    "LATEST that is a pipe",
    "header of numpy",
)
"""Ends of the reasons of cases that are right, or find an earlier checkpoint, or write the cache again."""


@pytest.mark.parametrize("reason", CORPUS)
def test_what_once_failed_is_refused_clearly(reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert outcome(CORPUS[reason], tmp_path) == (WORKED if reason.endswith(WORKS) else REFUSED)


@pytest.mark.filterwarnings("ignore")  # of pandas, for the types that are drawn
@pytest.mark.parametrize("kind", KINDS)
def test_drawn_cases_work_or_are_refused_clearly(kind):
    counts, failures = search(kind, 125, seed=0, derandomize=True)

    assert failures == {}
    assert min(counts[WORKED], counts[REFUSED]) > 5


class Case:
    """A case that does what it is told."""

    def __init__(self, run):
        self.run = run


def refuse(message):
    raise InputError(message)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda folder: {}["a"], "KeyError: 'a'"),
        (lambda folder: refuse(""), "not one clear sentence"),
        (lambda folder: refuse("Traceback (most recent call last)"), "not one clear sentence"),
    ],
)
def test_other_errors_are_failures(run, words, tmp_path):
    with pytest.raises(Failure, match=words):
        outcome(Case(run), tmp_path)


def test_case_that_takes_too_long_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz.patience", [0.01])
    with pytest.raises(Hang):
        outcome(Case(lambda folder: time.sleep(5)), tmp_path)


@pytest.mark.parametrize("values", [[1, 2], np.zeros(2), pd.Series([1, 2]), torch.zeros(2)], ids=type)
def test_changed_input_is_a_failure(values):
    with pytest.raises(InputChanged), unchanged({"a": values}):
        values[0] = 7


def test_changed_frame_is_a_failure():
    frame = pd.DataFrame({"a": [1, 2]})
    with pytest.raises(InputChanged), unchanged(frame):
        frame.index = [3, 4]


def test_changed_file_is_a_failure(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a\n1\n")
    with pytest.raises(InputChanged), unchanged(file):
        (tmp_path / "rows.csv.part").touch()
