"""How often each value occurs, for values that come in parts."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nextrec_like.data.ids import as_text


class ValueCounts:
    """Counts of the different values, exact while there are at most `capacity` of them.

    Beyond that, the rarest are forgotten, as in Misra and Gries, "Finding Repeated Elements", Science of Computer
    Programming 1982, in the form of Agarwal et al., "Mergeable Summaries", PODS 2012, section 2.1: the count at place
    ``capacity + 1`` is subtracted from all, and what is left with nothing is forgotten.
    https://doi.org/10.1145/2213556.2213562
    A count is then too small by `error` at most, which itself is at most ``n / (capacity + 1)`` for ``n`` values.

    The counts depend on the values and their order alone, not on the parts in which they come.

    Attributes:
        capacity: Different values to keep.
        piece: Values to count at once.
        error: By how much a count may be too small, at most. A value that occurs more often is not forgotten.
    """

    capacity = 20_000_000
    piece = 2**19

    def __init__(self) -> None:
        self.error = 0
        self._rest = pa.chunked_array([pa.nulls(0)])
        self._counts = _table(pa.nulls(0), np.empty(0, np.int64))
        self._new: list[pa.Table] = []

    def add(self, values: pa.ChunkedArray) -> None:
        """Adds int64 or large_string values, or nulls, which are not counted. All calls have one type."""
        self._rest = _joined([self._rest, values.drop_null()])
        while len(self._rest) >= self.piece:
            self._count(self._rest.slice(0, self.piece))
            self._rest = self._rest.slice(self.piece)

    def join(self, other: "ValueCounts") -> None:
        """Adds the counts of another column; as text if only one of the two has integers."""
        self.table()
        self._new.append(other.table())
        self.error += other.error
        self._merge()

    def table(self) -> pa.Table:
        """Columns ``value`` and ``count`` in no particular order; without values if all calls were of null type."""
        if not pa.types.is_null(self._rest.type):
            self._count(self._rest)
            self._rest = self._rest.slice(len(self._rest))
        self._merge()
        return self._counts

    def _count(self, values: pa.ChunkedArray) -> None:
        encoded = values.combine_chunks().dictionary_encode()  # faster than `value_counts`
        self._new.append(_table(encoded.dictionary, np.bincount(encoded.indices, minlength=len(encoded.dictionary))))
        # Waiting for twice as many new values as there are old ones makes the cost of merging a constant per value.
        if sum(map(len, self._new)) > min(2 * len(self._counts), self.capacity):
            self._merge()

    def _merge(self) -> None:
        parts = [part for part in (self._counts, *self._new) if not pa.types.is_null(part["value"].type)]
        self._new = []
        if len(parts) > 1:
            encoded = _joined([part["value"] for part in parts]).combine_chunks().dictionary_encode()
            counts = np.concatenate([part["count"].to_numpy() for part in parts])
            # Summed as 64-bit floats, which are exact below 2**53.
            total = np.bincount(encoded.indices, weights=counts, minlength=len(encoded.dictionary))
            parts = [_table(encoded.dictionary, total.astype(np.int64))]
        if parts:
            self._counts = self._pruned(parts[0])

    def _pruned(self, table: pa.Table) -> pa.Table:
        if len(table) <= self.capacity:
            return table
        counts = table["count"].to_numpy()
        place = len(counts) - self.capacity - 1
        surplus = int(np.partition(counts, place)[place])
        self.error += surplus
        table = table.set_column(1, "count", [pa.array(counts - surplus)])
        return table.filter(pa.array(counts > surplus))


def _table(values: pa.Array, counts: npt.NDArray[np.int64]) -> pa.Table:
    return pa.table({"value": values, "count": counts})


def _joined(arrays: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """The values of all arrays: integers, or text if some of them are text."""
    typed = [array for array in arrays if not pa.types.is_null(array.type)]
    if len({array.type for array in typed}) > 1:
        typed = [as_text(array) for array in typed]
    return pa.chunked_array([chunk for array in typed for chunk in array.chunks], (typed or arrays)[0].type)
