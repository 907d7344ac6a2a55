"""What to do with the columns of a raw table before a model reads them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

from nextrec_like.errors import InputError, as_float, did_you_mean, one_of
from nextrec_like.features import POOLINGS, check_name, check_per_row

SCALINGS = ("none", "standard", "min_max", "log1p", "quantile")
FILLS = ("mean", "median")
MAX_BUCKETS = 100_000
"""Edges that lie closer are not told apart: see `QuantileSketch` for its error."""


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, one per row.

    Args:
        name: Column name.
        scaling: ``none``; ``standard`` (mean 0, standard deviation 1); ``min_max`` (training range to [0, 1]);
            ``log1p`` (``log(1 + x)``, then standard); ``quantile`` (turned into the id of one of `num_buckets` equally
            full intervals, so the column becomes a sparse feature).
        fill_value: What replaces a missing or infinite value, before scaling: a number, or ``mean`` or ``median`` of
            the training rows. Without it such a value is an error, except for ``quantile``, where it has an id.
        num_buckets: Intervals for ``quantile``; equal edges are merged, so there may be fewer.

    Quantiles and medians are exact for fewer than 524,288 known values. Beyond, the rank of an edge or a median is
    wrong by at most about 1 in 100,000 of the rows, also for a billion of them; see `QuantileSketch`.
    """

    name: str
    scaling: str = "standard"
    fill_value: float | str | None = None
    num_buckets: int = 10

    def __post_init__(self) -> None:
        check_name("Column", self.name)
        one_of(f"scaling of column `{self.name}`", self.scaling, SCALINGS)
        check_at_least(self.name, "num_buckets", self.num_buckets, 2)
        if self.num_buckets > MAX_BUCKETS:
            raise InputError(f"`num_buckets` of column `{self.name}` is {self.num_buckets}, above {MAX_BUCKETS:,}.")
        self._check_fill()

    def _check_fill(self) -> None:
        fill = self.fill_value
        if fill is None:
            return
        if isinstance(fill, str):
            one_of(f"fill_value of column `{self.name}`", fill, FILLS)
            return
        if not isfinite(as_float(fill)):
            raise InputError(
                f"`fill_value` of column `{self.name}` should be a finite number, `mean` or `median`. "
                f"Received {fill!r}."
            )
        if self.scaling == "log1p" and as_float(fill) <= -1:
            raise InputError(f"`fill_value` of column `{self.name}` should be above -1 for log1p. Received {fill!r}.")


@dataclass(frozen=True)
class IdColumn:
    """A column of ids or categories, one string or integer per row.

    Without `hash_size` the training values are numbered: 0 is padding, 1 is unknown or missing, 2 and up are the
    known values, the most frequent first and equally frequent ones in the order of the values. With it, the id follows
    from the value alone: no vocabulary is kept, and different values may share an id.
    A vocabulary holds at most 20 million values; of more, rare ones may count as unknown; see `ValueCounts`.

    Args:
        name: Column name.
        min_count: Values with fewer training rows are unknown.
        hash_size: Number of ids, padding and missing included.
        embedding_dim: Width of an embedding; by default it follows from the number of ids.
        embedding_name: Features with the same name share one embedding table.
    """

    name: str
    min_count: int = 1
    hash_size: int | None = None
    embedding_dim: int | None = None
    embedding_name: str | None = None

    def __post_init__(self) -> None:
        check_name("Column", self.name)
        check_ids(self)


@dataclass(frozen=True)
class SequenceColumn:
    """A column with a list of ids per row, oldest first, such as the items a user clicked before.

    Ids are given as for `IdColumn`. A missing list is an empty one; a missing element has id 1.

    Args:
        name: Column name.
        max_len: Ids kept per row: the last, newest ones.
        separator: What stands between the ids if the column holds text such as ``12|7|31``.
        min_count: Values with fewer occurrences among the kept ids of the training rows are unknown.
        hash_size: Number of ids, padding and missing included, if values are hashed.
        vocabulary_of: Name of an `IdColumn`: both then have the same ids, known from the values of both columns, and
            share one embedding table. `min_count` and `hash_size` are those of the other column.
        embedding_dim: Width of an embedding; by default it follows from the number of ids.
        embedding_name: Features with the same name share one embedding table.
        pooling: ``mean``, ``sum``, ``max`` or ``target_attention``.
        query: For ``target_attention``, the column of the sparse feature that attends to the sequence. By default the
            only one that shares the embedding table.
    """

    name: str
    max_len: int = 50
    separator: str | None = None
    min_count: int = 1
    hash_size: int | None = None
    vocabulary_of: str | None = None
    embedding_dim: int | None = None
    embedding_name: str | None = None
    pooling: str = "mean"
    query: str | None = None

    def __post_init__(self) -> None:
        check_name("Column", self.name)
        check_ids(self)
        check_at_least(self.name, "max_len", self.max_len, 1)
        check_per_row("max_len", f"column `{self.name}`", self.max_len)
        if self.separator is not None and (not isinstance(self.separator, str) or not self.separator):
            raise InputError(
                f"`separator` of column `{self.name}` should be a non-empty string. Received {self.separator!r}."
            )
        one_of(f"pooling of column `{self.name}`", self.pooling, POOLINGS)
        for what in ("vocabulary_of", "query"):
            if getattr(self, what) is not None:
                check_name(f"The {what} of column `{self.name}`: column", getattr(self, what))
        if self.vocabulary_of is not None and (self.min_count, self.hash_size) != (1, None):
            raise InputError(
                f"Column `{self.name}` takes its ids from `{self.vocabulary_of}`; "
                "set `min_count` and `hash_size` there, not here."
            )


