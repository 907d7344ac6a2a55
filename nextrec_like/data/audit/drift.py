"""Features that are distributed differently in another part."""

from collections.abc import Collection, Sequence

import numpy as np

from nextrec_like.data.audit.columns import Column, bin_edges, bins
from nextrec_like.data.audit.findings import Finding
from nextrec_like.data.audit.new_ids import counted, new_ids, unknown_shares
from nextrec_like.data.audit.parts import Part
from nextrec_like.data.ids import MISSING

LIMIT = 0.25
"""Population stability index above which a population counts as changed: Siddiqi, "Credit Risk Scorecards", 2006."""
NUM_BINS = 10
FREQUENT = 20
"""Ids that are compared one by one; the others count together."""
DEVIATIONS = 3.0


def find_drift(train: Part, other: Part, columns: Sequence[Column], unknown: Collection[str] = ()) -> list[Finding]:
    """Features whose values, or whose share of new ids, differ clearly; of a vector the number that differs most.

    Args:
        train: Training rows.
        other: Another part.
        columns: What to compare.
        unknown: Features whose id 1 stands for all unknown values.
    """
    worst: dict[str, Finding] = {}
    for column in columns:
        has_unknown = column.feature in unknown
        found = new_ids(train, other, column, has_unknown) or _drift(train, other, column, has_unknown)
        if found is not None:
            worst[column.feature] = max(found, worst.get(column.feature, found), key=lambda each: each.value)
    return list(worst.values())


def _drift(train: Part, other: Part, column: Column, has_unknown: bool) -> Finding | None:
    values = [column.some(part.sample) for part in (train, other)]
    if column.vocab_size is None:
        edges, own = bin_edges(values[0], NUM_BINS)
        binned, num_bins = [bins(edges, own, each) for each in values], 2 * len(edges) + 1
    else:
        ids, count = counted(values[0], column.vocab_size)
        frequent = np.sort(ids[np.argsort(count, kind="stable")[-FREQUENT:]])
        binned, num_bins = [_places(frequent, each, has_unknown) for each in values], len(frequent) + 2
    first, second = (_counts(place, num_bins, part, column) for place, part in zip(binned, (train, other)))
    index, noise = stability(first, second)
    if has_unknown and index - noise > LIMIT:
        index, noise = stability(_as_new_rows(first, second, train, column), second)
    return Finding("drift", column.name, f"PSI {index:.2f}", index, part=other.name) if index - noise > LIMIT else None


def _places(frequent: np.ndarray, values: np.ndarray, has_unknown: bool) -> np.ndarray:
    """Number of the frequent id, ascending; the next number for any other id, and the one after it for unknown ids."""
    place = np.minimum(np.searchsorted(frequent, values), len(frequent) - 1)
    places = np.where(frequent[place] == values, place, len(frequent))
    return np.where(values == MISSING, len(frequent) + 1, places) if has_unknown else places


def _counts(binned: np.ndarray, num_bins: int, part: Part, column: Column) -> np.ndarray:
    """Rows in each bin, so many of them as if each were drawn by itself, shape ``(num_bins,)``.

    Args:
        binned: Bin of each value, shape ``(N, W)``.
        num_bins: Number of bins.
        part: Where the rows are from.
        column: What the values are of.
    """
    if part.places is None:
        return np.bincount(binned.ravel(), minlength=num_bins) / binned.shape[1]
    cell = binned + num_bins * part.places[:: column.step(len(part.places)), None]
    counts = np.bincount(cell.ravel(), minlength=num_bins * (part.places[-1] + 1)).reshape(-1, num_bins)
    return counts.sum(axis=0) / (binned.shape[1] * design_effect(counts / binned.shape[1]))


def _as_new_rows(counts: np.ndarray, other: np.ndarray, train: Part, column: Column) -> np.ndarray:
    """The counts of training rows if their ids were looked up as those of new rows are: more of them are unknown.

    Where not all rows are known, as many as in the other part; fewer there are a difference in any case.

    Args:
        counts: Of training rows, those of infrequent and of unknown ids last, shape ``(B,)``.
        other: Of another part, shape ``(B,)``.
        train: Training rows.
        column: What the counts are of.
    """
    more = other[-1] / other.sum() - counts[-1] / counts.sum()
    if train.is_complete:
        ids = column.of(train.known)
        more = unknown_shares(column, ids[ids >= column.padded], True)[1] * (ids >= column.padded).mean()
    moved = np.clip(more * counts.sum(), 0, counts[-2])
    return np.append(counts[:-2], [counts[-2] - moved, counts[-1] + moved])


def stability(train: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The population stability index of two histograms ``sum (p - q) log(p / q)``, and three standard errors of it.

    From samples of ``n`` and ``m`` rows of one population, it is about ``1 / n + 1 / m`` times a chi-square variable
    with one degree of freedom less than bins: Yurdakul, "Statistical Properties of Population Stability Index",
    Western Michigan University 2018. Its mean is subtracted here.

    Args:
        train: Counts, shape ``(B,)``.
        other: Counts of the same bins, shape ``(B,)``.
    """
    used = (train > 0) | (other > 0)
    scale, freedom = 1 / train.sum() + 1 / other.sum(), used.sum() - 1
    p, q = ((count[used] + 0.5) / (count.sum() + 0.5 * used.sum()) for count in (train, other))
    return float((p - q) @ np.log(p / q) - freedom * scale), float(DEVIATIONS * np.sqrt(2 * freedom) * scale)


def design_effect(counts: np.ndarray) -> float:
    """How many neighbouring rows say as much as one drawn by itself, at least 1.

    The chi-square statistic of pieces against bins over its mean for independent rows: Rao and Scott, "The Analysis of
    Categorical Data from Complex Sample Surveys", JASA 1981.

    Args:
        counts: In each piece and bin, shape ``(G, B)``.
    """
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / max(counts.sum(), 1)
    used = expected > 0
    freedom = (used.any(axis=1).sum() - 1) * (used.any(axis=0).sum() - 1)
    return max(1.0, float((np.square(counts - expected)[used] / expected[used]).sum() / max(freedom, 1)))
