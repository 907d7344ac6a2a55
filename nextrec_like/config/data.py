"""The tables that a configuration names."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nextrec_like.config.build import build_columns, build_features, build_tasks
from nextrec_like.config.schema import Config, Split
from nextrec_like.data.checks import check_children, check_source, label_values
from nextrec_like.data.columns import text_columns
from nextrec_like.data.packed import pack
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.splits import split_by_group, split_by_time, split_random
from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.data.tables import TableLike, read_table
from nextrec_like.errors import InputError, within
from nextrec_like.features import FeatureSet
from nextrec_like.metrics import METRICS
from nextrec_like.tasks import TaskSet
from nextrec_like.training.arguments import group_of

PARTS = {"train": "training", "valid": "validation", "test": "test"}
EVALUATED = ("valid", "test")


def read_data(config: Config) -> dict[str, pa.Table]:
    """The columns in use of the rows for ``train`` and, where the configuration has them, ``valid`` and ``test``.

    Every row is checked before a table is split, so that an error names the row of the user's table.
    """
    with config.blame("data"):
        sources = _sources(config)
    columns, text = _columns_in_use(config), text_columns(build_columns(config))
    tables: dict[str, pa.Table] = {}
    for part, source in sources.items():
        place = part if len(sources) > 1 else None
        with _about(config, place, "data", "features", "tasks", "training"):
            tables[part] = read_table(source, columns, text=text)
        _check_rows(config, tables[part], place)
    if config.data.split is not None:
        with config.blame("data"):
            tables |= zip(PARTS, _split(tables["train"], config.data.split, sources["train"], text))
    _check_groups(config, tables)
    return tables


def fit_processor(config: Config, train: pa.Table) -> DataProcessor | None:
    """A processor fitted on the training rows; None for data that are encoded already."""
    columns = build_columns(config)
    if not columns:
        return None
    with config.blame("features"):
        return DataProcessor(columns).fit(train)


def _sources(config: Config) -> Mapping[str, TableLike]:
    data = config.data
    if data.synthetic_funnel is not None:
        return {"train": synthetic_funnel(data.synthetic_funnel.rows, data.synthetic_funnel.seed)}
    files = {"train": data.train or data.path, "valid": data.valid, "test": data.test}
    sources = {part: paths for part, paths in files.items() if paths is not None}
    for path in (Path(path) for paths in sources.values() for path in paths):
        if not path.expanduser().exists():
            script = Path(*path.parts[:2], "prepare.py").as_posix()
            hint = f"run `python {script}` first" if path.parts[0] == "datasets" else "check the path"
            raise InputError(f"There is no file or folder `{path}` (current folder: `{Path.cwd()}`); {hint}.")
    return sources


def _columns_in_use(config: Config) -> list[str]:
    training, split = config.training, config.data.split
    others = [training.group_id, split.column if split else None]
    names = _feature_names(config) + [task.column for task in build_tasks(config)]
    return list(dict.fromkeys([*names, *(name for name in others if name is not None)]))


def _feature_names(config: Config) -> list[str]:
    features = config.features
    return [entry.name for entry in (*features.dense, *features.sparse, *features.sequence)]


@contextmanager
def _about(config: Config, part: str | None, *sections: str) -> Iterator[None]:
    """`Config.blame` that also says which rows the error is about; None if there is only one table."""
    with config.blame(*sections), within(f"In the {PARTS[part]} data: " if part else ""):
        yield


def _check_rows(config: Config, table: pa.Table, part: str | None) -> None:
    """Raises for the first label, then the first feature, that a model would refuse."""
    tasks = TaskSet(build_tasks(config))
    with _about(config, part, "tasks"):
        check_children(np.stack([label_values(table[task.column], task) for task in tasks], axis=1), tasks)
        for task in tasks:
            check_source(table.schema.field(task.column), task, _feature_names(config))
    columns = build_columns(config)
    with _about(config, part, "features"):
        if columns:
            DataProcessor(columns).check(table)
        else:
            pack(table, FeatureSet(*build_features(config, None).values()))


def _check_groups(config: Config, tables: Mapping[str, pa.Table]) -> None:
    if any(METRICS[name].needs_group for name in config.training.metrics):
        for part in EVALUATED:
            if part in tables:
                with _about(config, part, "training"):
                    group_of(tables[part], config.training.group_id, None)


def _split(table: pa.Table, split: Split, source: TableLike, text: Sequence[str]) -> Sequence[Any]:
    if split.by == "random":
        return split_random(table, split.fractions, split.seed)
    assert split.column is not None
    if split.by == "group":
        return split_by_group(table, split.column, split.fractions, split.seed)
    if split.column not in text:
        return split_by_time(table, split.column, split.fractions)
    # The time is a feature, too, which a CSV file gives as text.
    times = read_table(source, [split.column]).append_column("row of the table", pa.array(range(table.num_rows)))
    return [table.take(part["row of the table"]) for part in split_by_time(times, split.column, split.fractions)]
