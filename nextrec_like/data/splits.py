"""Training, validation and test rows: by chance, by time or by group."""

from collections.abc import Sequence
from itertools import accumulate
from numbers import Real

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.data.arrow import column as table_column
from nextrec_like.data.arrow import decoded, first_missing
from nextrec_like.data.ids import id_values, stable_hash
from nextrec_like.data.tables import TableLike, read_table
from nextrec_like.errors import InputError, checked_seed

Indices = npt.NDArray[np.int64]


def split_random(
    data: TableLike, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[pd.DataFrame, ...] | tuple[pa.Table, ...]:
    """Divides rows by chance.

    Args:
        data: Anything that `read_table` takes.
        fractions: Share of the rows of each part; positive, with sum 1.
        seed: Same seed, same parts.

    Returns:
        One part per fraction, its rows in their original order: DataFrames with their index if `data` is one,
        otherwise Arrow tables.

    Raises:
        InputError: For wrong fractions, or too few rows for a part.
    """
    seed = checked_seed(seed)
    cuts = _cuts(fractions)
    table = read_table(data)
    position = np.random.default_rng(seed).permutation(table.num_rows)
    bounds = np.rint(np.array(cuts) * table.num_rows)
    return _parts(data, table, np.searchsorted(bounds, position, side="right"), fractions)


def split_by_time(
    data: TableLike, column: str, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[pd.DataFrame, ...] | tuple[pa.Table, ...]:
    """Divides rows by time, the oldest part first, so that no part is trained on the future of an earlier row.

    Rows with equal time stay together, so the shares may differ from `fractions`.

    Args:
        data: Anything that `read_table` takes.
        column: Column of numbers, dates or timestamps.
        fractions: Share of the rows of each part; positive, with sum 1.

    Returns:
        As `split_random`.

    Raises:
        InputError: For wrong fractions, a missing time, times that are text, or a part without rows.
    """
    cuts = _cuts(fractions)
    table = read_table(data)
    earlier = _rows_before(_times(table, column))
    ordered = np.sort(earlier)
    bounds = [_nearest_change(ordered, round(cut * len(ordered))) for cut in cuts]
    return _parts(data, table, np.searchsorted(bounds, earlier, side="right"), fractions)


def split_by_group(
    data: TableLike, column: str, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[pd.DataFrame, ...] | tuple[pa.Table, ...]:
    """Divides rows so that all rows of a group, such as a user, lie in one part.

    Groups are put in an order that follows from their hash and the seed, not from the order of the rows, and are
    dealt out until a part has its share of the rows.

    Args:
        data: Anything that `read_table` takes.
        column: Column of strings or integers.
        fractions: Share of the rows of each part; positive, with sum 1.
        seed: Same seed, same parts.

    Returns:
        As `split_random`.

    Raises:
        InputError: For wrong fractions, a missing group, or a part without rows.
    """
    seed = checked_seed(seed)
    cuts = _cuts(fractions)
    table = read_table(data)
    values = table_column(table, column, "group column")
    _check_complete(values, column)
    encoded = id_values(column, values).combine_chunks().dictionary_encode()
    group = encoded.indices.to_numpy()
    names = encoded.dictionary.cast(pa.large_string()).to_pylist()
    order = sorted(range(len(names)), key=lambda index: (stable_hash(f"{seed}:{names[index]}"), names[index]))
    rows = np.bincount(group, minlength=len(names))[order]
    middle = (np.cumsum(rows) - rows / 2) / len(group)
    part_of_group = np.empty(len(names), np.int64)
    part_of_group[order] = np.searchsorted(cuts, middle, side="right")
    return _parts(data, table, part_of_group[group], fractions)


def _cuts(fractions: Sequence[float]) -> list[float]:
    """Where one part ends and the next begins, as shares of the rows."""
    positive = isinstance(fractions, Sequence) and all(isinstance(each, Real) and each > 0 for each in fractions)
    if not positive or len(fractions) < 2 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            "`fractions` should be at least two positive numbers with sum 1, such as (0.8, 0.1, 0.1). "
            f"Received {fractions!r}."
        )
    return list(accumulate(fractions))[:-1]


def _parts(
    data: object, table: pa.Table, part: Indices, fractions: Sequence[float]
) -> tuple[pd.DataFrame, ...] | tuple[pa.Table, ...]:
    """The rows of each part, where `part` has the number of the part of each row, shape ``(N,)``."""
    rows = [np.flatnonzero(part == number) for number in range(len(fractions))]
    for number, (indices, fraction) in enumerate(zip(rows, fractions), start=1):
        if not len(indices):
            raise InputError(
                f"Part {number} of {len(rows)} (fraction {fraction:g}) would have no rows of {len(part)}; "
                "give more rows, fewer parts or a larger fraction. Rows of equal time, and of one group, stay together."
            )
    if isinstance(data, pd.DataFrame):
        return tuple(data.iloc[indices] for indices in rows)
    return tuple(table.take(pa.array(indices)) for indices in rows)


def _check_complete(values: pa.ChunkedArray, name: str) -> None:
    row = first_missing(values)
    if row is not None:
        raise InputError(f"Column `{name}` has no value in row {row}; fill it or drop the row.")


def _times(table: pa.Table, name: str) -> pa.ChunkedArray:
    times = decoded(table_column(table, name, "time column"))
    _check_complete(times, name)
    kind = times.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)):
        raise InputError(
            f"Column `{name}` should hold numbers, dates or timestamps, but holds {kind}; "
            "convert it, for example with `pandas.to_datetime`."
        )
    return times


def _rows_before(times: pa.ChunkedArray) -> Indices:
    """How many rows are older than each row, shape ``(N,)``."""
    rank = pc.rank(times, sort_keys="ascending", tiebreaker="min")
    return np.asarray(rank).astype(np.int64) - 1


def _nearest_change(ordered: Indices, position: int) -> int:
    """The position closest to `position` at which sorted values change."""
    if position >= len(ordered):
        return len(ordered)
    first, last = (
        np.searchsorted(ordered, ordered[position], "left"),
        np.searchsorted(ordered, ordered[position], "right"),
    )
    return int(first if position - first <= last - position else last)
