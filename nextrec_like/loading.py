"""Reading a saved model, which anyone may have written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from threading import get_ident

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, unknown, warn, within
from nextrec_like.layers import EmbeddingTable
from nextrec_like.models import MODELS, Model
from nextrec_like.objectives import OBJECTIVES, Objective, build_objective
from nextrec_like.sharded import read_table
from nextrec_like.storage.paths import named_path
from nextrec_like.training.saving import (
    FIX,
    PROCESSOR,
    SHARDS,
    WEIGHTS,
    Description,
    read_model_description,
    read_weights,
)

MAX_TASKS, MAX_COLUMNS = 1_000, 2**20
"""Tasks of a model, and ids of a row: what a description may ask for, and the weights do not tell."""
FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""How a class may fail on hyperparameters that are not its own."""


def load_model(folder: str | Path, *, custom: type | Sequence[type] = ()) -> Model:
    """The model that `Model.save` wrote, ready to predict. To train on, compile it again.

    A folder of someone else is safe to load: nothing in it is run, nothing outside of it is read, and it takes no more
    memory than a few times its size.

    Args:
        folder: The folder given to `save`; it may have been moved.
        custom: Model and objective classes of your own that the saved model uses.

    Raises:
        InputError: If the folder is not a complete saved model of a known class and format.
    """
    folder = named_path("`folder`", folder)
    with within(f"In the saved model '{folder}': "):
        description = read_model_description(folder)
        custom = (custom,) if isinstance(custom, type) else custom
        model_class = _find(description.model, [*MODELS.values(), *custom], Model)
        objective = _find(description.objective, [*OBJECTIVES.values(), *custom], Objective)
        _check_size(description)
        processor = _load_processor(Path(folder), description.processor)
        weights, shards = read_weights(folder), _plain_folder(Path(folder) / SHARDS)
        model = _build(model_class, objective, description, processor, weights, shards)
    if not description.fitted:
        warn(f"The model in '{folder}' has not been fitted, so it predicts from the weights that it was saved with.")
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        warn(f"The model in '{folder}' has weights that are not finite, in `{broken[0]}`; it may predict NaN.")
    model.is_fitted, model.num_fits = description.fitted, description.num_fits
    return model


def _build(
    model_class: type[Model],
    objective: type[Objective],
    description: Description,
    processor: DataProcessor | None,
    weights: dict[str, Tensor],
    shards: Path | None,
) -> Model:
    try:
        with _at_most(weights, shards):
            model = model_class(
                description.dense_features,
                description.sparse_features,
                description.sequence_features,
                target=description.tasks,
                processor=processor,
                **description.hyperparameters,
            )
        _fill_tables(model, shards, weights)
        model.load_state_dict(weights)
        model.objective = build_objective(objective, model.tasks, {}, OBJECTIVES)
    except InputError:
        raise
    except FAILURES as error:
        reason = shorten(str(error), 300, placeholder=" ...")
        raise InputError(f"it is damaged, or of another version of its class ({reason}); {FIX}.") from error
    return model


def _fill_tables(model: Model, shards: Path | None, weights: dict[str, Tensor]) -> None:
    """Reads tables that processes have written in parts, if they fit; otherwise notes where they are."""
    tables = [(name, module) for name, module in model.named_modules() if isinstance(module, EmbeddingTable)]
    for name, table in tables:
        table.saved = shards
        if shards is None and not table.is_whole:
            raise InputError(
                f"an embedding table has {table.num_rows:,} x {table.dim} numbers, too many for the memory here; "
                f"load the model on a larger machine, or, if `{WEIGHTS}` is smaller than that, {FIX}."
            )
        if shards is not None and table.is_whole:
            blocks = [read_table(shards, block, len(rows), table.dim, FIX) for block, rows in table.blocks.items()]
            weights[f"{name}.weight"] = torch.cat(blocks)


@contextmanager
def _at_most(weights: Mapping[str, Tensor], shards: Path | None) -> Iterator[None]:
    """Within the context, layers that need far more than these weights raise before their memory is written to.

    Twice as much is let pass, because a class may replace layers while it is built.

    Raises:
        InputError: Names the weight that is too much.
    """
    in_shards = 0 if shards is None else sum(file.stat().st_size for file in shards.glob("*")) // 4
    numbers, tensors = 2 * (in_shards + sum(value.numel() for value in weights.values())), 2 * len(weights)
    thread = get_ident()  # the hook is called in other threads, too

    def check(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal numbers, tensors
        if get_ident() != thread:
            return
        numbers, tensors = numbers - parameter.numel(), tensors - 1
        if min(numbers, tensors) < 0:
            shape = " x ".join(map(str, parameter.shape))
            raise InputError(
                f"the description asks for more weights than `{WEIGHTS}` has, such as a `{name}` of {shape} numbers; "
                f"one of the two files is damaged or was changed; {FIX}."
            )

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _check_size(description: Description) -> None:
    columns = sum(feature.num_columns for feature in [*description.sparse_features, *description.sequence_features])
    if columns > MAX_COLUMNS:
        raise InputError(f"a row has {columns:,} ids with `max_len` of sequences; at most {MAX_COLUMNS:,} are read.")
    if len(description.tasks) > MAX_TASKS:
        raise InputError(f"there are {len(description.tasks):,} tasks; at most {MAX_TASKS:,} are read.")


def _load_processor(folder: Path, fingerprint: str | None) -> DataProcessor | None:
    if fingerprint is None:
        return None
    path = _plain_folder(folder / PROCESSOR)
    if path is None:
        raise InputError(f"`{folder / PROCESSOR}` is missing; the saved model is incomplete; {FIX}.")
    processor = DataProcessor.load(path)
    if processor.fingerprint != fingerprint:
        raise InputError(f"`{path}` is not the processor that the model was saved with; {FIX}.")
    return processor


def _plain_folder(path: Path) -> Path | None:
    """The folder, if there is one."""
    if not path.is_dir():
        return None
    if path.is_symlink():
        raise InputError(f"`{path}` is a link, which may lead out of the folder; put the folder itself there.")
    return path


def _find(name: str, classes: Sequence[type], base: type) -> type:
    known = {kind.__name__: kind for kind in classes if issubclass(kind, base)}
    if name not in known:
        raise InputError(f"{unknown('class in the saved model', name, known)} Pass your own classes as `custom`.")
    return known[name]
