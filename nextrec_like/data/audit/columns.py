"""The columns of packed rows one by one, and their values as small integers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nextrec_like.data.packed import PackedData
from nextrec_like.features import FeatureSet, SequenceFeature

MAX_NUMBERS = 2**19
"""Numbers of a feature that are looked at: of a wide one, fewer rows."""
NUM_BINS, BIN_ROWS = 256, 20
"""Bins of the numbers of a feature; fewer if they would have less than so many rows."""


@dataclass(frozen=True)
class Column:
    """An id feature, or one number of a dense feature.

    Attributes:
        feature: Name of the feature.
        name: The same, or for one of several numbers such as ``vector[3]``.
        start: First column of the packed ids or numbers.
        stop: One past its last column.
        width: Numbers or ids of the whole feature per row.
        vocab_size: Number of ids; None for numbers.
        padded: Whether id 0 is padding.
    """

    feature: str
    name: str
    start: int
    stop: int
    width: int
    vocab_size: int | None = None
    padded: bool = False

    def of(self, rows: PackedData) -> np.ndarray:
        """Its values, without a copy, shape ``(N, W)`` with W = 1 unless it is a sequence."""
        source = rows.rows.dense if self.vocab_size is None else rows.rows.ids
        return source.numpy()[:, self.start : self.stop]

    def step(self, num_rows: int) -> int:
        """Each how many-th of so many rows to look at, so that a wide feature does not take long."""
        return -(-num_rows * self.width // MAX_NUMBERS) or 1

    def some(self, rows: PackedData) -> np.ndarray:
        """Its values in these rows."""
        return self.of(rows)[:: self.step(len(rows))]


def columns_of(features: FeatureSet) -> list[Column]:
    """All columns: numbers, then ids."""
    return [*_numbers(features), *_ids(features)]


def codes(column: Column, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Small integers for the values: equal ones for equal ids, and for numbers of one bin.

    Args:
        column: The column.
        values: Its values in some rows, shape ``(N, W)``.

    Returns:
        The integers, in the order of the numbers; -1 for padding, and a sequence without ids has one of its own in
        front; shape ``(N, W)``. And one more than the largest possible integer.
    """
    if column.vocab_size is None:
        edges, frequent = bin_edges(values, min(NUM_BINS, len(values) // BIN_ROWS + 1))
        return bins(edges, frequent, values), 2 * len(edges) + 1
    code, size = numbered(values, column.vocab_size)
    if column.padded:
        code = np.where(values > 0, code, -1)
        code[:, 0] = np.where(values[:, 0] > 0, code[:, 0], size)  # the newest id stands first: there is none
    return code, size + 1


def numbered(values: np.ndarray, vocab_size: int) -> tuple[np.ndarray, int]:
    """The ids, or numbers for them if there are far more possible ones than rows; and one more than the largest."""
    if vocab_size <= 4 * values.size:
        return values, vocab_size
    known = np.unique(values)
    return np.searchsorted(known, values), len(known)


def bin_edges(values: np.ndarray, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Borders of about equally full bins, each once, ascending; and which of them are as frequent as a bin."""
    ordered = np.sort(values, axis=None)
    edges, count = np.unique(ordered[np.arange(1, num_bins) * len(ordered) // num_bins], return_counts=True)
    return edges, count > 1


def bins(edges: np.ndarray, frequent: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bin of each value, ascending: up to and with a border, but a frequent one is a bin of its own."""
    below = np.searchsorted(edges, values)
    place = np.minimum(below, len(edges) - 1)
    return 2 * below + (frequent[place] & (edges[place] == values))


def _numbers(features: FeatureSet) -> Iterator[Column]:
    start = 0
    for feature in features.dense:
        for index in range(feature.dim):
            name = feature.name if feature.dim == 1 else f"{feature.name}[{index}]"
            yield Column(feature.name, name, start + index, start + index + 1, feature.dim)
        start += feature.dim


def _ids(features: FeatureSet) -> Iterator[Column]:
    for part in features.id_slices:
        name, width, padded = part.feature.name, part.stop - part.start, isinstance(part.feature, SequenceFeature)
        yield Column(name, name, part.start, part.stop, width, part.feature.vocab_size, padded)
