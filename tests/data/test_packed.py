"""From a table to contiguous tensors and batches."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature, Task
from nextrec_like.batch import Batch
from nextrec_like.data.packed import batch_bounds, pack
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

CPU = torch.device("cpu")


def packed_ids(column, feature):
    features = FeatureSet(**{"sequence" if isinstance(feature, SequenceFeature) else "sparse": [feature]})
    return pack(read_table({feature.name: column}), features).rows.ids.tolist()


def test_row_holds_ids_by_width_then_numbers_and_labels():
    features = FeatureSet(
        dense=[DenseFeature("x"), DenseFeature("y", dim=2)],
        sparse=[SparseFeature("wide", 9, 8), SparseFeature("a", 9, 4)],
        sequence=[SequenceFeature("h", 9, embedding_dim=4, max_len=2)],
    )
    columns = {"a": [1, 2], "h": [[3], [4, 5, 6]], "wide": [7, 8], "x": [0.5, 1], "y": [[1, 2], [3, 4]], "t": [1, None]}
    rows = pack(read_table(columns), features, TaskSet([Task("t")])).rows
    assert rows.ids.tolist() == [[1, 3, 0, 7], [2, 5, 6, 8]]
    assert rows.dense.tolist() == [[0.5, 1, 2], [1, 3, 4]]
    assert rows.labels[0].item() == 1
    assert rows.labels[1].isnan().item()
    assert (rows.ids.dtype, rows.dense.dtype, rows.labels.dtype) == (torch.int64, torch.float32, torch.float32)


@pytest.mark.parametrize(
    "column",
    [
        [[1, 2, 3], [], None, [4]],
        pa.array([[1, 2, 3], [], None, [4]], pa.large_list(pa.int8())),
        pa.chunked_array([[[1, 2, 3], []], [None, [4]]], pa.list_(pa.int64())),
        pa.array([[9, 9], [1, 2, 3], [], None, [4]]).slice(1),
        pd.Series([np.array([1, 2, 3]), np.array([], int), None, np.array([4])], index=[5, 5, 1, 0]),
        [[1.0, 2.0, 3.0], [], None, [4.0]],
    ],
    ids=["lists", "large", "chunks", "slice", "numpy", "whole floats"],
)
def test_newest_ids_are_kept_from_the_left_and_padded_with_0(column):
    assert packed_ids(column, SequenceFeature("h", 10, max_len=2)) == [[2, 3], [0, 0], [0, 0], [4, 0]]


def test_matrix_is_a_column_of_lists():
    assert packed_ids(np.array([[1, 2], [3, 0]]), SequenceFeature("h", 10, max_len=3)) == [[1, 2, 0], [3, 0, 0]]


def test_sequences_that_are_all_empty_are_padding():
    assert packed_ids([[], []], SequenceFeature("h", 10, max_len=2)) == [[0, 0], [0, 0]]


def test_sequences_that_are_all_missing_are_padding():
    assert packed_ids([None, None], SequenceFeature("h", 10, max_len=2)) == [[0, 0], [0, 0]]


def test_missing_fixed_size_list_is_padding_too():
    column = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2))
    assert packed_ids(column, SequenceFeature("h", 10, max_len=2)) == [[1, 2], [0, 0], [3, 4]]


@pytest.mark.parametrize(
    "column",
    [
        np.array([1, 2], np.uint8),
        [1.0, 2.0],
        pd.array([1, 2], dtype="Int64"),
        torch.tensor([1, 2]),
        pd.Series([1, 2], index=[8, 8]),
        np.array([1, 2], np.float16),
    ],
    ids=lambda column: type(column).__name__,
)
def test_any_whole_numbers_are_ids(column):
    assert packed_ids(column, SparseFeature("u", 3)) == [[1], [2]]


def test_ids_above_the_integers_of_float32_stay_exact():
    assert packed_ids([16_777_217, 2**40 + 1], SparseFeature("u", 2**41, 4)) == [[16_777_217], [2**40 + 1]]


@pytest.mark.parametrize(
    "column", [[True, False], pd.array([True, False], dtype="boolean"), [1, 0], [1.0, 0.0]], ids=str
)
def test_any_truth_values_are_labels(column):
    table = read_table({"x": [1.0, 2.0], "y": column})
    labels = pack(table, FeatureSet(dense=[DenseFeature("x")]), TaskSet([Task("y")])).rows.labels
    assert labels.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "expected"),
    [
        (6, 2, [(0, 2), (2, 4), (4, 6)]),
        (5, 2, [(0, 2), (2, 5)]),
        (5, 3, [(0, 3), (3, 5)]),
        (1, 4, [(0, 1)]),
        (3, 10, [(0, 3)]),
    ],
)
def test_single_last_row_joins_the_batch_before(num_rows, batch_size, expected):
    assert batch_bounds(num_rows, batch_size) == expected


def test_batches_of_one_row_are_all_of_one_row():
    assert batch_bounds(4, 1) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_shuffled_batches_hold_every_row_once_in_the_order_of_the_generator():
    data = pack(read_table({"x": np.arange(7.0)}), FeatureSet(dense=[DenseFeature("x")]))
    batches = list(data.batches(3, CPU, torch.Generator().manual_seed(4)))
    expected = torch.randperm(7, generator=torch.Generator().manual_seed(4))
    assert [len(batch) for batch in batches] == [3, 4]
    assert torch.cat([batch.dense for batch in batches]).flatten().tolist() == expected.tolist()


def test_batches_without_generator_keep_the_order_and_share_memory():
    data = pack(read_table({"x": np.arange(4.0)}), FeatureSet(dense=[DenseFeature("x")]))
    first, second = data.batches(2, CPU)
    assert second.dense.flatten().tolist() == [2, 3]
    assert first.dense.data_ptr() == data.rows.dense.data_ptr()
    assert data.nbytes() == 4 * 4
    assert first.labels is None


GPU = torch.device("cuda:1")
MIB = 2**20


@pytest.fixture
def gpu(monkeypatch):
    """Sets the memory of a GPU that is not there, in bytes; rows "on" it lie on the fake device ``meta``."""
    to = Batch.to
    monkeypatch.setattr(Batch, "to", lambda batch, device: to(batch, torch.device("meta") if device == GPU else device))

    def has(free, reserved=0, allocated=0):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)

    return has


def mebibyte():
    data = pack(read_table({"x": np.zeros(MIB // 4)}), FeatureSet(dense=[DenseFeature("x")]))
    assert data.nbytes() == MIB
    return data


@pytest.mark.parametrize(
    ("memory", "where"),
    [((2 * MIB,), "meta"), ((2 * MIB - 2,), "cpu"), ((0, 5 * MIB, 3 * MIB), "meta"), ((0, 5 * MIB, 4 * MIB), "cpu")],
    ids=["half of it", "more than half of it", "half of what torch holds unused", "more than half of that"],
)
def test_rows_are_on_the_gpu_if_half_of_its_free_memory_holds_them(memory, where, gpu):
    gpu(*memory)
    assert mebibyte().on(GPU).rows.dense.device.type == where


def test_rows_can_be_sent_to_the_gpu_while_all_of_its_free_memory_holds_them(gpu):
    gpu(MIB)
    assert mebibyte().on(GPU, device_data=True).rows.dense.device.type == "meta"


def test_rows_that_must_be_on_the_gpu_and_are_larger_than_it_are_refused(gpu, refused):
    gpu(MIB - 1)
    with refused("cuda:1", "GiB free", "`device_data`"):
        mebibyte().on(GPU, device_data=True)


@pytest.mark.parametrize(("device", "device_data"), [(GPU, False), (CPU, True), (CPU, "auto")])
def test_rows_stay_where_they_are_without_a_look_at_the_gpu(device, device_data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", None)
    data = mebibyte()
    assert data.on(device, device_data) is data


def test_labels_and_groups_for_metrics_stay_beside_rows_on_the_gpu(gpu):
    gpu(MIB)
    table = read_table({"x": [1.0, 2.0], "y": [0, 1]})
    data = pack(table, FeatureSet(dense=[DenseFeature("x")]), TaskSet([Task("y")]), np.array([7, 8]))
    moved = data.on(GPU)
    assert moved.rows.labels.device.type == "meta"
    assert (moved.labels.tolist(), moved.group.tolist()) == ([[0], [1]], [7, 8])
