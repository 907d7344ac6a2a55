"""A model folder: model.json, weights.safetensors and the fitted processor."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nextrec_like.errors import InputError
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.storage.atomic import rename, whole_folder, writing
from nextrec_like.storage.paths import named_path
from nextrec_like.storage.reading import inside, read_description
from nextrec_like.storage.records import build
from nextrec_like.storage.tensors import write_tensors
from nextrec_like.tasks import Task

if TYPE_CHECKING:
    from nextrec_like.training.predictor import Predictor

FORMAT = 1
DESCRIPTION, WEIGHTS, PROCESSOR, SHARDS = "model.json", "weights.safetensors", "processor", "shards"
FIX = "save the model again"


@dataclass(frozen=True)
class Description:
    """The content of ``model.json``, as `describe` gives it.

    Attributes:
        format: `FORMAT`.
        model: Name of its class.
        objective: Name of its class.
        fitted: Whether it was trained.
        num_fits: How often.
        processor: Fingerprint of the processor; None without one.
        dense_features: Of the model, as are the following.
        sparse_features: In order.
        sequence_features: In order.
        tasks: In order.
        hyperparameters: The other arguments of the class.
    """

    format: int
    model: str
    objective: str
    fitted: bool
    num_fits: int
    processor: str | None
    dense_features: list[DenseFeature]
    sparse_features: list[SparseFeature]
    sequence_features: list[SequenceFeature]
    tasks: list[Task]
    hyperparameters: dict[str, Any]


def save_model(model: "Predictor", folder: str | Path, shards: Path | None = None) -> None:
    """Writes a model folder; see `Predictor.save`.

    Args:
        model: The model.
        folder: The folder.
        shards: Folder with what processes have written of sharded tables; it becomes part of the other.
    """
    path = new_folder(folder, "folder").resolve()
    _check_free(path)
    description = _as_json(describe(model))
    weights = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}
    with writing("The model", path), whole_folder(path) as part:
        write_tensors(part / WEIGHTS, weights)
        (part / DESCRIPTION).write_text(description, encoding="utf-8")
        if shards is not None:
            rename(shards, part / SHARDS)
        if model.processor is not None:
            model.processor.save(part / PROCESSOR)


def _as_json(description: dict[str, Any]) -> str:
    for name, value in description["hyperparameters"].items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
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


def read_model_description(folder: str | Path) -> Description:
    """The description in a model folder.

    Raises:
        InputError: If the folder, the file or its format is not what `save` writes.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise InputError(f"No saved model in '{folder}': there is no file '{path}'. Pass the folder given to `save`.")
    return build(Description, read_description(Path(folder), DESCRIPTION, FORMAT, FIX), f"the model in '{folder}'")


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The weights in a model folder, which take as much memory as the file has bytes.

    Raises:
        InputError: If the file is missing or damaged, or leads out of the folder.
    """
    path = inside(Path(folder), WEIGHTS, f"the saved model is incomplete; {FIX}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, MemoryError, KeyError) as error:  # KeyError: a type that torch does not have
        raise InputError(f"File `{path}` could not be read: {error}; the saved model is damaged; {FIX}.") from error


def new_folder(folder: str | Path, parameter: str) -> Path:
    """The folder, made if it does not exist.

    Raises:
        InputError: If it is no path, or cannot be made.
    """
    path = named_path(f"`{parameter}`", folder)
    if path.is_file():
        raise InputError(f"`{parameter}` '{folder}' is a file; give a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`{parameter}` '{folder}' cannot be made: {error.strerror}; give another folder.") from error
    return path


def _check_free(path: Path) -> None:
    names = {each.name for each in path.iterdir()}
    others = sorted(names - {DESCRIPTION, WEIGHTS, PROCESSOR, SHARDS})
    if others or (names and DESCRIPTION not in names):
        raise InputError(
            f"'{path}' holds other files (`{(others or sorted(names))[0]}`); give a new or empty folder, or one with "
            f"nothing but a saved model."
        )
