"""Gradients of embedding tables that have the size of a batch and not of the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from nextrec_like.layers import Lookup, select_rows


class Table(Protocol):
    """An embedding table whose look-up can be replaced."""

    weight: nn.Parameter
    lookup: Lookup


@dataclass(frozen=True)
class RowGradient:
    """The gradient of a table on the rows that a step has read; it is zero on all others.

    Attributes:
        rows: Row numbers, int64, shape ``(n,)``.
        values: Their gradients, shape ``(n, H)``.
        source: For each row the position of its gradient in `values`, shape ``(n,)``, where rows repeat; all entries of
            one row have the same source, and entries of `values` that are no source are zero. None: each row once.
    """

    rows: Tensor
    values: Tensor
    source: Tensor | None

    @property
    def by_row(self) -> Tensor:
        """The whole gradient of each entry of `rows`, shape ``(n, H)``."""
        return self.values if self.source is None else self.values.index_select(0, self.source)


class TableRows:
    """What the steps of a training read of one table.

    In a look-up the rows become a leaf of the graph, so that neither the backward pass nor a norm costs more for a
    larger table. On a GPU nothing may wait to learn how many rows are distinct, so there rows may repeat.

    Args:
        table: The table.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._leaves: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._gradient: RowGradient | None = None
        self._place: Tensor | None = None
        self._dense: Tensor | None = None
        self._written: Tensor | None = None

    @property
    def weight(self) -> nn.Parameter:
        """All rows, shape ``(V, H)``."""
        return self.table.weight

    def lookup(self, weight: Tensor, rows: Tensor) -> Tensor:
        """The embeddings of rows, ``(V, H), (B, C) -> (B, C, H)``, as a function of a leaf."""
        if not (torch.is_grad_enabled() and weight.requires_grad):
            return select_rows(weight, rows)
        flat = rows.flatten()
        distinct, position, repeats = self._distinct(flat)
        leaf = weight.detach().index_select(0, distinct).requires_grad_()  # (n, H)
        self._leaves.append((distinct, leaf, position if repeats else None))
        return select_rows(leaf, position.view(rows.shape))

    def gradient(self) -> RowGradient | None:
        """The gradient that backward passes have left since `clear`; None without one."""
        if self._gradient is None:
            parts = [(rows, leaf.grad, source) for rows, leaf, source in self._leaves if leaf.grad is not None]
            if self.weight.grad is not None:  # of a model that reads the table in other ways as well
                parts.append((torch.arange(len(self.weight), device=self.weight.device), self.weight.grad, None))
            if parts:
                self._gradient = self._joined(parts)
        return self._gradient

    def own_gradient(self) -> tuple[Tensor, Tensor]:
        """Row numbers and their gradients, `gradient` as a message; no rows without one."""
        gradient = self.gradient()
        if gradient is None:
            return torch.empty(0, dtype=torch.int64, device=self.weight.device), self.weight.detach()[:0]
        return gradient.rows, gradient.values

    def take_joint(self, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Replaces the gradient by that of all processes.

        Args:
            parts: `own_gradient` of each.
        """
        parts = [part for part in parts if len(part[0])]
        self._gradient = self._joined([(*part, None) for part in parts], several=True) if parts else None

    def write_dense(self) -> None:
        """Gives the table a gradient of its full size, for optimizers that update all rows."""
        gradient = self.gradient()
        if gradient is None:
            return
        if self._dense is None or self._dense.device != self.weight.device:
            self._dense = torch.zeros_like(self.weight)
        self._dense.index_copy_(0, gradient.rows, gradient.by_row)
        self._written = gradient.rows
        self.weight.grad = self._dense

    def clear(self) -> None:
        """Forgets the step; what `write_dense` has written becomes zero again."""
        if self._written is not None:
            assert self._dense is not None
            self._dense.index_fill_(0, self._written, 0)
            self._written = None
        self.weight.grad = None
        self._leaves.clear()
        self._gradient = None

    def release(self) -> None:
        """Frees what is kept between steps."""
        self.clear()
        self._place = self._dense = None

    def _joined(self, parts: Sequence[tuple[Tensor, Tensor, Tensor | None]], *, several: bool = False) -> RowGradient:
        if len(parts) == 1 and not several:
            return RowGradient(*parts[0])
        distinct, position, repeats = self._distinct(torch.cat([rows for rows, _, _ in parts]))
        joined = parts[0][1].new_zeros(len(distinct), self.weight.shape[1])
        for place, (_, values, _) in zip(position.split([len(rows) for rows, _, _ in parts]), parts):
            if repeats:
                joined.index_add_(0, place, values)
            else:  # each row of a part is there once, which is faster
                joined.index_copy_(0, place, joined.index_select(0, place).add_(values))
        return RowGradient(distinct, joined, position if repeats else None)

    def _distinct(self, rows: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Rows to gather, for each given row its position among them, and whether they may repeat.

        Each row writes its position into a map as large as the table, and reads which one remained: without a sort.
        """
        if self._place is None or self._place.device != rows.device:
            self._place = torch.empty(len(self.weight), dtype=torch.int64, device=rows.device)
        number = torch.arange(len(rows), device=rows.device)
        self._place.scatter_(0, rows, number)
        first = self._place.index_select(0, rows)  # for equal rows the same one of their positions
        if rows.device.type != "cpu":
            return rows, first, True
        kept = (first == number).nonzero().squeeze(1)
        rank = torch.empty_like(number).index_copy_(0, kept, number[: len(kept)])
        return rows.index_select(0, kept), rank.index_select(0, first), False
