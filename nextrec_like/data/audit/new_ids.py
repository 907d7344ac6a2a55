"""Ids of another part that the training rows do not have."""

import numpy as np

from nextrec_like.data.audit.columns import Column
from nextrec_like.data.audit.findings import Finding
from nextrec_like.data.audit.parts import Part
from nextrec_like.data.ids import MISSING

LIMIT = 0.25
"""Share of new ids beyond the share to expect, from which on it matters."""
HIGHEST_MIN_COUNT = 20
"""A rarest id with more rows than these is taken for a category, and not for what is left by a `min_count`."""
DEVIATIONS = 3.0


def new_ids(train: Part, other: Part, column: Column, has_unknown: bool) -> Finding | None:
    """Whether clearly more ids are new, or unknown, than are to expect.

    Of training rows that are streamed only some are known, and neighbours: there only unknown ids count as new.

    Args:
        train: Training rows.
        other: Another part.
        column: What to compare.
        has_unknown: Whether id 1 stands for all unknown values.
    """
    if column.vocab_size is None or not (train.is_complete or has_unknown):
        return None
    values = column.of(other.sample)[:: column.step(len(other.sample))]
    for rows in [train.sample] if train.sample is train.known else [train.sample, train.known]:
        share, expected = _shares(column, column.of(rows), values, has_unknown, train.is_complete)
        if share - expected - DEVIATIONS * np.sqrt(0.25 / len(values)) <= LIMIT:
            return None
    words = f"{share:.1%} of the ids are not known from training, to expect {expected:.1%}"
    return Finding("new ids", column.name, words, share, part=other.name)


def counted(values: np.ndarray, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The different ids, ascending, and how often each occurs."""
    if vocab_size > 4 * values.size:
        ids, count = np.unique(values, return_counts=True)
        return ids, count
    count = np.bincount(values.ravel())
    ids = np.flatnonzero(count)
    return ids, count[ids]


def _shares(
    column: Column, train: np.ndarray, other: np.ndarray, has_unknown: bool, is_complete: bool
) -> tuple[float, float]:
    """Share of the ids of the other part that have no training row, and the share to expect if it is drawn alike.

    That is the share of training rows whose id has no second row (Good, "The Population Frequencies of Species and the
    Estimation of Population Parameters", Biometrika 1953). Where id 1 stands for values with too few rows, a row of
    the rarest known value counts too, because its value would be unknown without it.
    """
    assert column.vocab_size is not None
    ids, count = counted(train[train >= column.padded], column.vocab_size)
    unknown = (ids == MISSING) & has_unknown
    rarest = count[~unknown].min(initial=HIGHEST_MIN_COUNT) if has_unknown else 1
    expected = count[unknown | (count <= rarest)].sum() / max(count.sum(), 1)
    values = other[other >= column.padded]
    new = ~np.isin(values, ids[~unknown]) if is_complete else values == MISSING
    return float(new.sum() / max(len(values), 1)), float(expected)
