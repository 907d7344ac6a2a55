"""Encoded columns as a few contiguous tensors, and batches of them."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from nextrec_like.batch import WHOLE, Batch, Share, batch_bounds
from nextrec_like.data.arrow import column
from nextrec_like.data.blocks import BLOCK_ROWS
from nextrec_like.data.checks import (
    check_children,
    check_source,
    dense_values,
    id_values,
    label_values,
    list_parts,
)
from nextrec_like.data.digest import digest_of
from nextrec_like.data.prefetch import on_device
from nextrec_like.errors import InputError
from nextrec_like.features import DenseFeature, FeatureSet, IdSlice, SequenceFeature
from nextrec_like.memory import free_memory
from nextrec_like.tasks import TaskSet


@dataclass(frozen=True)
class PackedData:
    """Rows in memory: a whole data set, or a block of one.

    Attributes:
        rows: All rows as one batch.
        labels: Labels in full precision for metrics, NaN where not observed, float64, shape ``(N, T)``.
        group: Group of each row for GAUC, any type, shape ``(N,)``; None if not asked for.
    """

    rows: Batch
    labels: np.ndarray | None = None
    group: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def nbytes(self) -> int:
        """Size in bytes."""
        tensors = (self.rows.ids, self.rows.dense, self.rows.labels)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def on(self, device: torch.device, device_data: bool | str = "auto") -> "PackedData":
        """The rows on a GPU; otherwise `batches` copies them there batch by batch.

        Args:
            device: Where the model is; rows for a CPU stay where they are.
            device_data: ``auto`` (if half of its free memory holds the rows), True (always) or False (never).

        Raises:
            InputError: If the rows have to be on the device and are larger than its free memory.
        """
        if device.type != "cuda" or device_data is False:
            return self
        size, free = self.nbytes(), free_memory(device)
        if device_data is True and size > free:
            raise InputError(
                f"The rows need {size / 2**30:.1f} GiB and {device} has {free / 2**30:.1f} GiB free; "
                f"leave `device_data` at `auto`, or set it to False."
            )
        if device_data == "auto" and size > free // 2:
            return self
        return replace(self, rows=self.rows.to(device))

    @property
    def order(self) -> str:
        """Nothing else."""
        return "over all rows in memory"

    def fingerprint(self, *, labels: bool = True) -> dict[str, str]:
        """Digests of the labels and of all values."""
        digest = f", {digest_of(self.label_blocks())}" if labels else ""
        values = [array for array in self.arrays() if array is not None]
        return {"labels": f"{len(self)} rows{digest}", "values": digest_of(values)}

    def split(self, share: float, seed: int) -> tuple["PackedData", "PackedData"]:
        """All but a share of the rows, drawn at random, and that share, each in their order.

        Raises:
            InputError: If there are too few rows for two parts.
        """
        count = round(share * len(self))
        if not 0 < count < len(self):
            raise InputError(f"`valid_split` of {share:g} leaves no row for a part of the {len(self)} rows.")
        drawn = np.random.default_rng(seed).permutation(len(self)) < count
        return self.take(np.flatnonzero(~drawn)), self.take(np.flatnonzero(drawn))

    def take(self, index: np.ndarray) -> "PackedData":
        """The rows with the given numbers, shape ``(M,)``."""
        return from_arrays([None if values is None else values.take(index, axis=0) for values in self.arrays()])

    def slice(self, start: int, stop: int) -> "PackedData":
        """Rows ``start:stop``, without a copy."""
        labels, group = (None if values is None else values[start:stop] for values in (self.labels, self.group))
        return PackedData(self.rows.slice(start, stop), labels, group)

    def arrays(self) -> list[np.ndarray | None]:
        """Ids, numbers, labels of the batch, labels in full precision, groups; without a copy."""
        tensors = (self.rows.ids, self.rows.dense, self.rows.labels)
        return [*(None if tensor is None else tensor.numpy() for tensor in tensors), self.labels, self.group]

    def blocks(self) -> Iterator["PackedData"]:
        """All rows in order, in blocks of `BLOCK_ROWS`."""
        for start, stop in batch_bounds(len(self), BLOCK_ROWS):
            yield self.slice(start, stop)

    def label_blocks(self) -> Iterator[np.ndarray]:
        """The labels in order, at most `BLOCK_ROWS` at a time, float64, shape ``(n, T)``."""
        assert self.labels is not None
        for start, stop in batch_bounds(len(self), BLOCK_ROWS):
            yield self.labels[start:stop]

    def batches(
        self,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        start: int = 0,
        share: Share = WHOLE,
    ) -> Generator[Batch, None, None]:
        """Batches on the device, in row order or, with a generator, shuffled.

        A single row that would remain at the end joins the batch before it, because batch normalisation
        cannot train on one row.

        Args:
            batch_size: Rows of a batch of all processes.
            device: Where the model is.
            generator: Gives the order; one draw per call.
            start: Batches to leave out at the beginning.
            share: What this process takes of each batch, which may be no row.
        """
        batches = self._batches(batch_size, generator, start, share)
        return batches if self.rows.ids.device.type == device.type else on_device(batches, device)

    def _batches(
        self, batch_size: int, generator: torch.Generator | None, start: int, share: Share
    ) -> Generator[Batch, None, None]:
        order = None if generator is None else torch.randperm(len(self), generator=generator)
        order = None if order is None else order.to(self.rows.ids.device)
        for bounds in batch_bounds(len(self), batch_size)[start:]:
            first, stop = share.of(*bounds)
            yield self.rows.slice(first, stop) if order is None else self.rows.rows(order[first:stop])

    def sample(self, num_rows: int, device: torch.device, generator: torch.Generator, share: Share = WHOLE) -> Batch:
        """A batch of rows drawn independently of each other, or what this process takes of it."""
        index = torch.randint(len(self), (min(num_rows, len(self)),), generator=generator)
        index = index[slice(*share.of(0, len(index)))]
        return self.rows.rows(index.to(self.rows.ids.device, non_blocking=True)).to(device)

    def spread(self, num_rows: int) -> list["PackedData"]:
        """One row, drawn with a fixed seed, of each of so many equal stretches; all rows if there are no more."""
        if num_rows >= len(self):
            return [self]
        bounds = np.arange(num_rows + 1) * len(self) // num_rows
        return [self.take(np.random.default_rng(0).integers(bounds[:-1], bounds[1:]))]


def join(parts: Sequence[PackedData]) -> PackedData:
    """The rows of all parts as one; of a single part without a copy."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.arrays() for part in parts))
    return from_arrays([None if column[0] is None else np.concatenate(column) for column in columns])


