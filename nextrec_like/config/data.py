"""The tables that a configuration names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from nextrec_like.config.build import build_columns, build_tasks
from nextrec_like.config.schema import Config, Split
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.splits import split_by_group, split_by_time, split_random
from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.data.tables import read_table
from nextrec_like.errors import InputError

PARTS = ("train", "valid", "test")


def read_data(config: Config) -> dict[str, pa.Table]:
    """The columns in use of the rows for ``train`` and, where the configuration has them, ``valid`` and ``test``."""
    data, split = config.data, config.data.split
    with config.blame("data", "features", "tasks", "training"):
        columns = _columns_in_use(config)
        if data.synthetic_funnel is not None:
            funnel = data.synthetic_funnel
            tables = {"train": read_table(synthetic_funnel(funnel.rows, funnel.seed), columns)}
        else:
            files = {"train": data.train or data.path, "valid": data.valid, "test": data.test}
            tables = {part: _read_files(paths, columns) for part, paths in files.items() if paths is not None}
        if split is not None:
            tables |= zip(PARTS, _split(tables["train"], split))
    return tables


def fit_processor(config: Config, train: pa.Table) -> DataProcessor | None:
    """A processor fitted on the training rows; None for data that are encoded already."""
    columns = build_columns(config)
    if not columns:
        return None
    with config.blame("features"):
        return DataProcessor(columns).fit(train)


def _columns_in_use(config: Config) -> list[str]:
    features, training, split = config.features, config.training, config.data.split
    entries = [*features.dense, *features.sparse, *features.sequence]
    others = [training.group_id, split.column if split else None]
    names = [entry.name for entry in entries] + [task.column for task in build_tasks(config)]
    return list(dict.fromkeys([*names, *(name for name in others if name is not None)]))


def _read_files(paths: Sequence[str], columns: Sequence[str]) -> pa.Table:
    for path in map(Path, paths):
        if not path.expanduser().exists():
            script = Path(*path.parts[:2], "prepare.py").as_posix()
            hint = f"run `python {script}` first" if path.parts[0] == "datasets" else "check the path"
            raise InputError(f"There is no file or folder `{path}` (current folder: `{Path.cwd()}`); {hint}.")
    return read_table(list(paths), columns)


def _split(table: pa.Table, split: Split) -> Sequence[Any]:
    if split.by == "random":
        return split_random(table, split.fractions, split.seed)
    assert split.column is not None
    if split.by == "time":
        return split_by_time(table, split.column, split.fractions)
    return split_by_group(table, split.column, split.fractions, split.seed)
