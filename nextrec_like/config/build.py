"""Objects of the library from a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

from nextrec_like.config.schema import Config, EncodedFeatures
from nextrec_like.config.section import Section
from nextrec_like.data.columns import Column, IdColumn, NumericColumn, SequenceColumn, checked_columns
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, did_you_mean, unknown
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.metrics import METRICS, check_metrics
from nextrec_like.models import MODELS, Model
from nextrec_like.tasks import Task
from nextrec_like.training.device import resolve_device
from nextrec_like.training.monitor import Monitor

COMPILE_KEYS = (
    "optimizer",
    "optimizer_params",
    "embedding_optimizer",
    "embedding_optimizer_params",
    "loss",
    "scheduler",
    "scheduler_params",
    "scheduler_interval",
    "warmup_steps",
    "clip_norm",
    "precision",
    "accumulate_steps",
    "jit",
    "sharding",
)
FIT_KEYS = (
    "epochs",
    "batch_size",
    "shuffle",
    "metrics",
    "group_id",
    "monitor",
    "patience",
    "min_delta",
    "restore_best",
    "device",
    "device_data",
    "log_every",
    "diagnose",
    "max_skipped_steps",
)
NOT_OPTIONS = ("self", "dense_features", "sparse_features", "sequence_features", "target", "task", "processor")


def build_columns(config: Config) -> list[Column]:
    """What the processor does with which column; empty for data that are encoded already."""
    if isinstance(config.features, EncodedFeatures):
        return []
    with config.blame("features"):
        return [
            kind(**_fields(entry))
            for kind, entries in _by_kind(config, NumericColumn, IdColumn, SequenceColumn)
            for entry in entries
        ]


def build_features(config: Config, processor: DataProcessor | None) -> dict[str, list[Any]]:
    """The features as the keyword arguments of a model: those of the fitted processor, or those of the file."""
    if processor is not None:
        return processor.features()
    words = ("dense_features", "sparse_features", "sequence_features")
    with config.blame("features"):
        kinds = _by_kind(config, DenseFeature, SparseFeature, SequenceFeature)
        return {word: [kind(**_fields(entry)) for entry in entries] for word, (kind, entries) in zip(words, kinds)}


def stand_ins(config: Config) -> dict[str, list[Any]]:
    """Features as wide as those of `build_features`, while no processor knows their vocabularies."""
    columns = build_columns(config)
    if not columns:
        return build_features(config, None)
    numbers = [each.name for each in columns if isinstance(each, NumericColumn) and each.scaling != "quantile"]
    ids = {each.name: getattr(each, "max_len", 1) for each in columns if each.name not in numbers}
    return {
        "dense_features": [DenseFeature(name) for name in numbers],
        "sparse_features": [],
        "sequence_features": [SequenceFeature(name, vocab_size=2, max_len=length) for name, length in ids.items()],
    }


def build_tasks(config: Config) -> list[Task]:
    """The tasks."""
    with config.blame("tasks"):
        return [Task(**_fields(entry)) for entry in config.tasks]


def build_model(config: Config, features: Mapping[str, list[Any]], processor: DataProcessor | None = None) -> Model:
    """The model, compiled.

    Raises:
        InputError: For an unknown model, option, method, loss or optimizer, or a value out of range.
    """
    tasks = build_tasks(config)
    with config.blame("features", "tasks", "model"):
        model = _model_class(config)(**features, target=tasks, processor=processor, **config.model.options)
    with config.blame("weighting", "objective", "training", "tasks"):
        chosen = {key: getattr(config.training, key) for key in COMPILE_KEYS}
        model.compile(**chosen, objective=config.objective, loss_weights=config.weighting)
    return model


def fit_arguments(config: Config) -> dict[str, Any]:
    """The keyword arguments of `fit`, other than data, seed and callbacks."""
    return {key: getattr(config.training, key) for key in FIT_KEYS}


def checkpoint_arguments(config: Config, folder: Path, resume: bool | Sequence[str]) -> dict[str, Any]:
    """The keyword arguments of `fit` about checkpoints.

    Args:
        config: The configuration.
        folder: Where they are kept, if the configuration has any.
        resume: Whether to go on from them.

    Raises:
        InputError: If it is to go on without any.
    """
    if config.checkpoints is False:
        if resume:
            raise InputError("`checkpoints` is false, so there is nothing to go on from; train anew.")
        return {}
    return {"checkpoint_dir": folder, "checkpoint_params": config.checkpoints.model_dump(), "resume": resume}


def rehearse(config: Config) -> Model:
    """Builds everything that needs no data, so that no mistake is found only after an hour of reading it.

    Returns:
        The model with stand-ins for its features.

    Raises:
        InputError: For anything that the model, `compile` or `fit` would refuse.
    """
    columns = build_columns(config)
    with config.blame("features"):
        if columns:
            checked_columns(columns)
    model = build_model(config, stand_ins(config))
    training = config.training
    with config.blame("training"):
        metrics = check_metrics(training.metrics)
        Monitor.of(training.monitor, metrics, model.tasks)
        resolve_device(training.device)
        _check_group(training.group_id, metrics)
        _check_valid(config)
    return model


def resolve(config: Config) -> dict[str, Any]:
    """The configuration with all defaults filled in, as plain data."""
    content, model = config.model_dump(), rehearse(config)
    content["data"] = {key: value for key, value in content["data"].items() if value is not None}
    content["tasks"] = [asdict(task) for task in model.tasks]
    content["model"] = {"name": config.model.name, **model.hyperparameters}
    content["objective"] = config.objective or model.default_objective
    content["weighting"] = "equal" if config.weighting is None else config.weighting
    content["training"]["seeds"] = config.training.all_seeds
    return content


def _model_class(config: Config) -> type[Model]:
    name = config.model.name
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    known = [key for key in signature(MODELS[name].__init__).parameters if key not in NOT_OPTIONS]
    for key in config.model.options:
        if key not in known:
            renamed = config.place("model", "name").startswith("--set model.name=")
            hint = f" To change the model, replace its options too: --set 'model={{name: {name}}}'." if renamed else ""
            raise InputError(
                f"unknown key `{key}` in `model`.{did_you_mean(key, known)} Known for {name}: {', '.join(known)}.{hint}"
            )
    return MODELS[name]


def _by_kind(config: Config, *kinds: type) -> list[tuple[type, Sequence[Section]]]:
    features = config.features
    return list(zip(kinds, (features.dense, features.sparse, features.sequence)))


def _fields(entry: Section) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in type(entry).model_fields}


def _check_group(group_id: str | None, metrics: Sequence[str]) -> None:
    needing = [name for name in metrics if METRICS[name].needs_group]
    if needing and group_id is None:
        raise InputError(
            f"The metric `{needing[0]}` needs the group of each row; set `group_id` to a column, usually the user."
        )


def _check_valid(config: Config) -> None:
    data = config.data
    if data.valid is None and data.split is None:
        if config.training.patience is not None:
            raise InputError("`patience` needs validation rows; give `data` the key `valid` or `split`.")
        if config.training.scheduler == "ReduceLROnPlateau":
            raise InputError("`ReduceLROnPlateau` needs validation rows; give `data` the key `valid` or `split`.")
