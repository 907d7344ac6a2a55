"""A model folder: model.json, weights.safetensors and the fitted processor."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nextrec_like.data.files import read_description
from nextrec_like.errors import InputError

if TYPE_CHECKING:
    from nextrec_like.training.predictor import Predictor

FORMAT = 1
DESCRIPTION, WEIGHTS, PROCESSOR = "model.json", "weights.safetensors", "processor"


def save_model(model: "Predictor", folder: str | Path) -> None:
    """Writes a model folder; see `Predictor.save`."""
    path = new_folder(folder, "folder").resolve()
    _check_free(path)
    description = _as_json(describe(model))
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    save_file(
        {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}, part / WEIGHTS
    )
    (part / DESCRIPTION).write_text(description, encoding="utf-8")
    if model.processor is not None:
        model.processor.save(part / PROCESSOR)
    shutil.rmtree(path)
    os.replace(part, path)


def _as_json(description: dict[str, Any]) -> str:
    for name, value in description["hyperparameters"].items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise InputError(f"Hyperparameter `{name}` cannot be written as JSON: {error}.") from error
    return json.dumps(description, indent=2, ensure_ascii=False)


def describe(model: "Predictor") -> dict[str, Any]:
    """All that is needed to build the model again, JSON-ready."""
    return {
        "format": FORMAT,
        "model": type(model).__name__,
        "objective": type(model.objective).__name__,
        "fitted": model.is_fitted,
        "num_fits": model.num_fits,
        "processor": model.processor_fingerprint,
        "dense_features": [asdict(feature) for feature in model.features.dense],
        "sparse_features": [asdict(feature) for feature in model.features.sparse],
        "sequence_features": [asdict(feature) for feature in model.features.sequence],
        "tasks": [asdict(task) for task in model.tasks],
        "hyperparameters": model.hyperparameters,
    }


def read_model_description(folder: str | Path) -> dict[str, Any]:
    """The description in a model folder.

    Raises:
        InputError: If the folder, the file or its format is not what `save` writes.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise InputError(f"No saved model in '{folder}': there is no file '{path}'. Pass the folder given to `save`.")
    return read_description(path, FORMAT)


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The weights in a model folder.

    Raises:
        InputError: If the file is missing or damaged.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise InputError(f"'{path}' is missing; the saved model is incomplete.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"'{path}' cannot be read ({error}); the saved model is damaged.") from error


def new_folder(folder: str | Path, parameter: str) -> Path:
    """The folder, made if it does not exist.

    Raises:
        InputError: If it is no path, or cannot be made.
    """
    if not isinstance(folder, (str, Path)):
        raise InputError(f"`{parameter}` should be a path. Received {folder!r}.")
    if Path(folder).is_file():
        raise InputError(f"`{parameter}` '{folder}' is a file; give a folder.")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`{parameter}` '{folder}' cannot be made: {error.strerror}; give another folder.") from error
    return Path(folder)


def _check_free(path: Path) -> None:
    if any(path.iterdir()) and not (path / DESCRIPTION).is_file():
        raise InputError(f"'{path}' holds other files; give a new or empty folder, or one with a saved model.")
