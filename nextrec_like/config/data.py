"""The rows that a configuration names: tables in memory, or files to stream."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from nextrec_like.config.build import build_columns, build_features, build_tasks, stand_ins
from nextrec_like.config.schema import Config, Split
from nextrec_like.data.blocks import Block, ParquetBlocks, parquet_files
from nextrec_like.data.checks import check_children, check_source, label_values
from nextrec_like.data.columns import text_columns
from nextrec_like.data.groups import group_of
from nextrec_like.data.packed import pack
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.splits import split_by_group, split_by_time, split_random
from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.data.tables import TableLike, read_table
from nextrec_like.errors import InputError, within
from nextrec_like.features import FeatureSet
from nextrec_like.metrics import METRICS
from nextrec_like.tasks import TaskSet
from nextrec_like.training.reading import files_to_stream

PARTS = {"train": "training", "valid": "validation", "test": "test"}
EVALUATED = ("valid", "test")

Part: TypeAlias = pa.Table | list[Path]
"""The rows of a part: in memory, or the parquet files to stream them from."""


def open_data(config: Config) -> dict[str, Part]:
    """The rows for ``train`` and, where the configuration has them, ``valid`` and ``test``.

    Rows of tables are checked as by `read_data`. Of files that are streamed only labels and groups are read here; wrong
    values of features are found when the rows are used.
    """
    with config.blame("data"):
        files = _streamed(config)
    if files is None:
        return read_data(config)
    for part, paths in files.items():
        place = part if len(files) > 1 else None
        with _about(config, place, "data", "features", "tasks", "training"):
            ParquetBlocks(paths, _columns_in_use(config))
        _check_labels(config, paths, place)
    _check_groups(config, files)
    return dict(files)


def is_streamed(part: Part) -> bool:
    """Whether the rows of a part are in files."""
    return isinstance(part, list)


def num_rows(part: Part) -> int:
    """Rows of a part; of files only the footers are read."""
    return ParquetBlocks(part, []).num_rows if isinstance(part, list) else part.num_rows


def blocks_of(part: Part, columns: Sequence[str]) -> Iterator[Block]:
    """The rows of a part in order, with the named columns and, of a table, any others."""
    return ParquetBlocks(part, columns).blocks() if isinstance(part, list) else iter([Block(part, place="")])


def read_data(config: Config) -> dict[str, pa.Table]:
    """The columns in use of the rows for ``train`` and, where the configuration has them, ``valid`` and ``test``.

    Every row is checked before a table is split, so that an error names the row of the user's table.

    Raises:
        InputError: For data that break a rule, and if they are to be streamed.
    """
    with config.blame("data"):
        if config.data.streaming is True:
            raise InputError("`streaming` is true, but a comparison keeps all rows in memory; set it to auto or false.")
        if config.data.cache_dir is not None:
            raise InputError(
                "`cache_dir` is for streamed rows, but a comparison keeps all rows in memory; leave it out."
            )
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


def fit_processor(config: Config, train: Part) -> DataProcessor | None:
    """A processor fitted on the training rows; None for data that are encoded already."""
    columns = build_columns(config)
    if not columns:
        return None
    with config.blame("features", "data"):
        return DataProcessor(columns).fit(train)


def _streamed(config: Config) -> dict[str, list[Path]] | None:
    """The files of each part, or None if the rows are to be read into memory."""
    data = config.data
    if data.streaming is False or data.split is not None or data.synthetic_funnel is not None:
        return None
    files: dict[str, list[Path]] = {}
    for part, paths in _files(config).items():
        found = parquet_files(paths)
        if found is None and data.streaming is True:
            other = next(path for path in paths if parquet_files(path) is None)
            raise InputError(f"`{other}` is no parquet file, so it cannot be streamed; convert it to parquet.")
        if found is None:
            return None
        files[part] = found
    every = [file for paths in files.values() for file in paths]
    features, tasks = FeatureSet(*stand_ins(config).values()), TaskSet(build_tasks(config))
    return files if files_to_stream(every, data.streaming, features, tasks) else None


def _sources(config: Config) -> Mapping[str, TableLike]:
    data = config.data
    if data.synthetic_funnel is not None:
        return {"train": synthetic_funnel(data.synthetic_funnel.rows, data.synthetic_funnel.seed)}
    return _files(config)


def _files(config: Config) -> dict[str, list[str]]:
    """The paths of each part, which are all there."""
    data = config.data
    named = {"train": data.train or data.path, "valid": data.valid, "test": data.test}
    files = {part: paths for part, paths in named.items() if paths is not None}
    for path in (Path(path) for paths in files.values() for path in paths):
        if not path.expanduser().exists():
            script = Path(*path.parts[:2], "prepare.py").as_posix()
            hint = f"run `python {script}` first" if path.parts[0] == "datasets" else "check the path"
            raise InputError(f"There is no file or folder `{path}` (current folder: `{Path.cwd()}`); {hint}.")
    return files


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
    _check_labels(config, table, part)
    columns = build_columns(config)
    with _about(config, part, "features"):
        if columns:
            DataProcessor(columns).check(table)
        else:
            pack(table, FeatureSet(*build_features(config, None).values()))


def _check_labels(config: Config, rows: Part, part: str | None) -> None:
    tasks = TaskSet(build_tasks(config))
    with _about(config, part, "tasks", "data"):
        for block in blocks_of(rows, [task.column for task in tasks]):
            with within(block.place):
                labels = [label_values(block.table[task.column], task) for task in tasks]
                check_children(np.stack(labels, axis=1), tasks)
            for task in tasks:
                check_source(block.table.schema.field(task.column), task, _feature_names(config))


def _check_groups(config: Config, parts: Mapping[str, Part]) -> None:
    group = config.training.group_id
    if group is None or not any(METRICS[name].needs_group for name in config.training.metrics):
        return
    for part in (part for part in EVALUATED if part in parts):
        with _about(config, part, "training", "data"):
            for block in blocks_of(parts[part], [group]):
                with within(block.place):
                    group_of(block.table, group, None)


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
