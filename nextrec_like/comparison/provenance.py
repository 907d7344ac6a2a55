"""How a comparison was made, so that someone else can make it again."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

import nextrec_like
from nextrec_like.comparison.running.runner import Runner
from nextrec_like.comparison.selection import Selection
from nextrec_like.config import Config, build_tasks
from nextrec_like.data.checks import label_values
from nextrec_like.runs import PACKAGES
from nextrec_like.training.device import resolve_device

SELECTION = (
    "Epochs, settings and fixed weights were chosen by the monitored score on the validation rows. The test rows were "
    "read once by each trained model, and no choice depends on them."
)


def provenance(config: Config, tables: Mapping[str, pa.Table], runner: Runner) -> dict[str, Any]:
    """Facts for the report, under the headings that it shows: texts, numbers, and mappings of these."""
    selection = Selection(config, runner)
    return {
        "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        "versions": {
            "nextrec_like": nextrec_like.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "machine": {
            "platform": platform.platform(),
            "device": str(resolve_device(config.training.device)),
            "processors": os.cpu_count(),
            "processes": runner.pool.jobs,
            "threads per process": runner.pool.threads,
            **({"processes per training": together} if (together := runner.pool.processes.size) > 1 else {}),
        },
        "data": {"fingerprint": runner.fingerprint, **sources(config)},
        "parts": {part: part_facts(config, table) for part, table in tables.items()},
        "split": config.data.split.model_dump() if config.data.split else "given by the files",
        "seeds": config.training.all_seeds,
        "selection": {
            "rule": SELECTION,
            "score": str(config.training.monitor or f"mean over the tasks of {config.training.metrics[0]}"),
            "seeds of the search": selection.seeds,
            "sampler of fixed weights": selection.sampler_name() if config.comparison.tuned_fixed else "none",
        },
    }


def sources(config: Config) -> dict[str, Any]:
    """Where the rows come from."""
    return {key: value for key, value in config.data.model_dump().items() if value is not None and key != "split"}


def part_facts(config: Config, table: pa.Table) -> dict[str, Any]:
    """Rows of a part, and the mean label of each task over its observed rows."""
    facts: dict[str, Any] = {"rows": table.num_rows}
    for task in build_tasks(config):
        labels = label_values(table[task.column], task)
        observed = labels[~np.isnan(labels)]
        facts[f"mean label of {task.name}"] = float(observed.mean()) if len(observed) else None
    return facts
