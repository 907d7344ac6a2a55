"""Ids from values: by a vocabulary of the training values, or by a hash."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.data.arrow import decoded, is_list
from nextrec_like.data.columns import IdColumn
from nextrec_like.errors import InputError
from nextrec_like.features import SparseFeature

Values = TypeVar("Values", pa.Array, pa.ChunkedArray)

PADDING, MISSING, FIRST = 0, 1, 2
"""Ids of padding, of an unknown or missing value, and of the first known value."""

EXACT = 2**53
"""Integers from here on are not exact in a 64-bit float."""


class IdMap(Protocol):
    """From values to ids."""

    @property
    def size(self) -> int:
        """Number of ids, padding and missing included."""

    def encode(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Ids of the values, int64, without nulls."""


@dataclass(frozen=True)
class Vocabulary:
    """Known values get an id each; all others are unknown. An integer and its decimal text are the same value.

    Args:
        values: Known values in the order of their ids, the first of which is 2.
    """

    values: pa.Array

    @classmethod
    def fit(cls, counts: pa.Table, min_count: int) -> "Vocabulary":
        """The values with enough rows, the most frequent first.

        Args:
            counts: Columns ``value`` and ``count``, each value once.
            min_count: Values with fewer rows are left out.
        """
        known = counts.filter(pc.greater_equal(counts["count"], min_count)) if min_count > 1 else counts
        known = known.sort_by([("count", "descending"), ("value", "ascending")])
        return cls(known["value"].combine_chunks())

    @property
    def size(self) -> int:
        return len(self.values) + FIRST

    def encode(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        known = self.values
        if values.type != known.type:
            values, known = as_text(values), as_text(known)
        found = pc.index_in(values, value_set=known)
        return pc.fill_null(pc.add(found.cast(pa.int64()), FIRST), MISSING)

    def content(self) -> Iterator[bytes | memoryview]:
        """What tells it from another vocabulary, without a copy as Python objects."""
        yield f"{self.values.type} {len(self.values)} ".encode()
        if pa.types.is_integer(self.values.type):
            yield self.values.to_numpy().data
        elif len(self.values):
            _, offsets, text = self.values.buffers()
            ends = np.frombuffer(offsets, np.int64)[self.values.offset :][: len(self.values) + 1]
            yield (ends - ends[0]).data
            yield memoryview(text)[ends[0] : ends[-1]]


@dataclass(frozen=True)
class Hashing:
    """``id = 2 + h mod (size - 2)``, where h is `stable_hash` of the value as text."""

    size: int

    def encode(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_null(values.type):
            return pa.chunked_array([pa.array(np.full(len(values), MISSING, np.int64))])
        encoded = values.combine_chunks().dictionary_encode()
        known = as_text(encoded.dictionary).to_pylist()
        ids = pa.array([FIRST + stable_hash(text) % (self.size - FIRST) for text in known], pa.int64())
        return pa.chunked_array([pc.fill_null(pc.take(ids, encoded.indices), MISSING)])


@dataclass(frozen=True)
class IdEncoder:
    """Ids of a column with one value per row."""

    column: IdColumn
    id_map: IdMap

    def encode(self, array: pa.ChunkedArray) -> pa.ChunkedArray:
        return self.id_map.encode(id_values(self.column.name, array))

    def feature(self) -> SparseFeature:
        column = self.column
        return SparseFeature(column.name, self.id_map.size, column.embedding_dim, column.embedding_name)


def stable_hash(text: str) -> int:
    """The 8-byte BLAKE2b digest of the UTF-8 text as a little-endian number: the same everywhere and always."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def as_text(values: Values) -> Values:
    """The values as `id_values` gives them, integers in their decimal text."""
    return values.cast(pa.large_string())


def id_values(name: str, array: pa.ChunkedArray, lengths: npt.NDArray[np.int64] | None = None) -> pa.ChunkedArray:
    """The values as int64 or large_string, or of null type if all are missing.

    Args:
        name: Column name, for errors.
        array: Strings, integers, booleans or floats without a fraction.
        lengths: If the values are the elements of lists, the length of each list; for errors.

    Raises:
        InputError: For another type, or a float with a fraction; names the row.
    """
    array = decoded(array)
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array.cast(pa.large_string())
    if pa.types.is_floating(kind):
        return _whole_numbers(name, array, lengths)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _integers(name, array)
    if pa.types.is_null(kind):
        return array
    if is_list(kind):
        raise InputError(f"Column `{name}` holds lists; use SequenceColumn.")
    raise InputError(f"Column `{name}` should hold strings or integers, but holds {kind}; convert it to strings.")


def _integers(name: str, array: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(f"Column `{name}` has an integer above 2**63 - 1; convert the column to strings.") from error


def _whole_numbers(name: str, array: pa.ChunkedArray, lengths: npt.NDArray[np.int64] | None) -> pa.ChunkedArray:
    numbers = array.cast(pa.float64()).to_numpy()
    missing = np.isnan(numbers)
    bad = ~missing & ((numbers != np.floor(numbers)) | (np.abs(numbers) >= EXACT))
    if bad.any():
        position = int(bad.argmax())
        row = position if lengths is None else int(np.searchsorted(np.cumsum(lengths), position, side="right"))
        raise InputError(
            f"Column `{name}`, row {row}: value {numbers[position]!s} is not an exact integer; "
            "ids are strings or integers, and NumericColumn is for other numbers."
        )
    whole = np.where(missing, 0, numbers).astype(np.int64)
    return pa.chunked_array([pa.array(whole, mask=missing)])
