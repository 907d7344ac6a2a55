import hashlib
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nextrec_like.data.columns import IdColumn, NumericColumn
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, InputWarning


def encode(column, train, test=None):
    """The encoded test rows, by default the training rows, of one column."""
    processor = DataProcessor([column]).fit({column.name: train})
    return processor.transform({column.name: train if test is None else test})[column.name].to_pylist()


def hash_id(text, size):
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return 2 + int.from_bytes(digest, "little") % (size - 2)


# numbers


@pytest.mark.parametrize(("scaling", "reference"), [("standard", StandardScaler), ("min_max", MinMaxScaler)])
def test_scaling_equals_scikit_learn(scaling, reference):
    train, test = np.random.default_rng(0).normal(3, 7, (2, 200, 1))
    expected = reference().fit(train).transform(test)[:, 0]
    np.testing.assert_allclose(encode(NumericColumn("x", scaling), train[:, 0], test[:, 0]), expected, rtol=1e-5)


def test_log1p_is_the_logarithm_then_standardised():
    values = np.array([0.0, 1.0, 10.0, 1000.0])
    expected = StandardScaler().fit_transform(np.log(1 + values)[:, None])[:, 0]
    np.testing.assert_allclose(encode(NumericColumn("x", "log1p"), values), expected, rtol=1e-6)


def test_scaling_none_keeps_values_as_32_bit_numbers():
    processor = DataProcessor([NumericColumn("x", "none")]).fit({"x": [1, 2]})
    encoded = processor.transform({"x": [3, -7]})["x"]
    assert encoded.type == pa.float32()
    assert encoded.to_pylist() == [3.0, -7.0]


@pytest.mark.parametrize("scaling", ["standard", "min_max", "log1p"])
def test_constant_column_becomes_zero(scaling):
    assert encode(NumericColumn("x", scaling), [0.1] * 7) == [0.0] * 7


@pytest.mark.parametrize(("fill", "expected"), [("mean", 4.0), ("median", 2.0), (-5, -5.0)])
def test_missing_and_infinite_values_are_filled_from_training_rows(fill, expected):
    column = NumericColumn("x", "none", fill_value=fill)
    train = [1.0, 2.0, 9.0, None, float("inf")]
    assert encode(column, train, [None, float("nan"), float("-inf"), 3.0, 100.0]) == [expected] * 3 + [3.0, 100.0]


@pytest.mark.parametrize(
    "values", [[True, False], pd.Categorical([1, 0]), pd.array([1, 0], dtype="Int64"), pa.array([1, 0], pa.uint8())]
)
def test_numbers_of_any_type_are_read(values):
    assert encode(NumericColumn("x", "none"), values) == [1.0, 0.0]


@pytest.mark.parametrize(("value", "shown"), [(None, "nan"), (float("nan"), "nan"), (float("-inf"), "-inf")])
def test_missing_number_without_fill_names_row_value_and_fix(value, shown):
    with pytest.raises(InputError, match=f"Column `x`, row 1: value {shown} is missing or infinite; set `fill_value`"):
        encode(NumericColumn("x"), [1.0, value])
    with pytest.raises(InputError, match=f"Column `x`, row 1: value {shown} is missing or infinite; set `fill_value`"):
        encode(NumericColumn("x"), [1.0, 2.0], [1.0, value])


def test_log1p_of_minus_one_names_row_and_value():
    with pytest.raises(InputError, match=r"Column `x`, row 2: value -1\.0 is not above -1"):
        encode(NumericColumn("x", "log1p"), [0.0, -0.5, -1.0])


def test_number_too_large_for_32_bits_is_an_error():
    with pytest.raises(InputError, match=r"row 1: .*too large for a 32-bit number"):
        encode(NumericColumn("x", "none"), [1.0, 1e39])


@pytest.mark.parametrize("scaling", ["standard", "min_max"])
def test_numbers_too_large_to_scale_are_an_error(scaling):
    with pytest.raises(InputError, match="Column `x` has numbers too large to scale"):
        encode(NumericColumn("x", scaling), [1e308, -1e308, 3.0])


