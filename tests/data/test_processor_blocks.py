"""A processor fitted on parquet files, of which only a block is in memory at a time."""

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextrec_like.data import processor as processor_module
from nextrec_like.data.columns import IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.counts import ValueCounts
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, InputWarning

ROWS = 700_000
"""More than any sketch holds exactly, and more than is counted at once."""

COLUMNS = [
    NumericColumn("price"),
    NumericColumn("age", "log1p", fill_value="median"),
    NumericColumn("depth", "quantile", num_buckets=20),
    NumericColumn("width", "quantile", fill_value="mean"),
    NumericColumn("range", "min_max", fill_value=-3),
    IdColumn("city"),
    IdColumn("item", min_count=2),
    IdColumn("hashed", hash_size=100),
    SequenceColumn("seen", vocabulary_of="item", max_len=2),
    SequenceColumn("tags", separator="|"),
]


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    monkeypatch.setattr(pa, "cpu_count", lambda: 2)


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(0)
    numbers = generator.normal(1e3, 2, (5, ROWS))
    numbers[1:, ::7] = np.nan
    items = generator.integers(ROWS // 2, size=(3, ROWS))
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(0, 2 * ROWS + 1, 2, dtype=np.int32)), pa.array(items[:2].ravel())
    )
    cities = pa.array([f"city {number}" for number in range(5_000)] + [None])
    tags = pa.array(["a|b", "b", "", "c| a"])
    return pa.table(
        {
            **{
                name: pa.array(column, from_pandas=True)
                for name, column in zip(["price", "age", "depth", "width", "range"], numbers)
            },
            "city": cities.take(pa.array(generator.integers(5_001, size=ROWS))),
            "item": items[2],
            "hashed": items[0],
            "seen": lists,
            "tags": tags.take(pa.array(generator.integers(4, size=ROWS))),
            "click": items[1] % 2,
        }
    )


@pytest.fixture(scope="module")
def fitted(rows):
    return DataProcessor(COLUMNS).fit(rows)


@pytest.mark.parametrize("group_rows", [[99_999], [ROWS], [262_145, 7_001]])
def test_result_does_not_depend_on_blocks_row_groups_and_files(rows, fitted, group_rows, tmp_path):
    cuts = np.linspace(0, ROWS, len(group_rows) + 1).astype(int)
    for file, size in enumerate(group_rows):
        part = rows.slice(cuts[file], cuts[file + 1] - cuts[file])
        pq.write_table(part, tmp_path / f"{file}.parquet", row_group_size=size)
    assert DataProcessor(COLUMNS).fit(tmp_path).fingerprint == fitted.fingerprint