Column: TypeAlias = NumericColumn | IdColumn | SequenceColumn
COLUMNS: dict[str, type[Column]] = {kind.__name__: kind for kind in (NumericColumn, IdColumn, SequenceColumn)}


def checked_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, checked against each other.

    Raises:
        InputError: For an empty list, something that is no column, duplicate names, a `vocabulary_of` that is no
            `IdColumn`, or a `query` that is no sparse feature.
    """
    if not isinstance(columns, Sequence) or isinstance(columns, str) or not columns:
        raise InputError(f"`columns` should be a non-empty list of {', '.join(COLUMNS)}. Received {columns!r}.")
    for column in columns:
        if not isinstance(column, NumericColumn | IdColumn | SequenceColumn):
            raise InputError(f"`columns` should hold {', '.join(COLUMNS)} objects. Received {column!r}.")
    duplicates = [name for name, count in Counter(column.name for column in columns).items() if count > 1]
    if duplicates:
        raise InputError(f"Column `{duplicates[0]}` is given more than once; names must be unique.")
    ids = [column.name for column in columns if isinstance(column, IdColumn)]
    buckets = [column.name for column in columns if isinstance(column, NumericColumn) and column.scaling == "quantile"]
    for column in columns:
        if isinstance(column, SequenceColumn):
            _check_reference(column, "vocabulary_of", ids, "IdColumn")
            _check_reference(column, "query", [*ids, *buckets], "IdColumn or column of buckets")
    return tuple(columns)


def _check_reference(column: SequenceColumn, parameter: str, options: Sequence[str], kind: str) -> None:
    name = getattr(column, parameter)
    if name is not None and name not in options:
        raise InputError(
            f"Column `{column.name}` has {parameter} `{name}`, which is not an {kind}."
            f"{did_you_mean(name, options)} There are: {', '.join(options) or 'none'}."
        )


def text_columns(columns: Sequence[Column]) -> list[str]:
    """Names of the columns of ids, which are read from CSV files as text."""
    return [column.name for column in columns if not isinstance(column, NumericColumn)]


def owners(columns: Sequence[Column]) -> list[IdColumn | SequenceColumn]:
    """The columns that have ids of their own."""
    shared = [column for column in columns if isinstance(column, SequenceColumn) and column.vocabulary_of]
    return [column for column in columns if not isinstance(column, NumericColumn) and column not in shared]


def followers(columns: Sequence[Column], name: str) -> list[SequenceColumn]:
    """The columns that take their ids from column `name`."""
    return [column for column in columns if isinstance(column, SequenceColumn) and column.vocabulary_of == name]


def check_ids(column: IdColumn | SequenceColumn) -> None:
    """Raises if the parameters that both columns of ids have are out of range."""
    check_at_least(column.name, "min_count", column.min_count, 1)
    if column.hash_size is not None:
        check_at_least(column.name, "hash_size", column.hash_size, 3)
    if column.embedding_dim is not None:
        check_at_least(column.name, "embedding_dim", column.embedding_dim, 1)
    if column.embedding_name is not None:
        check_name("Embedding", column.embedding_name)


def check_at_least(owner: str, parameter: str, value: object, minimum: int) -> None:
    """Raises if a value is not an integer of at least `minimum`."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < 2**63:
        below = " and below 2**63" if isinstance(value, int) and value >= 2**63 else ""
        raise InputError(
            f"`{parameter}` of column `{owner}` should be an integer of at least {minimum}{below}. Received {value!r}."
        )
