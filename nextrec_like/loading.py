"""Reading a saved model."""

from collections.abc import Sequence
from pathlib import Path

from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, unknown, warn
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.models import MODELS, Model
from nextrec_like.objectives import OBJECTIVES, Objective, build_objective
from nextrec_like.tasks import Task
from nextrec_like.training.saving import PROCESSOR, read_model_description, read_weights


def load_model(folder: str | Path, *, custom: type | Sequence[type] = ()) -> Model:
    """The model that `Model.save` wrote, ready to predict. To train on, compile it again.

    Args:
        folder: The folder given to `save`; it may have been moved.
        custom: Model and objective classes of your own that the saved model uses.

    Raises:
        InputError: If the folder is not a complete saved model of a known class and format.
    """
    description = read_model_description(folder)
    custom = (custom,) if isinstance(custom, type) else custom
    model_class = _find(description["model"], [*MODELS.values(), *custom], Model)
    objective = _find(description["objective"], [*OBJECTIVES.values(), *custom], Objective)
    try:
        model = model_class(
            [DenseFeature(**feature) for feature in description["dense_features"]],
            [SparseFeature(**feature) for feature in description["sparse_features"]],
            [SequenceFeature(**feature) for feature in description["sequence_features"]],
            target=[Task(**task) for task in description["tasks"]],
            processor=_load_processor(Path(folder), description["processor"]),
            **description["hyperparameters"],
        )
        model.load_state_dict(read_weights(folder))
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"The saved model in '{folder}' is damaged or of another version: {error}.") from error
    model.objective = build_objective(objective, model.tasks, {}, OBJECTIVES)
    if not description["fitted"]:
        warn(f"The model in '{folder}' has not been fitted, so it predicts from the weights that it was saved with.")
    model.is_fitted, model.num_fits = bool(description["fitted"]), int(description["num_fits"])
    return model


def _load_processor(folder: Path, fingerprint: str | None) -> DataProcessor | None:
    if fingerprint is None:
        return None
    path = folder / PROCESSOR
    if not path.is_dir():
        raise InputError(f"'{path}' is missing; the saved model is incomplete.")
    processor = DataProcessor.load(path)
    if processor.fingerprint != fingerprint:
        raise InputError(f"'{path}' is not the processor that the model was saved with.")
    return processor


def _find(name: str, classes: Sequence[type], base: type) -> type:
    known = {kind.__name__: kind for kind in classes if issubclass(kind, base)}
    if name not in known:
        raise InputError(f"{unknown('class in the saved model', name, known)} Pass your own classes as `custom`.")
    return known[name]
