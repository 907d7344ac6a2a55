"""From a configuration to a run folder: data, processor, model, training, metrics."""

import platform
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

import nextrec_like
from nextrec_like.config import (
    Config,
    build_features,
    build_model,
    build_tasks,
    dump,
    fit_arguments,
    fit_processor,
    load_config,
    open_data,
    resolve,
)
from nextrec_like.config.data import Part, blocks_of, is_streamed, num_rows
from nextrec_like.data.checks import label_values
from nextrec_like.errors import InputError
from nextrec_like.metrics import TaskMetrics
from nextrec_like.models import Model
from nextrec_like.output import write_json
from nextrec_like.tasks import Task
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.device import resolve_device
from nextrec_like.training.history import History
from nextrec_like.training.progress import format_table, metrics_table
from nextrec_like.training.saving import DESCRIPTION
from nextrec_like.training.trainer import Trainer

CONFIG, HISTORY, METRICS, VERSIONS = "config.yaml", "history.jsonl", "metrics.json", "versions.json"
STEPS = "steps.parquet"
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "pydantic", "PyYAML", "safetensors")

Echo: TypeAlias = Callable[[str], None]
Result: TypeAlias = dict[str, dict[str, TaskMetrics]]
"""Metrics by part (``valid``, ``test``) and task."""


def train(config: Config, *, echo: Echo | None = None) -> Path:
    """Trains one model per seed and evaluates each on the validation and test rows.

    Args:
        config: What to train, on what.
        echo: Called with each message; None is silent.

    Returns:
        A new run folder with the resolved configuration, package versions, history, metrics and models.

    Raises:
        InputError: For a configuration or data that break a rule.
        KeyboardInterrupt: If interrupted; it names the run folder, unless no epoch had ended.
    """
    say: Echo = echo or (lambda text: None)
    parts = open_data(config)
    processor = fit_processor(config, parts["train"])
    features = build_features(config, processor)
    say(describe_data(config, parts))
    seeds = config.training.all_seeds
    results: dict[int, Result] = {}
    histories: dict[int, History] = {}
    with new_run(config) as folder:
        for seed in seeds:
            model = build_model(config, features, processor)
            if not results:
                say(describe_model(config, model))
            if len(seeds) > 1:
                say(f"\nseed {seed}")
            writer = HistoryWriter(folder, seed, histories)
            results[seed] = train_seed(config, model, parts, writer, verbose=echo is not None)
            model.save(folder / model_folder(seed, seeds))
        write_json(folder / METRICS, {**summarize(results), "conflict_share": conflict_share(histories)})
    say(f"\n{describe_results(results)}\n{folder}")
    return folder


def train_seed(
    config: Config, model: Model, parts: Mapping[str, Part], writer: "HistoryWriter", verbose: bool
) -> Result:
    """Trains a model, writing each epoch to the history of the run, and evaluates it."""
    training, streaming = config.training, is_streamed(parts["train"])
    with config.blame("training", "tasks", "features", "data"):
        model.fit(
            parts["train"],
            parts.get("valid"),
            **fit_arguments(config),
            streaming=streaming,
            cache_dir=config.data.cache_dir if streaming else None,
            seed=writer.seed,
            callbacks=[writer],
            verbose=int(verbose),
        )
        return {
            part: model.evaluate(
                parts[part],
                metrics=training.metrics,
                group_id=training.group_id,
                device=training.device,
                streaming=streaming,
            )
            for part in ("valid", "test")
            if part in parts
        }


