"""Lists of ids, cut to the newest ones."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.data.arrow import decoded, is_list
from nextrec_like.data.columns import IdColumn, SequenceColumn
from nextrec_like.data.ids import IdMap, id_values
from nextrec_like.errors import InputError
from nextrec_like.features import SequenceFeature


@dataclass(frozen=True)
class Elements:
    """The kept elements of all lists one after the other, and how many each row has, shape ``(N,)``."""

    values: pa.ChunkedArray
    lengths: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SequenceEncoder:
    """Ids of a column with a list of values per row.

    Args:
        column: What to do.
        id_map: From values to ids.
        owner: The column whose ids these are, if `column` has `vocabulary_of`.
    """

    column: SequenceColumn
    id_map: IdMap
    owner: IdColumn | None = None

    def encode(self, array: pa.ChunkedArray) -> pa.ChunkedArray:
        kept = newest(self.column, array)
        ids = self.id_map.encode(kept.values).combine_chunks()
        offsets = pa.array(np.concatenate([[0], np.cumsum(kept.lengths)]), pa.int32())
        return pa.chunked_array([pa.ListArray.from_arrays(offsets, ids)])

    def feature(self) -> SequenceFeature:
        column, owner = self.column, self.owner
        shared_name = (owner.embedding_name or owner.name) if owner else None
        return SequenceFeature(
            column.name,
            self.id_map.size,
            max_len=column.max_len,
            embedding_dim=column.embedding_dim or (owner.embedding_dim if owner else None),
            embedding_name=column.embedding_name or shared_name,
            pooling=column.pooling,
            query=column.query,
        )


def raw_ids(column: IdColumn | SequenceColumn, array: pa.ChunkedArray) -> pa.ChunkedArray:
    """All values of a column that have an id, as `id_values` gives them.

    Raises:
        InputError: For a value that is no id, or a column of another kind.
    """
    return id_values(column.name, array) if isinstance(column, IdColumn) else newest(column, array).values


def newest(column: SequenceColumn, array: pa.ChunkedArray) -> Elements:
    """The last `max_len` elements of each list.

    Args:
        column: Says how many to keep, and how to split text.
        array: Lists, or text to split.

    Raises:
        InputError: If the column holds neither lists nor text with a separator, or elements that are no ids.
    """
    array = decoded(array)
    if pa.types.is_null(array.type):
        return Elements(pa.chunked_array([pa.nulls(0)]), np.zeros(len(array), np.int64))
    text = not is_list(array.type)
    parts = [_last(chunk, column.max_len) for chunk in (_split(column, array) if text else array).chunks]
    lengths = np.concatenate([part_lengths for _, part_lengths in parts])
    values = pa.chunked_array([part_values for part_values, _ in parts])
    if text:
        values = _pieces(values)
    return Elements(id_values(column.name, values, lengths), lengths)


def _split(column: SequenceColumn, array: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = array.type
    # A file in which no row has more than one id holds integers where the others hold text.
    readable = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    if not readable:
        raise InputError(f"Column `{column.name}` should hold lists of ids, but holds {kind}; convert it to lists.")
    if column.separator is None:
        raise InputError(
            f"Column `{column.name}` holds {kind}, not lists; set `separator` to what stands between the ids, "
            'for example separator="|".'
        )
    text = array.cast(pa.large_string())
    blank = pc.equal(pc.utf8_trim_whitespace(text), "")
    return pc.split_pattern(pc.if_else(blank, pa.scalar(None, text.type), text), column.separator)


def _pieces(pieces: pa.ChunkedArray) -> pa.ChunkedArray:
    pieces = pc.utf8_trim_whitespace(pieces)
    return pc.if_else(pc.equal(pieces, ""), pa.scalar(None, pieces.type), pieces)


def _last(chunk: pa.Array, max_len: int) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The last `max_len` elements of each list, and how many each list has left."""
    offsets = _offsets(chunk)
    ends = offsets[1:]
    lengths = np.where(np.asarray(chunk.is_valid()), np.minimum(np.diff(offsets), max_len), 0)
    total = int(lengths.sum())
    if total == offsets[-1] - offsets[0]:
        return chunk.values.slice(offsets[0], total), lengths
    before = np.cumsum(lengths) - lengths
    return chunk.values.take(pa.array(np.repeat(ends - lengths - before, lengths) + np.arange(total))), lengths


def _offsets(chunk: pa.Array) -> npt.NDArray[np.int64]:
    """Where each list starts in ``chunk.values``, and where the last one ends."""
    if pa.types.is_fixed_size_list(chunk.type):
        return (np.arange(len(chunk) + 1) + chunk.offset) * chunk.type.list_size
    return np.asarray(chunk.offsets).astype(np.int64)
