"""Rows that are read from files in each epoch."""

from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nextrec_like import DenseFeature, InputError, SequenceFeature, SparseFeature, Task
from nextrec_like.data import streaming
from nextrec_like.data.columns import IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.groups import group_of
from nextrec_like.data.packed import PackedData, pack
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.streaming import StreamedData
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet
from nextrec_like.training.callbacks import Callback

CPU = torch.device("cpu")
FEATURES = FeatureSet(
    [DenseFeature("x"), DenseFeature("pair", dim=2)],
    [SparseFeature("row", 1000, 4), SparseFeature("item", 50, 4)],
    [SequenceFeature("hist", 50, embedding_dim=4, max_len=3)],
)
TASKS = TaskSet([Task("click"), Task("buy", parent="click")])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(streaming, "PIECE_ROWS", 7)


def make_rows(num_rows, seed=0):
    """Row numbers and random columns; some labels are missing."""
    rng = np.random.default_rng(seed)
    click = rng.integers(0, 2, num_rows).astype(float)
    return pa.table(
        {
            "row": np.arange(num_rows),
            "item": rng.integers(0, 50, num_rows),
            "x": rng.normal(size=num_rows),
            "pair": list(rng.normal(size=(num_rows, 2))),
            "hist": [rng.integers(0, 50, count).tolist() for count in rng.integers(0, 6, num_rows)],
            "click": click,
            "buy": np.where(rng.random(num_rows) < 0.2, np.nan, click * rng.integers(0, 2, num_rows)),
            "user": [f"u{number}" for number in rng.integers(0, 9, num_rows)],
        }
    )


def write(folder, table, files=1, group_rows=20):
    """The rows in several files of row groups of unequal sizes."""
    cuts = np.linspace(0, table.num_rows, files + 1).astype(int)
    paths = [folder / f"{number}.parquet" for number in range(files)]
    for number, (path, start, stop) in enumerate(zip(paths, cuts, cuts[1:])):
        pq.write_table(table.slice(start, stop - start), path, row_group_size=group_rows + number)
    return paths


def stream(paths, shuffle_rows=50, **options):
    return StreamedData(ParquetRows(paths, FEATURES, TASKS, **options), shuffle_rows)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def row_numbers(batches):
    return [batch.ids[:, 0].tolist() for batch in batches]


def same(batch, other):
    pairs = zip((batch.ids, batch.dense, batch.labels), (other.ids, other.dense, other.labels))
    return all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize(("num_rows", "batch_size"), [(101, 10), (100, 10), (97, 64), (5, 100), (30, 1)])
@pytest.mark.parametrize("files", [1, 3])
def test_batches_in_order_are_those_of_the_packed_table(tmp_path, num_rows, batch_size, files):
    table = make_rows(num_rows)
    rows, packed = stream(write(tmp_path, table, files)), pack(table, FEATURES, TASKS)
    found, expected = list(rows.batches(batch_size, CPU)), list(packed.batches(batch_size, CPU))
    assert len(rows) == num_rows
    assert len(found) == len(expected)
    assert all(map(same, found, expected))


@pytest.mark.parametrize("num_rows", [1, 2, 49, 101, 237])
@pytest.mark.parametrize("files", [1, 4])
@pytest.mark.parametrize("shuffle_rows", [1, 16, 50, 1000])
def test_shuffled_epoch_has_every_row_once(tmp_path, num_rows, files, shuffle_rows):
    table = make_rows(num_rows)
    batches = list(stream(write(tmp_path, table, min(files, num_rows)), shuffle_rows).batches(16, CPU, seeded()))
    order = list(chain(*row_numbers(batches)))
    packed = pack(table.take(order), FEATURES, TASKS)
    assert sorted(order) == list(range(num_rows))
    assert all(map(same, batches, packed.batches(16, CPU)))
    assert num_rows < 49 or order != list(range(num_rows))


def test_order_follows_from_the_seed_and_changes_with_each_epoch(tmp_path):
    paths, generator = write(tmp_path, make_rows(200), 2), seeded()
    first, second = (row_numbers(stream(paths).batches(16, CPU, generator)) for _ in range(2))
    assert first != second
    assert first == row_numbers(stream(paths).batches(16, CPU, seeded()))
    assert row_numbers(stream(paths).batches(7, CPU, seeded()))[0] == first[0][:7]


