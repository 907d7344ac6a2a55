from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from nextrec_like.data.counts import ValueCounts


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(ValueCounts, "piece", 100)


def counts_of(values, part=None):
    counts = ValueCounts()
    for start in range(0, len(values), part or len(values)):
        counts.add(pa.chunked_array([values[start : start + (part or len(values))]]))
    return counts


def as_dict(counts):
    table = counts.table()
    assert table["value"].null_count == 0
    return dict(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True))


@pytest.mark.parametrize("part", [1, 99, 100, 101, 1_000, 5_000])
def test_counts_are_exact_however_the_values_come(part, small_pieces):
    numbers = np.random.default_rng(0).zipf(1.3, 5_000).clip(max=900)
    text = pa.array([None if number == 7 else f"v{number}" for number in numbers], pa.large_string())
    counts = counts_of(text, part)
    expected = Counter(f"v{number}" for number in numbers if number != 7)
    assert as_dict(counts) == expected
    assert as_dict(counts) == expected  # asking changes nothing
    assert counts.error == 0


def test_all_different_values_are_counted_once(small_pieces):
    assert as_dict(counts_of(pa.array(range(3_000)), 70)) == dict.fromkeys(range(3_000), 1)


def test_values_can_be_added_after_a_table():
    counts = counts_of(pa.array([1, 2]))
    counts.table()
    counts.add(pa.chunked_array([[2, 3]]))
    assert as_dict(counts) == {1: 1, 2: 2, 3: 1}


def test_integers_join_text_as_text():
    numbers, text = counts_of(pa.array([12, 12, 7])), counts_of(pa.array(["12", "a"], pa.large_string()))
    numbers.join(text)
    assert as_dict(numbers) == {"12": 3, "7": 1, "a": 1}


def test_text_without_values_makes_integers_text_and_nulls_do_not():
    numbers, blank = counts_of(pa.array([12])), counts_of(pa.array([None], pa.large_string()))
    nothing = counts_of(pa.nulls(3))
    assert nothing.table().num_rows == 0
    numbers.join(nothing)
    assert as_dict(numbers) == {12: 1}
    numbers.join(blank)
    assert as_dict(numbers) == {"12": 1}


def test_values_join_a_column_of_nulls():
    nothing = counts_of(pa.nulls(3))
    nothing.join(counts_of(pa.array([5, 5])))
    assert as_dict(nothing) == {5: 2}


@pytest.mark.parametrize("exponent", [1.1, 1.5])
def test_beyond_the_capacity_frequent_values_are_kept_with_a_bounded_error(exponent, small_pieces, monkeypatch):
    monkeypatch.setattr(ValueCounts, "capacity", 50)
    numbers = np.random.default_rng(1).zipf(exponent, 20_000)
    counts = counts_of(pa.array(numbers), 777)
    kept, true = as_dict(counts), Counter(numbers.tolist())
    assert 0 < counts.error <= 20_000 / 51
    assert len(kept) <= 50
    assert {value for value, count in true.items() if count > counts.error} <= set(kept)
    assert all(true[value] - counts.error <= count <= true[value] for value, count in kept.items())


def test_what_is_forgotten_does_not_depend_on_the_parts(small_pieces, monkeypatch):
    monkeypatch.setattr(ValueCounts, "capacity", 50)
    values = pa.array(np.random.default_rng(2).zipf(1.2, 10_000))
    assert as_dict(counts_of(values)) == as_dict(counts_of(values, 33)) == as_dict(counts_of(values, 4_000))


def test_errors_of_joined_columns_add_up(small_pieces, monkeypatch):
    monkeypatch.setattr(ValueCounts, "capacity", 40)
    parts = [np.random.default_rng(seed).zipf(1.3, 5_000) for seed in (3, 4)]
    counts = counts_of(pa.array(parts[0]))
    counts.join(counts_of(pa.array(parts[1])))
    true = Counter(np.concatenate(parts).tolist())
    assert counts.error <= 10_000 / 41
    assert all(true[value] - counts.error <= count <= true[value] for value, count in as_dict(counts).items())
    assert {value for value, count in true.items() if count > counts.error} <= set(as_dict(counts))
