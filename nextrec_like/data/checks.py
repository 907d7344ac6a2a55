"""The input contract: what columns of a table must hold before they become tensors.

Every function returns the checked values as numpy and raises one sentence that names the feature or task,
the row, the value and the fix.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.data.arrow import decoded, is_list
from nextrec_like.errors import InputError, warn
from nextrec_like.features import DenseFeature, IdFeature
from nextrec_like.tasks import Task, TaskSet

Column: TypeAlias = pa.Array | pa.ChunkedArray


def id_values(values: Column, feature: IdFeature, rows: np.ndarray | None = None) -> np.ndarray:
    """Ids as int64.

    Args:
        values: Integers, or floats without a fraction, shape ``(N,)``.
        feature: Gives the name and the range.
        rows: Row of each value, for the message; by default the position.
    """
    owner = f"Feature `{feature.name}`"
    if not _is_number(values.type):
        raise InputError(
            f"{owner} holds values of type {values.type}, but ids must be integers in [0, {feature.vocab_size}); "
            f"encode the column with an IdColumn or SequenceColumn of a DataProcessor."
        )
    ids = _to_numpy(values)
    fix = "encode the column with a DataProcessor, or correct the value"
    if ids.dtype.kind == "f":
        _refuse(~np.isfinite(ids), ids, rows, owner, "is not an id", fix)
        _refuse(ids != np.floor(ids), ids, rows, owner, "has a fraction, and an id must be an integer", fix)
    outside = f"lies outside [0, {feature.vocab_size})"
    _refuse((ids < 0) | (ids >= feature.vocab_size), ids, rows, owner, outside, f"raise `vocab_size` or {fix}")
    return ids.astype(np.int64, copy=False)


def dense_values(values: Column, feature: DenseFeature) -> np.ndarray:
    """Numbers as float32, shape ``(N * dim,)``."""
    owner, rows = f"Feature `{feature.name}`", None
    if is_list(values.type):
        values, lengths = list_parts(values, feature.name)
        _check_dim(lengths, feature)
        rows = np.repeat(np.arange(len(lengths)), lengths)
    elif feature.dim != 1:
        raise InputError(f"{owner} has dim {feature.dim}, but the column holds one value per row, not a list.")
    if not _is_number(values.type):
        raise InputError(f"{owner} holds values of type {values.type}; a dense feature needs numbers.")
    numbers = _to_numpy(values)
    with np.errstate(over="ignore"):
        result = numbers.astype(np.float32)
    fix = "fill the value, or encode the column with a NumericColumn that has a `fill_value`"
    _refuse(~np.isfinite(result), numbers, rows, owner, "is not a finite float32", fix)
    return result


def label_values(values: Column, task: Task) -> np.ndarray:
    """Labels as float64, NaN where not observed, shape ``(N,)``."""
    owner = f"The label `{task.column}` of task `{task.name}`"
    values = decoded(values)
    if not _is_number(values.type):
        raise InputError(f"{owner} holds values of type {values.type}; a label must be a number, or NaN if unobserved.")
    labels = _to_numpy(values).astype(np.float64)
    fix = "correct the value, or use NaN for a label that was not observed"
    if task.kind == "binary":
        wrong = ~(np.isnan(labels) | (labels == 0) | (labels == 1))
        _refuse(wrong, labels, None, owner, "is neither 0 nor 1", f"{fix}, or set `kind` to `regression`")
    with np.errstate(over="ignore"):
        infinite = np.isinf(labels.astype(np.float32))
    _refuse(infinite, labels, None, owner, "is not a finite float32", fix)
    return labels


def check_source(label: pa.Field, task: Task, feature_names: Sequence[str]) -> None:
    """Raises if the column that a label says it was derived from, in its metadata, is a feature."""
    source = (label.metadata or {}).get(b"derived_from", b"").decode()
    if source in feature_names:
        raise InputError(
            f"Feature `{source}` is the column that the label of task `{task.name}` was derived from, says the table; "
            f"remove it from the features."
        )


def check_children(labels: np.ndarray, tasks: TaskSet) -> None:
    """Raises where a child task happened and its parent did not. Labels: shape ``(N, T)``."""
    position = {name: index for index, name in enumerate(tasks.names)}
    for task in tasks:
        happened = labels[:, position[task.name]] == 1
        for ancestor in tasks.chain(task)[:-1] if task.kind == "binary" else []:
            impossible = happened & (labels[:, position[ancestor.name]] == 0)
            if impossible.any():
                raise InputError(
                    f"Task `{task.name}` has label 1 in row {impossible.argmax()}, where its parent `{ancestor.name}` "
                    f"has label 0; correct one of the labels, or remove `parent` if one can happen without the other."
                )


def warn_of_labels(blocks: Iterable[np.ndarray], tasks: TaskSet, needs_all_impressions: bool) -> None:
    """Warns of tasks that cannot learn, or not from all rows that they could.

    Args:
        blocks: Training labels in order, NaN where not observed, shape ``(n, T)`` each.
        tasks: The tasks.
        needs_all_impressions: Whether a child task learns from rows where its parent did not happen.
    """
    position = {name: index for index, name in enumerate(tasks.names)}
    low, high, unlearned = np.full(len(tasks), np.inf), np.full(len(tasks), -np.inf), np.zeros(len(tasks), bool)
    for labels in blocks:
        low, high = np.fmin(low, np.fmin.reduce(labels)), np.fmax(high, np.fmax.reduce(labels))
        for index, task in enumerate(tasks):
            if task.parent is not None:
                unlearned[index] |= np.isnan(labels[labels[:, position[task.parent]] == 0, index]).any()
    for task, least, most, is_unlearned in zip(tasks, low, high, unlearned):
        if least > most:
            warn(f"Task `{task.name}` has no observed label in the training rows, so it will not be trained.")
        elif task.kind == "binary" and least == most:
            warn(f"Task `{task.name}` has only the label {least:g} in the training rows, so there is no AUC.")
        if needs_all_impressions and task.kind == "binary" and is_unlearned:
            warn(
                f"Task `{task.name}` is NaN, that is not observed, in rows where its parent `{task.parent}` is 0, so "
                f"it is not learned there; if it cannot happen there, fill it with 0."
            )


def list_parts(values: Column, name: str) -> tuple[pa.Array, np.ndarray]:
    """The elements of a list column one after the other, and the length of each row's list, int64."""
    if pa.types.is_null(values.type):
        return pa.array([], pa.int64()), np.zeros(len(values), dtype=np.int64)
    if not is_list(values.type):
        raise InputError(
            f"Feature `{name}` holds values of type {values.type}, but needs a list per row; split delimited strings "
            f"with a SequenceColumn of a DataProcessor."
        )
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    lengths = _to_numpy(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
    return pc.list_flatten(array), lengths


def _check_dim(lengths: np.ndarray, feature: DenseFeature) -> None:
    wrong = lengths != feature.dim
    if wrong.any():
        row = wrong.argmax()
        raise InputError(
            f"Feature `{feature.name}` has dim {feature.dim}, but row {row} holds a list of {lengths[row]} values."
        )


def _refuse(
    wrong: np.ndarray, values: np.ndarray, rows: Sequence[int] | np.ndarray | None, owner: str, rule: str, fix: str
) -> None:
    if wrong.any():
        index = int(wrong.argmax())
        row = index if rows is None else int(rows[index])
        count = int(wrong.sum())
        more = f" ({count:,} such values)" if count > 1 else ""
        raise InputError(f"{owner} has value {values[index]} in row {row}, which {rule}{more}; {fix}.")


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)


def _to_numpy(values: Column) -> np.ndarray:
    """Numbers as numpy; a column with nulls becomes float64 with NaN."""
    if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.float32())
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)
