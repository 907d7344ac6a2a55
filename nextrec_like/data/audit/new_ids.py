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
    values = column.some(other.sample)
    values = values[values >= column.padded]
    for rows in (column.some(train.sample), column.of(train.known)):
        ids = rows[rows >= column.padded]
        known = ids[ids != MISSING] if has_unknown else ids
        new = ~np.isin(values, known) if train.is_complete else values == MISSING
        share, expected = new.sum() / max(len(values), 1), sum(unknown_shares(column, ids, has_unknown))
        if share - expected - DEVIATIONS * np.sqrt(0.25 / len(other.sample)) <= LIMIT:
            return None
    words = f"{share:.1%} of the ids are not known from training, to expect {expected:.1%}"
    return Finding("new ids", column.name, words, float(share), part=other.name)


def unknown_shares(column: Column, ids: np.ndarray, has_unknown: bool) -> tuple[float, float]:
    """Share of training rows whose id is unknown, and of those whose id would be if the row were a new one.

    These are the rows whose id has no second row (Good, "The Population Frequencies of Species and the Estimation of
    Population Parameters", Biometrika 1953). Where id 1 stands for values with too few rows, they are the rows of the
    rarest known value.

    Args:
        column: What the ids are of.
        ids: Without padding, any shape.
        has_unknown: Whether id 1 stands for all unknown values.
    """
    assert column.vocab_size is not None
    different, count = counted(ids, column.vocab_size)
    unknown = (different == MISSING) & has_unknown
    rarest = count[~unknown].min(initial=HIGHEST_MIN_COUNT) if has_unknown else 1
    rows = max(ids.size, 1)
    return float(count[unknown].sum() / rows), float(count[~unknown & (count <= rarest)].sum() / rows)


def counted(values: np.ndarray, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The different ids, ascending, and how often each occurs."""
    if vocab_size > 4 * values.size:
        ids, count = np.unique(values, return_counts=True)
        return ids, count
    count = np.bincount(values.ravel())
    ids = np.flatnonzero(count)
    return ids, count[ids]