def test_numeric_column_without_a_finite_value_is_an_error():
    with pytest.raises(InputError, match="Column `x` has no finite value"):
        encode(NumericColumn("x", fill_value=0.0), [None, float("inf")])


@pytest.mark.parametrize("values", [["a", "b"], [[1], [2]], pd.to_datetime(["2024-01-01", "2024-01-02"])])
def test_numeric_column_of_another_type_is_an_error(values):
    with pytest.raises(InputError, match="Column `x` should hold numbers, but holds"):
        encode(NumericColumn("x"), values)


# buckets


def test_quantile_buckets_are_equally_full_and_open_at_both_ends():
    column = NumericColumn("x", "quantile", num_buckets=4)
    train = [1, 2, 3, 4, 5, 6, 7, 8]  # the quarters end at 2, 4 and 6
    assert encode(column, train) == [2, 2, 3, 3, 4, 4, 5, 5]
    assert encode(column, train, [-100.0, 2.0, 2.1, 100.0, None, float("nan"), float("inf")]) == [2, 2, 3, 5, 1, 1, 1]


def test_quantile_buckets_agree_with_numpy_on_continuous_values():
    values = np.random.default_rng(1).normal(size=1000)
    edges = np.sort(values)[[99, 199, 299, 399, 499, 599, 699, 799, 899]]
    assert encode(NumericColumn("x", "quantile"), values) == (2 + (values[:, None] > edges).sum(axis=1)).tolist()


def test_equal_quantile_edges_are_merged_and_no_bucket_is_empty():
    train = [0] * 8 + [1, 5]
    processor = DataProcessor([NumericColumn("x", "quantile")]).fit({"x": train})
    assert processor.transform({"x": train})["x"].to_pylist() == [2] * 8 + [3, 4]
    assert processor.vocab_size("x") == 5


def test_constant_quantile_column_is_one_bucket():
    processor = DataProcessor([NumericColumn("x", "quantile")]).fit({"x": [7, 7, 7]})
    assert processor.transform({"x": [6, 7, 8]})["x"].to_pylist() == [2, 2, 2]
    assert processor.vocab_size("x") == 3


def test_quantile_with_fill_value_buckets_the_filled_value():
    column = NumericColumn("x", "quantile", fill_value=8, num_buckets=2)
    assert encode(column, [1, 2, 3, 8], [None, 1]) == [3, 2]


# ids


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a", "c", "b", None],
        pd.Categorical(["b", "a", "c", "b", None]),
        pd.array(["b", "a", "c", "b", None], dtype="string"),
        np.array(["b", "a", "c", "b", None], dtype=object),
        pa.array(["b", "a", "c", "b", None]),
    ],
)
def test_strings_are_numbered_by_count_then_value(values):
    assert encode(IdColumn("x"), values) == [2, 3, 4, 2, 1]


@pytest.mark.parametrize(
    "values",
    [
        [30, 4, 100, 30, None],
        [30.0, 4.0, 100.0, 30.0, float("nan")],
        pd.array([30, 4, 100, 30, None], dtype="Int32"),
        pd.Categorical([30, 4, 100, 30, None]),
        pa.array([30, 4, 100, 30, None], pa.uint8()),
    ],
)
def test_integers_are_numbered_by_count_then_value(values):
    assert encode(IdColumn("x"), values) == [2, 3, 4, 2, 1]


def test_booleans_are_ids():
    assert encode(IdColumn("x"), [True, False, True]) == [2, 3, 2]


def test_vocabulary_does_not_depend_on_the_order_of_rows():
    values = np.random.default_rng(2).zipf(1.5, 500).clip(max=50).astype(str)
    first = DataProcessor([IdColumn("x")]).fit({"x": values})
    second = DataProcessor([IdColumn("x")]).fit({"x": values[::-1]})
    assert first.vocabulary("x").equals(second.vocabulary("x"))
    assert first.fingerprint == second.fingerprint


def test_unseen_value_is_unknown():
    assert encode(IdColumn("x"), ["a", "b"], ["b", "z", None]) == [3, 1, 1]


def test_value_seen_min_count_times_is_known_and_once_less_is_not():
    column = IdColumn("x", min_count=3)
    assert encode(column, ["a"] * 2 + ["b"] * 3 + ["c"] * 4, ["a", "b", "c"]) == [1, 3, 2]