def test_shuffling_mixes_row_groups(tmp_path):
    batch = next(stream(write(tmp_path, make_rows(400), group_rows=100), 32).batches(32, CPU, seeded()))
    assert torch.bincount(batch.ids[:, 0] // 100).tolist() == [8, 8, 8, 8]


def features_of(num_ids, num_dense, max_len=0):
    sequences = [SequenceFeature("s", 9, max_len=max_len)] if max_len else []
    numbers = [DenseFeature(f"x{number}") for number in range(num_dense)]
    return FeatureSet(numbers, [SparseFeature(f"id{number}", 9) for number in range(num_ids)], sequences)


@pytest.mark.parametrize(
    ("features", "bytes_of_row", "rows"),
    [
        (features_of(10, 5), 10 * 8 + 5 * 4 + 2 * 12, 524_288),
        (features_of(100, 0, max_len=200), 300 * 8 + 2 * 12, 55_370),  # 2**27 / 2424
        (features_of(1, 0, max_len=10_000), 10_001 * 8 + 2 * 12, 8_192),
    ],
)
def test_window_of_wide_rows_has_fewer_rows(features, bytes_of_row, rows):
    assert streaming.row_bytes(features, TASKS) == bytes_of_row
    assert streaming.row_bytes(features, None) == bytes_of_row - 24
    assert streaming.window_rows(features, TASKS) == rows


def test_row_bytes_are_those_of_packed_rows():
    packed = pack(make_rows(100), FEATURES, TASKS)
    assert 100 * streaming.row_bytes(FEATURES, TASKS) == packed.nbytes() + packed.labels.nbytes


@pytest.mark.parametrize(("shuffle_rows", "piece_rows"), [(3, 1), (80, 10), (799, 99), (8000, 100)])
def test_row_groups_are_read_in_eighths_of_a_window(tmp_path, monkeypatch, shuffle_rows, piece_rows):
    monkeypatch.setattr(streaming, "PIECE_ROWS", 2**16)
    rows = stream(write(tmp_path, make_rows(300), group_rows=100), shuffle_rows)
    assert len(rows.sample(300, CPU, seeded())) == piece_rows  # all rows at hand


class Order(Callback):
    def on_epoch_end(self, trainer):
        self.order = trainer.train_data.order


def test_training_in_windows_of_fewer_rows_is_the_same_from_a_cache(tmp_path, monkeypatch, build, table, train):
    monkeypatch.setattr(streaming, "SHUFFLE_BYTES", 84 * 40)
    monkeypatch.setattr(streaming, "FEWEST_SHUFFLE_ROWS", 8)
    pq.write_table(read_table(table), tmp_path / "rows.parquet", row_group_size=50)
    weights = []
    for cache in (None, tmp_path / "cache"):
        seen, model = Order(), build()  # a row has 6 ids, 3 numbers and 2 labels: 84 bytes
        train(model=model, data=tmp_path / "rows.parquet", streaming=True, cache_dir=cache, callbacks=[seen])
        assert seen.order.startswith("streamed in windows of 40 from 5 row groups")
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("start", [0, 1, 4, 9, 12, 13])
@pytest.mark.parametrize("shuffled", [True, False])
def test_resumed_epoch_is_the_rest_of_the_whole_one(tmp_path, start, shuffled):
    rows = stream(write(tmp_path, make_rows(206), 3))
    whole, rest = (row_numbers(rows.batches(16, CPU, seeded() if shuffled else None, at)) for at in (0, start))
    assert len(whole) == 13
    assert rest == whole[start:]


def test_row_groups_before_the_start_are_not_read(tmp_path):
    paths = write(tmp_path, make_rows(200), 4)
    rows = stream(paths)
    whole = row_numbers(rows.batches(10, CPU))
    paths[0].unlink()
    assert row_numbers(rows.batches(10, CPU, start=6)) == whole[6:]


@pytest.mark.parametrize("block_rows", [16, 1000])
def test_blocks_have_labels_and_groups_of_the_table(tmp_path, monkeypatch, block_rows):
    monkeypatch.setattr(streaming, "BLOCK_ROWS", block_rows)
    table = make_rows(97)
    rows = stream(write(tmp_path, table, 3), group_id="user")
    blocks, labels = list(rows.blocks()), pack(table, FEATURES, TASKS).labels
    assert [len(block) for block in blocks] == ([16] * 5 + [17] if block_rows == 16 else [97])
    np.testing.assert_array_equal(np.concatenate([block.labels for block in blocks]), labels)
    np.testing.assert_array_equal(np.concatenate(list(rows.label_blocks())), labels)
    groups = np.concatenate([block.group for block in blocks])
    assert len(set(zip(groups, table["user"].to_pylist()))) == len(set(groups)) == 9


def test_groups_of_text_and_numbers_mean_the_same_in_all_tables():
    for values in (["a", "b", "a"], [2**60, -1, 2**60], [0.5, 1.5, 0.5], [True, False, True]):
        whole = group_of(pa.table({"g": values}), "g", None)
        parts = [group_of(pa.table({"g": values[at : at + 1]}), "g", None) for at in range(3)]
        assert whole.tolist() == np.concatenate(parts).tolist()
        assert whole[0] == whole[2] != whole[1]
    assert group_of(pa.table({"g": [7, -3]}), "g", None).tolist() == [7, -3]
    assert group_of(pa.table({"g": pa.array(["a", "b"]).dictionary_encode()}), "g", None).tolist() == (
        group_of(pa.table({"g": ["a", "b"]}), "g", None).tolist()
    )


def test_processor_encodes_each_block_as_it_encodes_the_table(tmp_path):
    table = make_rows(150)
    processor = DataProcessor([IdColumn("user"), NumericColumn("x"), NumericColumn("click"), SequenceColumn("hist")])
    processor.fit(table.slice(0, 100))
    features, tasks = FeatureSet(*processor.features().values()), TaskSet([Task("click", kind="regression")])
    rows = StreamedData(ParquetRows(write(tmp_path, table, 2), features, tasks, processor))
    packed = pack(processor.transform(table), features, tasks)
    assert all(map(same, rows.batches(16, CPU), packed.batches(16, CPU)))
    np.testing.assert_array_equal(np.concatenate(list(rows.label_blocks())), packed.labels)


def test_sample_draws_from_the_rows_at_hand(tmp_path):
    rows = stream(write(tmp_path, make_rows(200), group_rows=40), 50)
    assert set(rows.sample(5, CPU, seeded()).ids[:, 0].tolist()) < set(range(7))
    batches = rows.batches(10, CPU, seeded())
    near = [next(batches) for _ in range(5)]
    drawn = rows.sample(30, CPU, seeded(1)).ids[:, 0]
    assert len(drawn) == 30
    assert set(drawn.tolist()) <= set(chain(*row_numbers(near)))


FAULTS = {
    "gone": lambda file: file.unlink(),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "replaced": lambda file: pq.write_table(make_rows(5), file),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_file_that_changes_within_an_epoch_is_an_error_and_ends_the_thread(tmp_path, fault, refused, own_threads):
    paths = write(tmp_path, make_rows(300), 3)
    batches = stream(paths).batches(10, CPU)
    next(batches)
    FAULTS[fault](paths[-1])
    with refused("2.parquet`"):
        list(batches)
    assert own_threads() == 0


def test_row_that_breaks_a_rule_is_named_with_file_and_row_group(tmp_path, refused, own_threads):
    table = make_rows(60)
    items = table["item"].to_numpy().copy()
    items[45] = 99
    paths = write(tmp_path, table.set_column(1, "item", pa.array(items)), group_rows=20)
    with refused("In row group 2 of `", "0.parquet`: Feature `item` has value 99 in row 5, which lies outside [0, 50)"):
        list(stream(paths).batches(10, CPU, seeded()))
    assert own_threads() == 0


def test_missing_columns_are_errors_before_any_row_is_read(tmp_path, refused):
    paths = write(tmp_path, make_rows(20))
    with refused("The table has no column `likes`, which is the label of task `like`"):
        ParquetRows(paths, FEATURES, TaskSet([Task("like", label="likes")]))
    with refused("The table has no column `z`, which is a feature"):
        ParquetRows(paths, FeatureSet([DenseFeature("z")]), TASKS)
    with refused("The table has no column `usr`", "Did you mean `user`?"):
        ParquetRows(paths, FEATURES, TASKS, group_id="usr")


@pytest.mark.parametrize("shuffled", [True, False])
def test_no_thread_is_left(tmp_path, shuffled, own_threads):
    rows = stream(write(tmp_path, make_rows(300), 2))
    for _ in rows.batches(10, CPU, seeded() if shuffled else None):
        assert own_threads() == 1
        break
    list(rows.batches(10, CPU))
    list(rows.blocks())
    next(rows.blocks())
    assert own_threads() == 0


def test_rows_stay_in_their_files_on_a_cpu(tmp_path):
    rows = stream(write(tmp_path, make_rows(20)))
    assert rows.on(CPU, True) is rows
    with pytest.raises(InputError, match="not kept on the device"):
        rows.on(torch.device("cuda"), True)


def test_packed_rows_resume_and_come_in_blocks_alike():
    packed = pack(read_table(make_rows(33)), FEATURES, TASKS)
    whole, rest = (row_numbers(packed.batches(8, CPU, seeded(), start)) for start in (0, 2))
    assert rest == whole[2:]
    assert [len(block) for block in packed.blocks()] == [33]
    assert isinstance(next(packed.blocks()), PackedData)
