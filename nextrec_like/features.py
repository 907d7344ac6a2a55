"""What the feature columns of a table mean."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import log2
from typing import TypeVar

from nextrec_like.errors import InputError, did_you_mean, one_of, positive_int

F = TypeVar("F")
POOLINGS = ("mean", "sum", "max", "target_attention")
MAX_PER_ROW = 2**20
"""Numbers or ids of one feature in a row; more than a million are a mistake, which would take all memory."""


def auto_embedding_dim(vocab_size: int) -> int:
    """About ``2 * vocab_size ** 0.25``, as a power of two in [4, 64] so that features share tables."""
    return 2 ** min(6, max(2, round(1 + log2(vocab_size) / 4)))


@dataclass(frozen=True)
class DenseFeature:
    """A numeric column.

    Args:
        name: Column name.
        dim: Numbers per row; more than one means a column of fixed-size lists.
    """

    name: str
    dim: int = 1

    def __post_init__(self) -> None:
        check_name("Feature", self.name)
        make_int(self, "dim")
        check_per_row("dim", f"feature `{self.name}`", self.dim)


class IdFeature:
    """What `SparseFeature` and `SequenceFeature` share: integer ids that index an embedding table."""

    name: str
    vocab_size: int
    embedding_dim: int | None
    embedding_name: str | None

    def __post_init__(self) -> None:
        check_name("Feature", self.name)
        make_int(self, "vocab_size")
        if self.embedding_dim is not None:
            make_int(self, "embedding_dim")
        if self.embedding_name is not None:
            check_name("Embedding", self.embedding_name)

    @property
    def table(self) -> str:
        """Name of the embedding rows that this feature reads; features with one name share them."""
        return self.embedding_name or self.name

    @property
    def width(self) -> int:
        """Numbers per embedding."""
        return self.embedding_dim or auto_embedding_dim(self.vocab_size)

    @property
    def num_columns(self) -> int:
        """Ids per row."""
        return 1


@dataclass(frozen=True)
class SparseFeature(IdFeature):
    """A column of integer ids in ``[0, vocab_size)``, one per row.

    Args:
        name: Column name.
        vocab_size: Number of embedding rows. Every id below it is trained, 0 too.
        embedding_dim: Width of an embedding; by default it follows from `vocab_size`.
        embedding_name: Features with the same name share one embedding table.
    """

    name: str
    vocab_size: int
    embedding_dim: int | None = None
    embedding_name: str | None = None


@dataclass(frozen=True)
class SequenceFeature(IdFeature):
    """A column with a list of integer ids per row, such as the items a user clicked before.

    Args:
        name: Column name.
        vocab_size: Number of embedding rows; ids lie in ``[0, vocab_size)`` and 0 is padding.
        max_len: Ids kept per row: the last, newest ones.
        embedding_dim: Width of an embedding; by default it follows from `vocab_size`.
        embedding_name: Features with the same name share one embedding table.
        pooling: ``mean``, ``sum`` or ``max`` over the ids of a row, or ``target_attention`` (DIN).
        query: For ``target_attention``, the sparse feature that attends to the sequence. By default the
            only one that shares the embedding table.
    """

    name: str
    vocab_size: int
    max_len: int = 50
    embedding_dim: int | None = None
    embedding_name: str | None = None
    pooling: str = "mean"
    query: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        make_int(self, "max_len")
        check_per_row("max_len", f"feature `{self.name}`", self.max_len)
        one_of(f"pooling of feature `{self.name}`", self.pooling, POOLINGS)
        if self.query is not None:
            check_name("Query", self.query)

    @property
    def num_columns(self) -> int:
        return self.max_len


@dataclass(frozen=True)
class IdSlice:
    """Where the ids of one feature lie in a packed row: columns ``start:stop``."""

    feature: SparseFeature | SequenceFeature
    start: int
    stop: int


class FeatureSet:
    """All features of a model, checked against each other, and the layout of a packed row.

    A packed row holds all ids side by side, features of one embedding width next to each other, so that
    the embeddings of one width are one gather from one slice.

    Raises:
        InputError: For duplicate names, a shared table with two vocabularies or widths, or a
            ``target_attention`` without a query, or with several to choose from.
    """

    def __init__(
        self,
        dense: Iterable[DenseFeature] | None = None,
        sparse: Iterable[SparseFeature] | None = None,
        sequence: Iterable[SequenceFeature] | None = None,
    ) -> None:
        self.dense = checked_list("dense_features", dense, DenseFeature)
        self.sparse = checked_list("sparse_features", sparse, SparseFeature)
        self.sequence = checked_list("sequence_features", sequence, SequenceFeature)
        self._check_names()
        self._check_tables()
        for feature in self.sequence:
            if feature.pooling == "target_attention":
                self.query_of(feature)

    @property
    def ids(self) -> list[SparseFeature | SequenceFeature]:
        """Sparse features, then sequence features."""
        return [*self.sparse, *self.sequence]

    @property
    def names(self) -> list[str]:
        features: list[DenseFeature | IdFeature] = [*self.dense, *self.ids]
        return [feature.name for feature in features]

    @property
    def dense_dim(self) -> int:
        """Numbers of all dense features of a row."""
        return sum(feature.dim for feature in self.dense)

    @cached_property
    def id_slices(self) -> list[IdSlice]:
        """The layout of the ids in a packed row, ordered by width."""
        slices, start = [], 0
        for feature in sorted(self.ids, key=lambda feature: feature.width):
            slices.append(IdSlice(feature, start, start + feature.num_columns))
            start += feature.num_columns
        return slices

    @property
    def num_id_columns(self) -> int:
        """Ids of a packed row."""
        return sum(feature.num_columns for feature in self.ids)

    def query_of(self, feature: SequenceFeature) -> SparseFeature:
        """The sparse feature that attends to a sequence with ``target_attention``."""
        by_name = {sparse.name: sparse for sparse in self.sparse}
        if feature.query is not None and feature.query not in by_name:
            raise InputError(
                f"Feature `{feature.name}` has query `{feature.query}`, which is not a sparse feature."
                f"{did_you_mean(feature.query, by_name)} Sparse features: {', '.join(by_name) or 'none'}."
            )
        candidates = [by_name[feature.query]] if feature.query is not None else self._sharing(feature)
        if not candidates:
            raise InputError(
                f"Feature `{feature.name}` uses target_attention, but no sparse feature shares its embedding "
                f"`{feature.table}`; set `query` to the sparse feature that attends, or a common `embedding_name`."
            )
        if len(candidates) > 1:
            names = ", ".join(f"`{sparse.name}`" for sparse in candidates)
            raise InputError(
                f"Feature `{feature.name}` uses target_attention, and several sparse features share its embedding "
                f"`{feature.table}`: {names}; set `query` to the one that attends."
            )
        if candidates[0].width != feature.width:
            raise InputError(
                f"Feature `{feature.name}` has embedding_dim {feature.width} and its query "
                f"`{candidates[0].name}` has {candidates[0].width}; target_attention needs equal widths."
            )
        return candidates[0]

    def _sharing(self, feature: SequenceFeature) -> list[SparseFeature]:
        return [sparse for sparse in self.sparse if sparse.table == feature.table]

    def _check_names(self) -> None:
        if not self.names:
            raise InputError("A model needs at least one feature; dense, sparse and sequence features are all empty.")
        duplicates = [name for name, count in Counter(self.names).items() if count > 1]
        if duplicates:
            raise InputError(f"Feature `{duplicates[0]}` is defined more than once; names must be unique.")

    def _check_tables(self) -> None:
        first: dict[str, IdFeature] = {}
        for feature in self.ids:
            other = first.setdefault(feature.table, feature)
            for attribute in ("vocab_size", "width"):
                ours, theirs = getattr(feature, attribute), getattr(other, attribute)
                if ours != theirs:
                    word = "embedding_dim" if attribute == "width" else attribute
                    raise InputError(
                        f"Features `{other.name}` and `{feature.name}` share the embedding `{feature.table}` but "
                        f"have {word} {theirs} and {ours}; give both the same, or different embedding names."
                    )


def check_name(kind: str, name: object) -> None:
    """Raises if a name is not a non-empty string."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{kind} name should be a non-empty string. Received {name!r}.")


def make_int(feature: DenseFeature | IdFeature, field: str) -> None:
    """Turns a field into an int, so that numpy integers are welcome; raises if it is not a positive integer."""
    value = positive_int(f"`{field}` of feature `{feature.name}`", getattr(feature, field))
    object.__setattr__(feature, field, value)


def check_per_row(parameter: str, owner: str, value: int) -> None:
    """Raises if a feature would have more numbers in a row than any has."""
    if value > MAX_PER_ROW:
        raise InputError(f"`{parameter}` of {owner} should be at most {MAX_PER_ROW:,}. Received {value}.")


def checked_list(parameter: str, features: Iterable[F] | None, kind: type[F]) -> list[F]:
    """The features as a list.

    Raises:
        InputError: If one is of another kind.
    """
    if features is not None and not isinstance(features, Iterable):
        raise InputError(f"`{parameter}` should be a list of {kind.__name__} objects. Received {features!r}.")
    listed = list(features or ())
    for feature in listed:
        if not isinstance(feature, kind):
            raise InputError(f"`{parameter}` should hold {kind.__name__} objects. Received {feature!r}.")
    return listed