class HistoryWriter(Callback):
    """Writes the history at the end of each epoch, so that an interrupted run keeps it.

    Args:
        folder: The run folder.
        seed: Seed of the training, noted in each line.
        histories: By seed; the one of this training is added.
    """

    def __init__(self, folder: Path, seed: int, histories: dict[int, History]) -> None:
        self.folder, self.seed, self.histories = folder, seed, histories

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Appends the last epoch as a JSON line, and writes the logged steps of all seeds."""
        self.histories[self.seed] = trainer.history
        trainer.history.epochs[-1].append_to(self.folder / HISTORY, {"seed": self.seed})
        save_steps(self.folder / STEPS, self.histories)


def save_steps(file: Path, histories: Mapping[int, History]) -> None:
    """Writes the logged steps of all seeds as one table: `History.steps_frame` with a column for the seed."""
    frames = [history.steps_frame().assign(seed=seed) for seed, history in histories.items()]
    pd.concat(frames, ignore_index=True).to_parquet(file, index=False)


@contextmanager
def new_run(config: Config) -> Iterator[Path]:
    """A new run folder, which no other run has or gets; it goes again if no epoch comes to its end."""
    folder = _new_folder(Path(config.output).expanduser(), config.name)
    try:
        describe_run(config, folder)
        yield folder
    except BaseException as error:
        if not (folder / HISTORY).exists():
            shutil.rmtree(folder, ignore_errors=True)
        elif isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"history so far in {folder}") from error
        raise


def model_folder(seed: int, seeds: Sequence[int]) -> str:
    """Name of the model folder of a seed within a run folder."""
    return "model" if len(seeds) == 1 else f"model_seed_{seed}"


def saved_models(folder: str | Path) -> dict[int | None, Path]:
    """The model folders in a run folder by seed; for a model folder itself, that one under None.

    Raises:
        InputError: If the folder is neither, or its run did not come to an end.
    """
    path = Path(folder)
    if (path / DESCRIPTION).is_file():
        return {None: path}
    seeds = open_run(path).training.all_seeds
    models: dict[int | None, Path] = {seed: path / model_folder(seed, seeds) for seed in seeds}
    for seed, model in models.items():
        if not (model / DESCRIPTION).is_file():
            raise InputError(f"The run `{path}` has no model of seed {seed}: its training did not end; train it again.")
    return models


def open_run(folder: str | Path) -> Config:
    """The configuration of a run; its device, which may not exist here, is left open.

    Raises:
        InputError: If the folder is not a run folder.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise InputError(f"`{folder}` is neither a run folder (with {CONFIG}) nor a model folder (with {DESCRIPTION}).")
    return load_config(file, ["training.device=auto"])


def summarize(results: Mapping[Any, Result]) -> dict[str, Any]:
    """Content of ``metrics.json``: means over seeds of each part, seeds, reasons of missing values, error bounds."""
    parts = next(iter(results.values()))
    means: dict[str, Any] = {"valid": {}, "test": {}}
    for part in parts:
        means[part] = _over_seeds([result[part] for result in results.values()], _mean)
    return {
        **means,
        "seeds": {str(seed): result for seed, result in results.items()},
        "reasons": {part: _reasons([result[part] for result in results.values()]) for part in parts},
        "error_bounds": {part: _error_bounds([result[part] for result in results.values()]) for part in parts},
    }


def conflict_share(histories: Mapping[int, History]) -> dict[str, dict[str, float]]:
    """By seed, for each pair of tasks, the share of the probed steps in which their gradients were in conflict."""
    return {
        str(seed): {" and ".join(pair): share for pair, share in history.conflict_share().items()}
        for seed, history in histories.items()
    }


def describe_run(config: Config, folder: Path) -> None:
    """Writes the resolved configuration and the versions into a run folder."""
    (folder / CONFIG).write_text(dump(resolve(config)), encoding="utf-8")
    versions = {name: version(name) for name in PACKAGES}
    write_json(
        folder / VERSIONS,
        {
            "nextrec_like": nextrec_like.__version__,
            "python": platform.python_version(),
            **versions,
            "platform": platform.platform(),
            "device": str(resolve_device(config.training.device)),
            "command": shlex.join(sys.argv),
        },
    )


def describe_data(config: Config, parts: Mapping[str, Part]) -> str:
    """Rows of each part, and how often each task happens in the training rows."""
    rows = {part: num_rows(source) for part, source in parts.items()}
    lines = [f"{config.name}   rows: {', '.join(f'{part} {count:,}' for part, count in rows.items())}"]
    tasks = build_tasks(config)
    with config.blame("tasks", "data"):
        counts, totals = _label_totals(parts["train"], tasks)
    for task, count, total in zip(tasks, counts, totals):
        mean = total / max(count, 1)
        shown = f"{mean:.2%} positive" if task.kind == "binary" else f"mean {mean:.4g}"
        missing = f", {rows['train'] - count:,} not observed" if count < rows["train"] else ""
        lines.append(f"  {task.name}: {shown if count else 'no label'}{missing}")
    return "\n".join(lines)


