"""Row groups of parquet files as packed rows."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from nextrec_like.data.arrow import check_columns
from nextrec_like.data.blocks import ParquetBlocks
from nextrec_like.data.groups import check_group_id, group_of
from nextrec_like.data.packed import PackedData, pack, read_labels
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import within
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet


class ParquetRows:
    """Rows of parquet files, checked, transformed and packed when they are read.

    Args:
        files: Parquet files, as `ParquetBlocks` takes them.
        features: What a model reads.
        tasks: Tasks whose labels to read; None to leave labels out.
        processor: Fitted processor that raw rows are encoded by.
        group_id: Column with the group of each row for GAUC, if it is wanted.

    Raises:
        InputError: For a damaged file, a missing column, or no rows.
    """

    def __init__(
        self,
        files: Sequence[Path],
        features: FeatureSet,
        tasks: TaskSet | None = None,
        processor: DataProcessor | None = None,
        group_id: str | None = None,
    ) -> None:
        self.features, self.tasks, self.processor = features, tasks, processor
        self.group_id = None if group_id is None else check_group_id(group_id)
        every = ParquetBlocks(files)
        self._blocks = every.select(self._columns(every.schema.names))
        encoded = set() if processor is None else {spec.name for spec in processor.columns}
        labels = [] if tasks is None else [task.column for task in tasks]
        # A label may be a column that the processor scales, and then it takes the whole row to get it.
        self._label_blocks = self._blocks if encoded & set(labels) else self._blocks.select(labels)

    @property
    def files(self) -> list[Path]:
        return self._blocks.files

    @property
    def sizes(self) -> list[int]:
        """Rows of each row group, of all files in order."""
        return [group.num_rows for group in self._blocks.row_groups]

    @property
    def fingerprint(self) -> str:
        """A digest of the footers of the files."""
        return self._blocks.fingerprint()

    def read(self, group: int, start: int, piece_rows: int, full: bool = False) -> Iterator[PackedData]:
        """The rows of a row group in pieces.

        Args:
            group: Number of the row group.
            start: First row to give, a multiple of `piece_rows`.
            piece_rows: Largest number of rows of a piece.
            full: Whether to keep what only metrics need: groups, and labels in full precision.

        Raises:
            InputError: For a row that breaks a rule, or a damaged file; names file and row group.
        """
        blocks = self._blocks.read(self._blocks.row_groups[group], piece_rows)
        for block in islice(blocks, start // piece_rows, None):
            with within(block.place):
                packed = self._pack(block.table)
            yield packed if full else PackedData(packed.rows)

    def labels(self, piece_rows: int) -> Iterator[np.ndarray]:
        """All labels in order, reading no other column, float64, shape ``(n, T)``."""
        for group in self._label_blocks.row_groups:
            for block in self._label_blocks.read(group, piece_rows):
                with within(block.place):
                    labels = self._labels(block.table)
                yield labels

    def _columns(self, names: Sequence[str]) -> list[str]:
        """Columns to read, which are all there."""
        wanted = [] if self.processor is None else [(spec.name, "column") for spec in self.processor.columns]
        wanted += [(name, "feature") for name in self.features.names]
        wanted += [(task.column, f"label of task `{task.name}`") for task in self.tasks or ()]
        wanted += [] if self.group_id is None else [(self.group_id, "group_id")]
        for name, what in wanted:
            check_columns(names, [name], what)
        return list(dict.fromkeys(name for name, _ in wanted))

    def _pack(self, table: pa.Table) -> PackedData:
        group = None if self.group_id is None else group_of(table, self.group_id, self.processor)
        table = table if self.processor is None else self.processor.transform(table)
        return pack(table, self.features, self.tasks, group)

    def _labels(self, table: pa.Table) -> np.ndarray:
        assert self.tasks is not None
        if self.processor is not None and self._label_blocks is self._blocks:
            table = self.processor.transform(table)
        return read_labels(table, self.features, self.tasks)