def from_arrays(arrays: Sequence[np.ndarray | None]) -> PackedData:
    """What `PackedData.arrays` gives, as rows."""
    # Rows are moved by numpy: torch would start a team of threads for each thread that calls it.
    ids, dense, rounded = (None if values is None else torch.from_numpy(values) for values in arrays[:3])
    assert ids is not None
    assert dense is not None
    return PackedData(Batch(ids, dense, rounded), *arrays[3:])


def pack(
    table: pa.Table, features: FeatureSet, tasks: TaskSet | None = None, group: np.ndarray | None = None
) -> PackedData:
    """Checks an encoded table and copies it into tensors.

    Args:
        table: Integer ids, lists of them, numbers and labels, under the names of features and label columns.
        features: What to read.
        tasks: Tasks whose labels to read; None to leave labels out.
        group: Group of each row for GAUC.

    Raises:
        InputError: Names the feature or task, the row, the value and the fix.
    """
    labels = None if tasks is None else read_labels(table, features, tasks)
    tensor = None if labels is None else torch.from_numpy(labels.astype(np.float32))
    try:
        return PackedData(Batch(_pack_ids(table, features), _pack_dense(table, features), tensor), labels, group)
    except MemoryError as error:
        raise InputError(
            f"There is no memory for {table.num_rows:,} rows of {features.num_id_columns:,} ids and "
            f"{features.dense_dim:,} numbers; lower `max_len` of sequences, or stream the rows from parquet files."
        ) from error


def _pack_ids(table: pa.Table, features: FeatureSet) -> Tensor:
    target = np.zeros((table.num_rows, features.num_id_columns), dtype=np.int64)
    for part in features.id_slices:
        if isinstance(part.feature, SequenceFeature):
            _pack_sequence(target, table, part)
        else:
            values = column(table, part.feature.name, "feature")
            target[:, part.start] = id_values(values, part.feature)
    return torch.from_numpy(target)


def _pack_sequence(target: np.ndarray, table: pa.Table, part: IdSlice) -> None:
    """Writes the newest ids of each row from the left; what remains on the right is padding, 0."""
    feature, width = part.feature, part.stop - part.start
    values, lengths = list_parts(column(table, feature.name, "feature"), feature.name)
    row = np.repeat(np.arange(len(lengths)), lengths)
    ids = id_values(values, feature, rows=row)
    first_kept = np.cumsum(lengths) - np.minimum(lengths, width)
    position = np.arange(len(ids)) - np.repeat(first_kept, lengths)
    kept = position >= 0
    target[row[kept], part.start + position[kept]] = ids[kept]


def _pack_dense(table: pa.Table, features: FeatureSet) -> Tensor:
    target, start = np.empty((table.num_rows, features.dense_dim), dtype=np.float32), 0
    for feature in features.dense:
        target[:, start : start + feature.dim] = _dense_block(table, feature)
        start += feature.dim
    return torch.from_numpy(target)


def _dense_block(table: pa.Table, feature: DenseFeature) -> np.ndarray:
    return dense_values(column(table, feature.name, "feature"), feature).reshape(table.num_rows, feature.dim)


def read_labels(table: pa.Table, features: FeatureSet, tasks: TaskSet) -> np.ndarray:
    """The checked labels of a table, NaN where not observed, float64, shape ``(N, T)``."""
    labels = np.empty((table.num_rows, len(tasks)))
    for index, task in enumerate(tasks):
        labels[:, index] = label_values(column(table, task.column, f"label of task `{task.name}`"), task)
        check_source(table.schema.field(task.column), task, features.names)
    check_children(labels, tasks)
    return labels
