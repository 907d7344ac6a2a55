"""Packed rows on disk."""

import json
import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature, Task
from nextrec_like.data import streaming
from nextrec_like.data.cache import CachedRows, cached
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import StreamedData
from nextrec_like.errors import InputWarning
from nextrec_like.features import FeatureSet
from nextrec_like.storage import atomic
from nextrec_like.tasks import TaskSet

CPU = torch.device("cpu")
FEATURES = FeatureSet(
    [DenseFeature("x")], [SparseFeature("item", 50, 4)], [SequenceFeature("hist", 50, embedding_dim=4, max_len=3)]
)
TASKS = TaskSet([Task("click"), Task("value", kind="regression")])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(streaming, "PIECE_ROWS", 7)


def write(file, num_rows=120, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "item": rng.integers(0, 50, num_rows),
        "x": rng.normal(size=num_rows),
        "hist": [rng.integers(0, 50, count).tolist() for count in rng.integers(0, 6, num_rows)],
        "click": rng.choice([0.0, 1.0, np.nan], num_rows),
        "value": rng.normal(size=num_rows),
        "user": rng.integers(-5, 5, num_rows),
    }
    pq.write_table(pa.table(columns), file, row_group_size=25)
    return file


@pytest.fixture
def source(tmp_path):
    return ParquetRows([write(tmp_path / "rows.parquet")], FEATURES, TASKS, group_id="user")


def arrays(rows):
    return [array for block in StreamedData(rows).blocks() for array in block.arrays()]


def assert_same(rows, others):
    for array, other in zip(arrays(rows), arrays(others), strict=True):
        np.testing.assert_equal(array, other)
        assert array is other is None or array.dtype == other.dtype


def test_cache_has_the_rows_of_the_files_in_the_same_orders(source, tmp_path):
    rows = cached(source, tmp_path / "cache")
    assert_same(rows, source)
    assert np.load(tmp_path / "cache" / "ids.npy").dtype == np.int32
    np.testing.assert_array_equal(*(np.concatenate(list(each.labels(7))) for each in (rows, source)))
    for start in (0, 3):
        batches = [
            list(StreamedData(each, 40).batches(16, CPU, torch.Generator().manual_seed(1), start))
            for each in (rows, source)
        ]
        assert all(torch.equal(one.ids, other.ids) for one, other in zip(*batches, strict=True))


def test_cache_is_read_the_next_time(source, tmp_path):
    cached(source, tmp_path / "cache")
    np.save(tmp_path / "cache" / "dense.npy", np.full((120, 1), 7, np.float32))
    assert next(cached(source, tmp_path / "cache").read(0, 0, 7)).rows.dense.tolist() == [[7]] * 7


@pytest.mark.parametrize("change", ["file", "features", "tasks", "group"])
def test_cache_of_something_else_is_replaced(source, tmp_path, change):
    cached(source, tmp_path / "cache")
    if change == "file":
        write(tmp_path / "rows.parquet", num_rows=90, seed=1)
    features = FeatureSet([DenseFeature("x")], [SparseFeature("item", 60, 4)]) if change == "features" else FEATURES
    tasks = TaskSet([Task("click")]) if change == "tasks" else TASKS
    group_id = None if change == "group" else "user"
    other = ParquetRows([tmp_path / "rows.parquet"], features, tasks, group_id=group_id)
    assert_same(cached(other, tmp_path / "cache"), other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "rows.parquet"]


@pytest.mark.parametrize("name", ["ids.npy", "dense.npy", "labels.npy", "group.npy", "cache.json"])
@pytest.mark.parametrize("content", [None, b"", b"garbage", b'{"format": 1}'])
def test_damaged_cache_is_written_again_with_a_warning(source, tmp_path, name, content):
    cached(source, tmp_path / "cache")
    file = tmp_path / "cache" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with pytest.warns(InputWarning, match=f"{name}`.*The cache is written again"):
        rows = cached(source, tmp_path / "cache")
    assert_same(rows, source)


def test_cache_that_is_replaced_while_it_is_read_stays_readable(source, tmp_path):
    other_source = ParquetRows([write(tmp_path / "other.parquet", seed=1)], FEATURES, TASKS, group_id="user")
    rows = cached(source, tmp_path / "cache")
    before = [piece.rows.dense.clone() for piece in rows.read(0, 0, 5)]
    other = cached(other_source, tmp_path / "cache")
    assert other.identity != rows.identity
    assert all(torch.equal(piece.rows.dense, dense) for piece, dense in zip(rows.read(0, 0, 5), before, strict=True))


@pytest.mark.parametrize(
    ("description", "others"),
    [
        ('{"my": "cache"}', ["thesis.txt"]),
        ('{"my": "cache"}', []),
        ('{"format": 1}', ["thesis.txt"]),
        (None, ["ids.npy"]),
    ],
)
def test_folder_of_something_else_is_refused_and_kept(description, others, source, tmp_path, refused):
    folder = tmp_path / "cache"
    folder.mkdir()
    for name in others:
        (folder / name).write_text("mine")
    if description is not None:
        (folder / "cache.json").write_text(description)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with refused("holds something else than a cache; give a new folder"):
        cached(source, folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_what_a_killed_training_left_is_removed_after_a_day(source, tmp_path):
    for number, age in ((1, 1.5 * 86400), (2, 3600)):
        (tmp_path / f".cache.{number}").mkdir()
        then = time.time() - age
        os.utime(tmp_path / f".cache.{number}", (then, then))
    cached(source, tmp_path / "cache")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir() and "cache" in path.name) == [
        ".cache.2",
        "cache",
    ]


def test_cache_is_on_the_disk_before_it_gets_its_name(source, tmp_path, monkeypatch):
    done, rename = [], atomic.rename
    monkeypatch.setattr(atomic, "flush", done.append)
    monkeypatch.setattr(atomic, "rename", lambda *paths: (done.append(paths), rename(*paths)))

    cached(source, tmp_path / "cache")

    part = tmp_path / f".cache.{os.getpid()}"
    files = {part / name for name in ("cache.json", "dense.npy", "group.npy", "ids.npy", "labels.npy")}
    assert set(done[:5]) == files
    assert done[5:] == [part, (part, tmp_path / "cache"), tmp_path]


def test_damage_while_reading_is_an_error(source, tmp_path, refused):
    rows = cached(source, tmp_path / "cache")
    os.truncate(tmp_path / "cache" / "dense.npy", 100)
    with refused("dense.npy` of the cache is damaged", "remove its folder"):
        list(StreamedData(rows).batches(16, CPU))
    file = tmp_path / "cache" / "cache.json"
    file.write_text(json.dumps({"format": 0}))
    with refused("cache.json` has format 0", "an older version", "remove its folder"):
        CachedRows(tmp_path / "cache", fingerprint="")


def test_folder_with_something_else_is_not_replaced(source, tmp_path, refused):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with refused("holds something else than a cache"):
        cached(source, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_pass_that_fails_leaves_nothing(source, tmp_path, refused):
    file, times = source.files[0], (source.files[0].stat().st_atime_ns, source.files[0].stat().st_mtime_ns)
    content = bytearray(file.read_bytes())
    content[40:400] = bytes(360)
    file.write_bytes(content)
    os.utime(file, ns=times)
    with refused("In row group", "rows.parquet` could not be read"):
        cached(source, tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