def test_column_without_any_value_is_all_missing():
    assert encode(IdColumn("x"), [None, None], ["a", None]) == [1, 1]


def test_large_integers_stay_exact():
    values = [2**60, 2**60 + 1, 2**60]
    assert encode(IdColumn("x"), values) == [2, 3, 2]


@pytest.mark.parametrize("value", [1.7, float("inf"), 2.0**53])
def test_float_that_is_no_exact_integer_names_row_and_value(value):
    with pytest.raises(InputError, match=f"Column `x`, row 2: value {value} is not an exact integer"):
        encode(IdColumn("x"), [1.0, float("nan"), value])


def test_integer_above_64_bits_is_an_error():
    with pytest.raises(InputError, match="Column `x` has an integer above"):
        encode(IdColumn("x"), np.array([2**63], dtype=np.uint64))


@pytest.mark.parametrize(
    ("values", "message"),
    [([[1], [2]], "holds lists; use SequenceColumn"), ([b"a"], "holds binary"), ([pd.Timestamp(0)], "holds timestamp")],
)
def test_id_column_of_another_type_is_an_error(values, message):
    with pytest.raises(InputError, match=message):
        encode(IdColumn("x"), values)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["12", "12", "007", "-3"], [12, 7, -3, None], [2, 1, 3, 1]),
        ([12, 12, 7, -3], ["12", "007", "7", "-3", "x", None], [2, 1, 4, 3, 1, 1]),
        ([12, 12, 7], [12.0, 7.0], [2, 3]),
    ],
)
def test_integer_and_its_decimal_text_are_the_same_id(train, test, expected):
    assert encode(IdColumn("x"), train, test) == expected


@pytest.mark.parametrize(
    ("train", "test"), [(["a", "b"], [None, 3, 2]), ([5, 6], ["007"]), ([None], ["a"]), ([5], [2, 3])]
)
def test_column_without_one_known_value_is_warned_of(train, test):
    with pytest.warns(InputWarning, match="No value of column `x` is known from the training rows"):
        encode(IdColumn("x"), train, test * 100)


def test_one_new_row_is_not_warned_of(recwarn):
    encode(IdColumn("x"), ["a", "b"], ["c"])
    assert not recwarn


@pytest.mark.parametrize(("train", "test"), [(["a"], ["z", "a"]), (["a"], [None, None]), ([None], [None])])
def test_one_known_value_or_none_at_all_is_not_warned_of(train, test, recwarn):
    encode(IdColumn("x"), train, test)
    assert not recwarn.list


# hashing


def test_hashed_ids_are_those_of_blake2b():
    values = ["a", "user 7", "café", "", "a"]
    assert encode(IdColumn("x", hash_size=1000), ["other"], values) == [hash_id(value, 1000) for value in values]


def test_hashed_ids_never_change():
    assert encode(IdColumn("x", hash_size=1000), ["a", "12", None]) == [498, 823, 1]


def test_integer_and_its_text_hash_alike():
    column = IdColumn("x", hash_size=50)
    processor = DataProcessor([column]).fit({"x": ["12", "7"]})
    for values in (["12", "-7"], [12, -7], [12.0, -7.0]):
        assert processor.transform({"x": values})["x"].to_pylist() == [hash_id("12", 50), hash_id("-7", 50)]


def test_hashed_ids_fill_exactly_the_ids_from_two():
    ids = encode(IdColumn("x", hash_size=5), [str(value) for value in range(200)])
    assert set(ids) == {2, 3, 4}


def test_hashed_ids_do_not_depend_on_the_process():
    code = (
        "from nextrec_like.data.processor import DataProcessor\n"
        "from nextrec_like.data.columns import IdColumn\n"
        "rows = {'x': ['a', '12']}\n"
        "print(DataProcessor([IdColumn('x', hash_size=1000)]).fit_transform(rows)['x'].to_pylist())\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str([hash_id("a", 1000), hash_id("12", 1000)])


def test_hashed_column_of_missing_values_is_all_missing():
    assert encode(IdColumn("x", hash_size=9), [None, None]) == [1, 1]
