"""Checks and small conversions of what `fit` and `evaluate` are given."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from nextrec_like.data.checks import warn_of_labels
from nextrec_like.data.packed import PackedData
from nextrec_like.data.processor import DataProcessor, is_encoded
from nextrec_like.data.splits import split_random
from nextrec_like.data.tables import column, read_table
from nextrec_like.errors import InputError, InputWarning, number_in
from nextrec_like.tasks import TaskSet
from nextrec_like.training.checkpoint import Checkpoint
from nextrec_like.training.compiled import Compiled
from nextrec_like.training.settings import Settings

Data = Any
"""A DataFrame, dict of arrays, pyarrow table, CSV or parquet file, folder, or list of files."""


def group_of(table: pa.Table, group_id: str | None, processor: DataProcessor | None) -> np.ndarray:
    """The group of each row for GAUC as integers, shape ``(N,)``, from the raw column where there is one.

    Raises:
        InputError: If the column is not given, missing, or has a row without a value.
    """
    if group_id is None:
        raise InputError("The metric `gauc` needs the group of each row, usually the user; pass `group_id='user_id'`.")
    if is_encoded(table) and processor is not None and group_id in [spec.name for spec in processor.columns]:
        message = (
            f"`group_id` column `{group_id}` is encoded, so all unknown values count as one group; pass the raw table."
        )
        warnings.warn(message, InputWarning, stacklevel=4)
    codes = column(table, group_id, "group_id").dictionary_encode(null_encoding="mask")
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    if codes.null_count:
        row = codes.is_null().to_numpy(zero_copy_only=False).argmax()
        raise InputError(f"`group_id` column `{group_id}` has no value in row {row}; fill it, or drop the row.")
    return codes.indices.to_numpy(zero_copy_only=False)


def with_split(train: Data, valid_data: Data | None, valid_split: float | None, seed: int) -> tuple[Data, Data | None]:
    """Training and validation rows, the latter drawn from the former if a share is given."""
    if valid_split is None:
        return train, valid_data
    if valid_data is not None:
        raise InputError("Both `valid_data` and `valid_split` are given; choose one.")
    valid_split = number_in("`valid_split`", valid_split, 0, 1, above_low=True)
    first, second = split_random(read_table(train), (1 - valid_split, valid_split), seed=seed)
    return first, second


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


def check_validation(settings: Settings, parts: Compiled, has_valid: bool) -> None:
    """Raises if something follows the validation score and there are no validation rows."""
    if not has_valid and (settings.patience is not None or parts.schedule.needs_score):
        what = "`patience`" if settings.patience is not None else "ReduceLROnPlateau"
        raise InputError(f"{what} needs validation data; pass `valid_data` or `valid_split`.")


def check_training_rows(model: nn.Module, rows: PackedData, settings: Settings, tasks: TaskSet) -> None:
    """Warns of tasks that cannot learn from the rows; raises if batch normalisation would see a single row."""
    assert rows.rows.labels is not None
    warn_of_labels(rows.rows.labels.numpy(), tasks)
    has_norm = any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    if has_norm and min(len(rows), settings.batch_size) == 1:
        raise InputError("Batch normalisation cannot train on one row; raise `batch_size`, or use layer norm.")
