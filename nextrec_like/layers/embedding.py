"""From a packed row to one vector: embeddings of ids, pooled sequences, numbers."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nextrec_like.batch import Batch
from nextrec_like.features import FeatureSet, IdSlice, SequenceFeature
from nextrec_like.layers.pooling import POOLINGS
from nextrec_like.memory import memory_of_process

INITIAL_STD = 0.05
"""Standard deviation of initial embeddings."""
WHOLE_SHARE = 1 / 2
"""Share of the available memory that a table may take; a larger one is not made, until processes share it out."""

Lookup: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Embeddings of rows of a table, ``(V, H), (B, C) -> (B, C, H)``."""


def select_rows(weight: Tensor, rows: Tensor) -> Tensor:
    """The rows with these numbers, ``(V, H), (B, C) -> (B, C, H)``."""
    if weight.device.type != "cpu":
        return F.embedding(rows, weight)  # its backward pass is deterministic on a GPU
    return weight.index_select(0, rows.flatten()).unflatten(0, rows.shape)  # and the backward of this is faster


class EmbeddingTable(nn.Module):
    """The rows of all features of one width in one tensor, so that they are read by one gather.

    Args:
        slices: Where the ids of these features lie in a packed row; they are neighbours.

    Attributes:
        lookup: How rows are read; a training replaces it, to have their gradient without the rest of the table.
        blocks: By `embedding_name` the numbers of its rows.
        padding: The rows that are the padding of sequences.
        weight: All rows, shape ``(V, H)``; ``(0, H)`` if they do not fit, or processes have shared them out.
        saved: Folder with the parts of a saved table that does not fit.
    """

    def __init__(self, slices: list[IdSlice]) -> None:
        super().__init__()
        self.lookup: Lookup = select_rows
        self.dim = slices[0].feature.width
        self.start, self.stop = slices[0].start, slices[-1].stop
        vocab_sizes = {part.feature.table: part.feature.vocab_size for part in slices}
        first_row = dict(zip(vocab_sizes, _first_rows(list(vocab_sizes.values()))))
        self.blocks = {name: range(first_row[name], first_row[name] + size) for name, size in vocab_sizes.items()}
        self.num_rows = sum(vocab_sizes.values())
        self.saved: Path | None = None
        offsets = [first_row[part.feature.table] for part in slices for _ in range(part.feature.num_columns)]
        self.offsets: Tensor
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)
        self.padding = sorted({first_row[part.feature.table] for part in slices if _is_sequence(part)})
        fits = self.num_rows * self.dim * torch.float32.itemsize <= WHOLE_SHARE * memory_of_process()
        self.weight = nn.Parameter(torch.empty(self.num_rows if fits else 0, self.dim))
        self.reset_parameters()

    @property
    def is_whole(self) -> bool:
        """Whether all rows are here."""
        return len(self.weight) == self.num_rows

    def reset_parameters(self) -> None:
        """Small random rows; zero for the padding of sequences."""
        if self.is_whole:
            nn.init.normal_(self.weight, std=INITIAL_STD)
            with torch.no_grad():
                self.weight[self.padding] = 0

    def forward(self, ids: Tensor) -> Tensor:
        return self.lookup(self.weight, ids[:, self.start : self.stop] + self.offsets)  # (B, C, H)


class FeatureEmbedding(nn.Module):
    """All features of a row as one vector, ``Batch -> (B, D)``."""

    def __init__(self, features: FeatureSet) -> None:
        super().__init__()
        by_width = [list(group) for _, group in groupby(features.id_slices, key=lambda part: part.feature.width)]
        self.tables = nn.ModuleList(EmbeddingTable(slices) for slices in by_width)
        self.pools = nn.ModuleList(SequencePools(slices, features) for slices in by_width)
        pooled_dim = sum(feature.width for feature in features.ids)
        self.out_dim = pooled_dim + features.dense_dim

    def forward(self, batch: Batch) -> Tensor:
        parts = [pool(batch.ids, table(batch.ids)) for table, pool in zip(self.tables, self.pools)]
        return torch.cat([*parts, batch.dense], dim=1) if parts else batch.dense  # (B, D)


class SequencePools(nn.Module):
    """Pools the sequences among the embeddings of one table, ``(B, C), (B, C', H) -> (B, F * H)``."""

    def __init__(self, slices: list[IdSlice], features: FeatureSet) -> None:
        super().__init__()
        start, dim = slices[0].start, slices[0].feature.width
        column = {part.feature.name: part.start - start for part in slices}
        self.num_sparse = sum(not _is_sequence(part) for part in slices)
        self.sequences = [part for part in slices if _is_sequence(part)]
        self.first = start
        self.queries: list[int | None] = []
        poolings = []
        for part in self.sequences:
            feature = part.feature
            assert isinstance(feature, SequenceFeature)
            attends = feature.pooling == "target_attention"
            self.queries.append(column[features.query_of(feature).name] if attends else None)
            poolings.append(POOLINGS[feature.pooling](dim))
        self.poolings = nn.ModuleList(poolings)

    def forward(self, ids: Tensor, embedded: Tensor) -> Tensor:
        parts = [embedded[:, : self.num_sparse].flatten(1)]  # (B, F' * H)
        for part, query, pooling in zip(self.sequences, self.queries, self.poolings):
            mask = ids[:, part.start : part.stop] != 0  # (B, L)
            sequence = embedded[:, part.start - self.first : part.stop - self.first]  # (B, L, H)
            parts.append(pooling(sequence, mask, None if query is None else embedded[:, query]))  # (B, H)
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _first_rows(vocab_sizes: list[int]) -> list[int]:
    return [sum(vocab_sizes[:index]) for index in range(len(vocab_sizes))]


def _is_sequence(part: IdSlice) -> bool:
    return isinstance(part.feature, SequenceFeature)