def test_scales_are_those_of_numpy(rows, fitted):
    price, age = rows["price"].to_numpy(), rows["age"].to_numpy()
    filled = np.log1p(np.where(np.isnan(age), np.nanmedian(age), age))
    first = fitted.transform(rows.slice(0, 100))
    np.testing.assert_allclose(first["price"], (price[:100] - price.mean()) / price.std(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first["age"], (filled[:100] - filled.mean()) / filled.std(), atol=2e-4)  # the median
    assert first["range"].to_pylist()[0] == 0.0  # filled by -3, the lowest


def test_buckets_are_equally_full(rows, fitted):
    known = np.bincount(fitted.transform(rows)["depth"].to_numpy(), minlength=22)[2:]
    expected = (ROWS - len(range(0, ROWS, 7))) / 20
    np.testing.assert_allclose(known, expected, rtol=1e-3)


def test_vocabularies_are_those_of_a_counter(rows, fitted):
    cities = Counter(city for city in rows["city"].to_pylist() if city)
    assert fitted.vocabulary("city").to_pylist() == sorted(cities, key=lambda city: (-cities[city], city))
    items = Counter(rows["item"].to_pylist() + rows["seen"].combine_chunks().flatten().to_pylist())
    expected = sorted((item for item in items if items[item] > 1), key=lambda item: (-items[item], item))
    assert fitted.vocabulary("item").to_pylist() == expected


def test_a_file_is_never_read_as_a_whole(tmp_path, monkeypatch):
    pq.write_table(pa.table({"x": ["a"], "y": [1.0]}), tmp_path / "rows.parquet")
    monkeypatch.setattr(processor_module, "read_table", None)
    processor = DataProcessor([IdColumn("x"), NumericColumn("y")])
    processor.check(tmp_path / "rows.parquet")
    assert processor.fit(str(tmp_path / "rows.parquet")).vocabulary("x").to_pylist() == ["a"]


@pytest.mark.parametrize("count", [10, 40_000])  # the latter in threads
@pytest.mark.parametrize(
    ("column", "good", "bad", "message"),
    [
        (NumericColumn("x"), 1.0, None, "Column `x`, row 3: value nan is missing or infinite"),
        (NumericColumn("x", "log1p"), 1.0, -1.0, "Column `x`, row 3: value -1.0 is not above -1"),
        (IdColumn("x"), 1.0, 2.5, "Column `x`, row 3: value 2.5 is not an exact integer"),
        (SequenceColumn("x"), [1.0], [4.0, 2.5], "Column `x`, row 3: value 2.5 is not an exact integer"),
    ],
)
def test_error_names_file_row_group_and_row(column, good, bad, message, count, tmp_path):
    file = tmp_path / "rows.parquet"
    values = [good] * count + [good] * 3 + [bad] + [good] * (count - 4)
    pq.write_table(pa.table({"x": values, "y": ["a"] * 2 * count}), file, row_group_size=count)
    processor = DataProcessor([IdColumn("y"), column])
    for use in (processor.fit, processor.check):
        with pytest.raises(InputError) as error:
            use(file)
        assert str(error.value).startswith(f"In row group 1 of `{file}`: {message}")
    assert not processor.is_fitted


def test_encoded_files_are_refused_and_need_no_check(tmp_path):
    processor = DataProcessor([IdColumn("x")])
    pq.write_table(processor.fit_transform({"x": ["a", "b"]}), tmp_path / "rows.parquet")
    processor.check(tmp_path)
    with pytest.raises(InputError, match="encoded already; fit the processor on the raw"):
        processor.fit(tmp_path)


def test_types_of_files_are_joined_as_in_memory(tmp_path):
    parts = [pa.table({"x": pa.array([7, 8], pa.int32())}), pa.table({"x": pa.nulls(2)}), pa.table({"x": [8, 9]})]
    for number, part in enumerate(parts):
        pq.write_table(part, tmp_path / f"{number}.parquet")
    assert DataProcessor([IdColumn("x")]).fit(tmp_path).vocabulary("x").to_pylist() == [8, 7, 9]
    scaled = DataProcessor([NumericColumn("x", "none", fill_value="mean")]).fit(tmp_path)
    assert scaled.transform({"x": [None]})["x"].to_pylist() == [8.0]


def test_missing_column_and_a_file_without_rows_are_errors(tmp_path):
    pq.write_table(pa.table({"city": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"no column `citi`.* Did you mean `city`"):
        DataProcessor([IdColumn("citi")]).fit(tmp_path)
    with pytest.raises(InputError, match="no rows"):
        DataProcessor([IdColumn("city")]).fit(tmp_path)


def test_too_many_values_are_warned_of_once_with_the_guarantee(tmp_path, monkeypatch):
    monkeypatch.setattr(ValueCounts, "capacity", 3)
    pq.write_table(pa.table({"x": ["a"] * 9 + ["b"] * 7 + list("cdefg")}), tmp_path / "rows.parquet", row_group_size=4)
    processor = DataProcessor([IdColumn("x")])
    with pytest.warns(InputWarning) as found:
        processor.fit(tmp_path)
    (warning,) = found
    assert "Column `x` has more than 3 different values; those in fewer than 2 rows may count as unknown" in str(
        warning.message
    )
    assert warning.filename == __file__
    assert processor.vocabulary("x").to_pylist() == ["a", "b"]


def test_unknown_values_of_all_blocks_are_warned_of_once():
    processor = DataProcessor([IdColumn("x")]).fit({"x": ["a"]})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for block in range(3):
            processor.transform(pd.DataFrame({"x": [f"b{block}"] * 200}))
    assert len(found) == 1


def test_threads_encode_as_one_thread_does(rows, fitted, monkeypatch):
    table = rows.slice(0, 50_000)
    encoded = fitted.transform(table)
    monkeypatch.setattr(pa, "cpu_count", lambda: 1)
    assert fitted.transform(table).equals(encoded, check_metadata=True)


def test_warning_from_many_columns_names_the_line_of_the_user():
    table = pa.table({"x": ["b"] * 20_000, "y": ["c"] * 20_000})
    processor = DataProcessor([IdColumn("x"), IdColumn("y")]).fit({"x": ["a"], "y": ["c"]})
    with pytest.warns(InputWarning, match="No value of column `x`") as found:
        processor.transform(table)
    assert [warning.filename for warning in found] == [__file__]
