"""What the test rows of a comparison are judged by, and where that is kept."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from nextrec_like.comparison.store import Store
from nextrec_like.config import Config, build_tasks
from nextrec_like.data.checks import label_values
from nextrec_like.data.groups import group_of
from nextrec_like.errors import InputError
from nextrec_like.tasks import TaskSet


def check_parts(config: Config, tables: Mapping[str, pa.Table]) -> None:
    """Raises unless there are rows to choose on and rows to judge on."""
    missing = [part for part in ("valid", "test") if part not in tables]
    if missing:
        raise InputError(
            f"{config.place('data')}: a comparison chooses on validation rows and judges on test rows, and `data` has "
            f"no `{missing[0]}`; give `split` three `fractions`, or give `data` the keys `valid` and `test`."
        )


def open_store(config: Config, tables: Mapping[str, pa.Table], fingerprint: str) -> Store:
    """The folder of the comparison, with the labels and groups of its test rows.

    Raises:
        InputError: If it cannot be made or written.
    """
    path = Path(config.output).expanduser() / f"{config.name}-compare"
    store = Store(path, fingerprint)
    labels = {name: values for name, (_, _, values) in judged(config, tables["test"]).items()}
    group_id = config.training.group_id
    groups = None if group_id is None else group_of(tables["test"], group_id, None)
    try:
        store.runs.mkdir(parents=True, exist_ok=True)
        store.write_rows(labels, groups)
    except OSError as error:
        raise InputError(f"The folder `{path}` cannot be written: {error.strerror or error}.") from error
    return store


def judged(config: Config, table: pa.Table) -> dict[str, tuple[str, str, np.ndarray]]:
    """By output its task, the kind of the task, and the labels, NaN where it is not judged, shape ``(N,)``."""
    tasks = TaskSet(build_tasks(config))
    labels = {task.name: label_values(table[task.column], task) for task in tasks}
    found: dict[str, tuple[str, str, np.ndarray]] = {}
    for task in tasks:
        found[task.name] = (task.name, task.kind, labels[task.name])
        if task.parent is not None:
            clicked = np.where(labels[task.parent] == 1, labels[task.name], np.nan)
            found[tasks.conditional_name(task)] = (task.name, task.kind, clicked)
    return found