def describe_model(config: Config, model: Model) -> str:
    """Name, size and device."""
    size = sum(parameter.numel() for parameter in model.parameters())
    dense = sum(parameter.numel() for parameter in model.dense_parameters())
    device = resolve_device(config.training.device)
    return f"{config.model.name}: {size:,} parameters, {dense:,} outside embedding tables; {device}"


def describe_results(results: Mapping[Any, Result]) -> str:
    """A table of the last part, the test rows if there are any: the values, or mean and deviation over seeds."""
    parts = list(next(iter(results.values())))
    if not parts:
        return "no validation or test rows, so no metrics"
    part, by_seed = parts[-1], [result[parts[-1]] for result in results.values()]
    if len(by_seed) == 1:
        title, table = part, metrics_table(by_seed[0])
    else:
        title = f"{part}, mean and standard deviation of {len(by_seed)} seeds"
        cells = _over_seeds(by_seed, _mean_and_deviation)
        names = list(dict.fromkeys(name for values in cells.values() for name in values))
        rows = [[task, *(values.get(name, "") for name in names)] for task, values in cells.items()]
        table = format_table(["task", *names], rows)
    notes = [f"  {task} {name}: {why}" for task, whys in _reasons(by_seed).items() for name, why in whys.items()]
    notes += [
        f"  {task} {name}: within about {bound:.2g} of the exact value"
        for task, bounds in _error_bounds(by_seed).items()
        for name, bound in bounds.items()
    ]
    return "\n".join([title, table, *notes])


def _label_totals(rows: Part, tasks: Sequence[Task]) -> tuple[list[int], list[float]]:
    """By task the number of observed labels and their sum, from one pass over the labels."""
    count, total = np.zeros(len(tasks), np.int64), np.zeros(len(tasks))
    for block in blocks_of(rows, [task.column for task in tasks]):
        labels = np.stack([label_values(block.table[task.column], task) for task in tasks])  # (T, n)
        count += (~np.isnan(labels)).sum(axis=1)
        total += np.nansum(labels, axis=1)
    return count.tolist(), total.tolist()


def _new_folder(output: Path, name: str) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
        used = [re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in output.iterdir()]
        number = max((int(match[1]) for match in used if match), default=0)
        while True:
            number += 1
            try:
                folder = output / f"{name}-{number:03d}"
                folder.mkdir()
                return folder
            except FileExistsError:  # another run has just taken this number
                continue
    except OSError as error:
        raise InputError(f"No run folder can be made in `output`, `{output}`: {error.strerror}.") from error


def _over_seeds(by_seed: Sequence[Mapping[str, TaskMetrics]], reduce: Callable[[list[Any]], Any]) -> dict[str, Any]:
    return {
        task: {metric: reduce([result[task][metric] for result in by_seed]) for metric in values}
        for task, values in by_seed[0].items()
    }


def _mean(values: list[Any]) -> float | int | None:
    if any(value is None for value in values):
        return None
    return values[0] if len(set(values)) == 1 else fmean(values)


def _mean_and_deviation(values: list[Any]) -> str:
    if any(value is None for value in values):
        return "-"
    if all(isinstance(value, int) for value in values):
        return f"{fmean(values):,.0f}"
    return f"{fmean(values):.5f} ± {stdev(values):.5f}"


def _reasons(by_seed: Sequence[Mapping[str, TaskMetrics]]) -> dict[str, dict[str, str]]:
    return {
        task: reasons
        for task in by_seed[0]
        if (reasons := {name: why for result in by_seed for name, why in result[task].reasons.items()})
    }


def _error_bounds(by_seed: Sequence[Mapping[str, TaskMetrics]]) -> dict[str, dict[str, float]]:
    """The largest bound of any seed, of the metrics that are not exact."""
    return {
        task: {name: max(result[task].error_bounds.get(name, 0.0) for result in by_seed) for name in names}
        for task in by_seed[0]
        if (names := list(dict.fromkeys(name for result in by_seed for name in result[task].error_bounds)))
    }
