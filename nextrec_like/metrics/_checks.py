"""Checks shared by all metrics: they turn array-likes into float64 columns or name the first row that is wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nextrec_like.errors import InputError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class UndefinedMetricError(InputError):
    """The input is valid, but the metric has no value on it, such as the AUC of a single class."""


def as_columns(values: Mapping[str, npt.ArrayLike]) -> list[FloatArray]:
    """The values as float64 columns of one length, called in errors by their names."""
    columns = {name: _as_column(name, value) for name, value in values.items()}
    check_lengths(columns)
    return list(columns.values())


def check_lengths(columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raises unless all columns have one dimension and one length."""
    for name, column in columns.items():
        if column.ndim != 1:
            raise InputError(f"`{name}` must have shape (N,), not {column.shape}; pass the rows of one task.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        raise InputError(f"All columns must have the same number of rows: {listed}.")


def binary_and_score(label: npt.ArrayLike, score: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Labels as booleans, and finite scores."""
    labels, scores = as_columns({"label": label, "score": score})
    check_not_empty(labels)
    check_binary(labels)
    check_finite("score", scores)
    return labels == 1, scores


def binary_and_probability(label: npt.ArrayLike, probability: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Labels as booleans, and probabilities in [0, 1]."""
    labels, probabilities = as_columns({"label": label, "probability": probability})
    check_not_empty(labels)
    check_binary(labels)
    check_probability(probabilities)
    return labels == 1, probabilities


def value_and_prediction(label: npt.ArrayLike, prediction: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Finite labels of any size, and finite predictions."""
    labels, predictions = as_columns({"label": label, "prediction": prediction})
    check_not_empty(labels)
    check_value(labels)
    check_finite("prediction", predictions)
    return labels, predictions


def check_not_empty(column: npt.NDArray[Any]) -> None:
    if len(column) == 0:
        raise InputError("A metric needs at least one row; the columns are empty.")


def check_binary(label: FloatArray, first_row: int = 0) -> None:
    """Raises unless every label is 0 or 1; `first_row`, here and below, is the number of the first row in errors."""
    _check_observed(label, first_row)
    _check_rows("label", label, (label == 0) | (label == 1), "the label of a binary task must be 0 or 1", first_row)


def check_value(label: FloatArray, first_row: int = 0) -> None:
    _check_observed(label, first_row)
    rule = "a label must be finite; correct the row or remove its label"
    _check_rows("label", label, np.isfinite(label), rule, first_row)


def check_finite(name: str, column: FloatArray, first_row: int = 0) -> None:
    rule = "predictions must be finite: the model has diverged or its input holds such a value"
    _check_rows(name, column, np.isfinite(column), rule, first_row)


def check_probability(column: FloatArray, first_row: int = 0) -> None:
    check_finite("probability", column, first_row)
    rule = "a probability must be in [0, 1]; apply the sigmoid to logits first"
    _check_rows("probability", column, (column >= 0) & (column <= 1), rule, first_row)


def _check_observed(label: FloatArray, first_row: int) -> None:
    _check_rows("label", label, ~np.isnan(label), "NaN means not observed; drop such rows first", first_row)


def _check_rows(name: str, column: FloatArray, valid: BoolArray, rule: str, first_row: int) -> None:
    if not valid.all():
        row = int(np.argmin(valid))
        raise InputError(f"`{name}` in row {first_row + row} is {column[row]:g}; {rule}.")


def _as_column(name: str, values: npt.ArrayLike) -> FloatArray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"`{name}` must be a column of numbers: {error}.") from error
