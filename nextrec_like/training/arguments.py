"""Checks and small conversions of what `fit` and `evaluate` are given."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import nn

from nextrec_like.data.arrow import column, first_missing
from nextrec_like.data.checks import warn_of_labels
from nextrec_like.data.packed import PackedData
from nextrec_like.data.processor import DataProcessor, is_encoded
from nextrec_like.errors import InputError, number_in, warn
from nextrec_like.objectives import Objective
from nextrec_like.training.checkpoint import Checkpoint
from nextrec_like.training.compiled import Compiled
from nextrec_like.training.settings import Settings


def group_of(table: pa.Table, group_id: str | None, processor: DataProcessor | None) -> np.ndarray:
    """The group of each row for GAUC as integers, shape ``(N,)``, from the raw column where there is one.

    Raises:
        InputError: If the column is not given, missing, or has a row without a value.
    """
    if group_id is None:
        raise InputError("The metric `gauc` needs the group of each row, usually the user; pass `group_id='user_id'`.")
    if not isinstance(group_id, str):
        raise InputError(f"`group_id` should be the name of a column. Received {group_id!r}.")
    if is_encoded(table) and processor is not None and group_id in [spec.name for spec in processor.columns]:
        message = (
            f"`group_id` column `{group_id}` is encoded, so all unknown values count as one group; pass the raw table."
        )
        warn(message)
    values = column(table, group_id, "group_id")
    if pa.types.is_nested(values.type):
        raise InputError(f"`group_id` column `{group_id}` holds {values.type}; it needs one value per row.")
    row = first_missing(values)
    if row is not None:
        raise InputError(f"`group_id` column `{group_id}` has no value in row {row}; fill it, or drop the row.")
    codes = values.dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    return codes.indices.to_numpy(zero_copy_only=False)


def checkpoint_in(folder: str | Path | None, resume: bool) -> Checkpoint | None:
    """The checkpoints in a folder, which a training that does not resume must not have used before."""
    if folder is None:
        if resume:
            raise InputError("`resume` needs the `checkpoint_dir` of the training to go on with.")
        return None
    checkpoint = Checkpoint(folder)
    if not resume:
        checkpoint.check_unused()
    return checkpoint


def check_validation(settings: Settings, parts: Compiled, has_data: bool, valid_split: float | None) -> None:
    """Raises if validation rows are given twice, or not at all where something follows the validation score."""
    if valid_split is not None:
        number_in("`valid_split`", valid_split, 0, 1, above_low=True)
        if has_data:
            raise InputError("Both `valid_data` and `valid_split` are given; choose one.")
    elif not has_data and (settings.patience is not None or parts.schedule.needs_score):
        what = "`patience`" if settings.patience is not None else "ReduceLROnPlateau"
        raise InputError(f"{what} needs validation data; pass `valid_data` or `valid_split`.")


def check_training_rows(model: nn.Module, rows: PackedData, settings: Settings, objective: Objective) -> None:
    """Warns of tasks that cannot learn from the rows; raises if batch normalisation would see a single row."""
    assert rows.labels is not None
    warn_of_labels(rows.labels, objective.tasks, objective.needs_all_impressions)
    has_norm = any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    if has_norm and min(len(rows), settings.batch_size) == 1:
        raise InputError("Batch normalisation cannot train on one row; raise `batch_size`, or use layer norm.")
