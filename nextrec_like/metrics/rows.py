"""The rows of one output with a label, checked once for all metrics that are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextrec_like.errors import InputError
from nextrec_like.metrics._checks import (
    BoolArray,
    FloatArray,
    as_columns,
    check_binary,
    check_finite,
    check_lengths,
    check_probability,
    check_value,
)
from nextrec_like.metrics.groups import check_groups
from nextrec_like.metrics.registry import Metric

LABELS = {"binary": (check_binary, np.bool_), "regression": (check_value, np.float64)}
"""Check and type of the labels by kind of task."""


@dataclass(frozen=True)
class Rows:
    """Labels, predictions and, for metrics that need them, groups; shape ``(N,)`` each."""

    label: BoolArray | FloatArray
    prediction: FloatArray
    group: npt.NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: slice | BoolArray) -> "Rows":
        return Rows(self.label[rows], self.prediction[rows], None if self.group is None else self.group[rows])

    @property
    def group_type(self) -> str | None:
        """Integers and text never name the same group; None if there is no group at all."""
        if self.group is None or len(self) == 0:
            return None
        return "integers" if self.group.dtype.kind == "i" else "text"


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of at least one part, one after the other."""
    groups = [part.group for part in parts if part.group is not None]
    if len({group.dtype.kind for group in groups}) > 1:
        groups = [group.astype(object) for group in groups]  # such as text of numpy and of pandas
    label, prediction = (np.concatenate([getattr(part, name) for part in parts]) for name in ("label", "prediction"))
    return Rows(label, prediction, np.concatenate(groups) if groups else None)


def observed_rows(
    metrics: Sequence[Metric],
    kind: str,
    label: npt.ArrayLike,
    prediction: npt.ArrayLike,
    group: npt.ArrayLike | None,
    first_row: int = 0,
) -> tuple[Rows, int]:
    """The rows with a label, and the number of all rows.

    Args:
        metrics: Say what is checked, and whether groups are needed.
        kind: ``binary`` or ``regression``.
        label: Labels, NaN where not observed, shape ``(N,)``.
        prediction: Not looked at where the label is not observed, shape ``(N,)``.
        group: Group of each row, shape ``(N,)``.
        first_row: Number of the first row, for messages.

    Raises:
        InputError: If a group is needed and missing, or a column breaks a rule; rows are counted before any is dropped.
    """
    labels, predictions = as_columns({"label": label, "prediction": prediction})
    observed = ~np.isnan(labels)
    check_label, label_type = LABELS[kind]
    check_label(np.where(observed, labels, 0), first_row)
    check_finite("prediction", np.where(observed, predictions, 0), first_row)
    if any(metric.needs_probability for metric in metrics):
        check_probability(np.where(observed, predictions, 0), first_row)
    needing = [metric.name for metric in metrics if metric.needs_group]
    groups = _checked_groups(needing[0], group, labels, first_row) if needing else None
    return Rows(labels.astype(label_type), predictions, groups)[observed], len(labels)


def _checked_groups(metric: str, group: npt.ArrayLike | None, label: FloatArray, first_row: int) -> npt.NDArray[Any]:
    if group is None:
        raise InputError(f"Metric `{metric}` needs the group of each row, usually the user; pass `group_id`.")
    groups: npt.NDArray[Any] = np.asarray(group)
    check_lengths({"label": label, "group": groups})
    check_groups(groups, first_row)
    return groups.astype(np.int64, copy=False) if groups.dtype.kind in "iub" else groups
