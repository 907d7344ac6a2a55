"""Rows of another part that are rows of the training part, too."""

import numpy as np

from nextrec_like.data.audit.findings import Finding
from nextrec_like.data.audit.parts import Part
from nextrec_like.data.packed import PackedData

FEWEST_COPIES = 0.01
"""Share of copied rows from which on it matters."""
ODDS = 1.25
"""How far the odds of a row to be in the training part may exceed those of a training row to be there twice."""
HASHED_ROWS = 2**20
"""Rows of each part to begin with: a copy shows only if it is among them, so here it takes more than elsewhere."""
DEVIATIONS = 3.0


def find_overlap(train: Part, other: Part) -> list[Finding]:
    """Whether clearly more rows of a part are training rows, too, than natural duplicates explain.

    Data with few categories hold equal rows by nature. Of parts that were drawn alike, a row of one is found among the
    training rows as often as a training row is found among the rest of them. And where rows are equal because ids are
    unknown, the other part says so itself. So the larger share of rows that are in their own part twice is natural.
    Parts are never quite alike, so the odds may be a quarter larger: on census_income, beibei, deskdrop and synthetic
    logs with two to thirty features, split by chance or time, they were at most a twelfth larger. In a sample of the
    training rows only some copies are found, so the least share that matters is smaller there.
    """
    found = _overlap(train.known.spread(HASHED_ROWS)[0], other.known.spread(HASHED_ROWS)[0], train.num_rows)
    if found is not None and max(len(train.known), len(other.known)) > HASHED_ROWS:
        found = _overlap(train.known, other.known, train.num_rows)
    if found is None:
        return []
    share, natural = found
    note = f" ({train.note.strip()})" if train.note else ""
    words = f"{share:.1%} of its rows are training rows{note}, by nature {natural:.1%}"
    return [Finding("overlap", "all features", words, share, part=other.name)]


def _overlap(train: PackedData, other: PackedData, num_train_rows: int) -> tuple[float, float] | None:
    """Share of the rows that are training rows, and the natural share; None if that is no finding."""
    known, rows = np.sort(row_hashes(train)), np.sort(row_hashes(other))
    share, natural = _share_in(known, rows), max(_share_twice(known), _share_twice(rows))
    odds = ODDS * natural
    explained = odds / (odds + 1 - natural) + FEWEST_COPIES * len(train) / num_train_rows
    return (share, natural) if _at_least(share, len(rows)) > explained else None


def row_hashes(packed: PackedData) -> np.ndarray:
    """A number per row that is equal where all features are, and otherwise hardly ever, uint64, shape ``(N,)``.

    It is the sum of the numbers of the row, each times a random odd number of its own, modulo 2 ** 64.
    """
    parts = [_hashes(block) for block in packed.blocks()]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _hashes(packed: PackedData) -> np.ndarray:
    ids = packed.rows.ids.numpy().view(np.uint64)
    numbers = (packed.rows.dense.numpy() + np.float32(0)).view(np.uint32)  # adding zero makes -0.0 the same as 0.0
    factors = np.random.default_rng(0).integers(2**63, size=ids.shape[1] + numbers.shape[1], dtype=np.uint64) * 2 + 1
    return ids @ factors[: ids.shape[1]] + numbers.astype(np.uint64) @ factors[ids.shape[1] :]


def _share_in(known: np.ndarray, values: np.ndarray) -> float:
    """Share of the values that are known; both ascending."""
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return float((known[place] == values).mean())


def _share_twice(values: np.ndarray) -> float:
    """Share of the values that are there more than once; ascending."""
    equal = values[1:] == values[:-1]
    return float((np.append(equal, False) | np.append(False, equal)).mean())


def _at_least(share: float, count: int) -> float:
    """Lower end of the score interval of a share.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    slack = DEVIATIONS**2 / count
    middle = share + slack / 2
    return float((middle - np.sqrt(slack * share * (1 - share) + slack**2 / 4)) / (1 + slack))
