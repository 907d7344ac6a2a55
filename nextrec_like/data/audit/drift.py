"""Features that are distributed differently in another part."""

from collections.abc import Collection, Sequence

import numpy as np

from nextrec_like.data.audit.columns import Column, bin_edges, bins
from nextrec_like.data.audit.findings import Finding
from nextrec_like.data.audit.new_ids import counted, new_ids
from nextrec_like.data.audit.parts import Part

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
        found = new_ids(train, other, column, column.feature in unknown) or _drift(train, other, column)
        if found is not None:
            worst[column.feature] = max(found, worst.get(column.feature, found), key=lambda each: each.value)
    return list(worst.values())


def _drift(train: Part, other: Part, column: Column) -> Finding | None:
    first, second = (column.of(part.sample)[:: column.step(len(part.sample))] for part in (train, other))
    if column.vocab_size is None:
        edges, own = bin_edges(first, NUM_BINS)
        binned, num_bins = [bins(edges, own, values) for values in (first, second)], 2 * len(edges) + 1
    else:
        ids, count = counted(first, column.vocab_size)
        frequent = np.sort(ids[np.argsort(count, kind="stable")[-FREQUENT:]])
        binned, num_bins = [_places(frequent, values) for values in (first, second)], len(frequent) + 1
    counts = [_counts(place, num_bins, part, column) for place, part in zip(binned, (train, other))]
    index, noise = stability(*counts)
    return Finding("drift", column.name, f"PSI {index:.2f}", index, part=other.name) if index - noise > LIMIT else None


def _counts(binned: np.ndarray, num_bins: int, part: Part, column: Column) -> np.ndarray:
    """Rows in each bin; so many of them as if each were drawn by itself, shape ``(num_bins,)``."""
    width = binned.shape[1]
    if part.places is None:
        return np.bincount(binned.ravel(), minlength=num_bins) / width
    places = part.places[:: column.step(len(part.places))]
    cell = binned + num_bins * places[:, None]
    counts = np.bincount(cell.ravel(), minlength=num_bins * (part.places[-1] + 1)).reshape(-1, num_bins) / width
    return counts.sum(axis=0) / design_effect(counts)


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
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    used = expected > 0
    freedom = (used.any(axis=1).sum() - 1) * (used.any(axis=0).sum() - 1)
    return max(1.0, float((np.square(counts - expected)[used] / expected[used]).sum() / max(freedom, 1)))


def _places(frequent: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Number of the frequent id, ascending, or the next number for any other."""
    place = np.minimum(np.searchsorted(frequent, values), len(frequent) - 1)
    return np.where(frequent[place] == values, place, len(frequent))
