"""The folder of a comparison: one folder per run, and what all runs share."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nextrec_like.errors import InputError
from nextrec_like.storage.atomic import remove_parts, whole, whole_folder
from nextrec_like.storage.reading import parse_json, read_json, read_text
from nextrec_like.storage.records import typed

RESULT, PREDICTIONS, GATES, FAILURE = "result.json", "predictions.parquet", "gates.json", "failure.json"
FORMAT = 1


FILES = ("config.yaml", "versions.json", "history.jsonl", "steps.parquet", PREDICTIONS, GATES, RESULT)


NUMBERS = ("seed", "epochs", "seconds", "cpu_seconds", "peak_memory")
KEYS = ("key", *NUMBERS, "score", "best_epoch", "valid", "test")


MAX_HISTORY = 2**28
"""Bytes of a history, which has some hundreds per epoch and task."""


@dataclass(frozen=True)
class Gate:
    """Mean share of each expert in a gate, over the test rows."""

    gate: str
    shares: list[float]


@dataclass(frozen=True)
class RunFolder:
    """A run that has come to its end.

    Args:
        path: Its folder.
    """

    path: Path

    def result(self) -> dict[str, Any]:
        """Metrics by part and output, reasons, cost: the content of ``result.json``."""
        file = self.path / RESULT
        return read_json(file, _fix(file))

    def fault(self, num_rows: int | None = None) -> str | None:
        """What is wrong with the folder, so that the run has to be done again; None if nothing is.

        Args:
            num_rows: Number of test rows that there should be predictions of; None for any.
        """
        for name in FILES:
            file = self.path / name
            if not file.is_file() or file.stat().st_size == 0:
                return f"{name} is {'empty' if file.is_file() else 'missing'}"
        tables = {}
        for name in (PREDICTIONS, "steps.parquet"):
            try:
                tables[name] = pq.read_metadata(self.path / name)
            except (OSError, pa.ArrowInvalid):
                return f"{name} is damaged"
        if num_rows is not None and tables[PREDICTIONS].num_rows != num_rows:
            return f"{PREDICTIONS} has {tables[PREDICTIONS].num_rows} rows, and there are {num_rows} test rows"
        try:
            result, _, _ = self.result(), self.gates(), self.history()
        except InputError:
            return "a JSON file is damaged"
        return _fault_of_result(result)

    def history(self) -> list[dict[str, Any]]:
        """One record per epoch."""
        file = self.path / "history.jsonl"
        lines = read_text(file, _fix(file), MAX_HISTORY).splitlines()
        found = [parse_json(line, f"`{file}`", _fix(file)) for line in lines]
        return typed(list[dict[str, Any]], found, f"The history in `{file}`")

    def steps(self) -> pd.DataFrame:
        """The logged steps: epoch, step, figure (loss, weight, norm, cosine), task, other, value."""
        file = self.path / "steps.parquet"
        with _reading(file):
            return pd.read_parquet(file)

    def predictions(self, output: str) -> np.ndarray:
        """Predictions of all test rows, float64, shape ``(N,)``."""
        file = self.path / PREDICTIONS
        with _reading(file):
            return pq.read_table(file, columns=[output])[output].to_numpy()

    def gates(self) -> list[dict[str, Any]]:
        """Mean share of each expert over the test rows: ``{"gate": "gates.click", "shares": [0.25, ...]}`` per gate."""
        file = self.path / GATES
        found = read_json(file, _fix(file))
        typed(list[Gate], found, f"The list of gates in `{file}`")
        return list(found)


def _fault_of_result(result: Any) -> str | None:  # noqa: ANN401
    found = result.get("format") if isinstance(result, dict) else None
    if found != FORMAT:
        return f"it has format {found}, and this version writes {FORMAT}"
    absent = [name for name in KEYS if name not in result]
    if absent:
        return f"{RESULT} lacks `{absent[0]}`"
    numbers = [name for name in NUMBERS if not isinstance(result[name], (int, float))]
    if not isinstance(result["score"], (int, float, NoneType)):
        numbers.append("score")
    parts = [result["valid"], result["test"]]
    are_nested = all(isinstance(part, dict) and all(isinstance(each, dict) for each in part.values()) for part in parts)
    return f"{RESULT} is damaged" if numbers or not are_nested or not result["test"] else None


class Store:
    """The folder of a comparison.

    Args:
        path: Its folder.
        fingerprint: That of the data; comparisons of one name may have been run on several.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.data = path, path / "data" / fingerprint[:16]

    def run(self, relative: str) -> RunFolder:
        """A run by its folder relative to that of the comparison, such as ``runs/0123456789abcdef``."""
        return RunFolder(self.path / relative)

    @property
    def runs(self) -> Path:
        """The folder with the run folders."""
        return self.path / "runs"

    def write_rows(self, labels: Mapping[str, np.ndarray], groups: np.ndarray | None) -> None:
        """Keeps what the test rows are judged by: labels by output, and groups, shape ``(N,)`` each."""
        tables = {"labels": pa.table(dict(labels))}
        if groups is not None:
            tables["groups"] = pa.table({"group": groups})
        self.data.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            with whole(self.data / f"{name}.parquet") as part:
                pq.write_table(table, part)

    def tidy(self) -> None:
        """Removes what killed processes have left behind."""
        remove_parts(self.path, r"\w+\.(json|csv|html|md)", shared=True)
        remove_parts(self.data, r"\w+\.parquet", shared=True)
        remove_parts(self.runs, r"[0-9a-f]+", shared=True)

    def put_aside(self, folder: Path) -> Path:
        """Moves a run folder to where it is neither used nor lost."""
        aside = self.path / "replaced" / folder.name
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        return folder.rename(aside)

    def labels(self, output: str) -> np.ndarray:
        """Labels of all test rows for an output, NaN where it is not judged, float64, shape ``(N,)``."""
        file = self.data / "labels.parquet"
        with _reading(file):
            return pq.read_table(file, columns=[output])[output].to_numpy()

    def num_rows(self) -> int:
        """Number of test rows."""
        file = self.data / "labels.parquet"
        with _reading(file):
            return int(pq.read_metadata(file).num_rows)

    def groups(self) -> np.ndarray | None:
        """Group of each test row as integers, shape ``(N,)``; None if the configuration has no `group_id`."""
        file = self.data / "groups.parquet"
        if not file.is_file():
            return None
        with _reading(file):
            return pq.read_table(file)["group"].to_numpy()


@contextmanager
def new_run_folder(runs: Path, key: str) -> Iterator[Path]:
    """A folder to write a run into, which gets its name when all is written, and goes if anything fails."""
    with whole_folder(runs / key, replace=False) as part:
        yield part


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"`{file}` is missing or damaged ({error}); {_fix(file)}.") from error


def _fix(file: Path) -> str:
    return f"delete the folder `{file.parent}` and compare again"
