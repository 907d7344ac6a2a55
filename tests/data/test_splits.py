import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nextrec_like.data.splits import split_by_group, split_by_time, split_random
from nextrec_like.errors import InputError


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {"row": np.arange(1000), "user": generator.integers(100, size=1000), "time": generator.permutation(1000)},
        index=np.arange(5000, 6000),
    )


SPLITS = [
    lambda data, **options: split_random(data, **options),
    lambda data, **options: split_by_time(data, "time", **options),
    lambda data, **options: split_by_group(data, "user", **options),
]


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_in_one_part_in_its_order_and_with_its_index(frame, split):
    before = frame.copy(deep=True)
    parts = split(frame)
    assert all(part["row"].is_monotonic_increasing for part in parts)
    pd.testing.assert_frame_equal(pd.concat(parts).sort_index(), before)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("split", SPLITS)
def test_other_data_gives_arrow_tables_with_the_same_rows(frame, split):
    expected = [part["row"].tolist() for part in split(frame)]
    for data in (pa.Table.from_pandas(frame), {name: frame[name].to_numpy() for name in frame}):
        parts = split(data)
        assert all(isinstance(part, pa.Table) for part in parts)
        assert [part["row"].to_pylist() for part in parts] == expected


@pytest.mark.parametrize("split", SPLITS[:2])
def test_parts_have_their_share_of_rows(frame, split):
    assert [len(part) for part in split(frame)] == [800, 100, 100]
    assert [len(part) for part in split(frame, fractions=(0.25, 0.75))] == [250, 750]


def test_random_split_follows_the_seed(frame):
    first, again, other = (split_random(frame, seed=seed)[0]["row"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_time_split_puts_the_oldest_first(frame):
    train, valid, test = split_by_time(frame, "time")
    assert set(train["time"]) == set(range(800))
    assert set(valid["time"]) == set(range(800, 900))
    assert set(test["time"]) == set(range(900, 1000))


def test_rows_of_equal_time_stay_together():
    # half of ten rows ends inside the run of fives, whose nearer end is position 6
    time = [1, 2, 5, 5, 5, 5, 7, 8, 9, 9]
    first, second = split_by_time({"time": time}, "time", (0.5, 0.5))
    assert first["time"].to_pylist() == time[:6]
    assert second["time"].to_pylist() == time[6:]


def test_share_that_ends_early_in_a_run_of_equal_times_moves_back():
    first, second = split_by_time({"time": [3, 1, 3, 3, 3]}, "time", (0.4, 0.6))
    assert (first["time"].to_pylist(), second["time"].to_pylist()) == ([1], [3, 3, 3, 3])


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime(["2024-01-02", "2023-05-01", "2024-01-01", "2022-01-01"]),
        pd.to_datetime(["2024-01-02", "2023-05-01", "2024-01-01", "2022-01-01"]).tz_localize("UTC"),
        [3.5, 2.0, 3.0, -1.0],
        pa.array([30, 20, 25, 1], pa.date32()),
    ],
)
def test_times_may_be_dates_or_numbers(times):
    parts = split_by_time({"time": times, "row": [0, 1, 2, 3]}, "time", (0.5, 0.5))
    assert [part["row"].to_pylist() for part in parts] == [[1, 3], [0, 2]]


def test_group_is_never_divided_and_parts_are_near_their_share(frame):
    parts = split_by_group(frame, "user")
    users = [set(part["user"]) for part in parts]
    assert sum(map(len, users)) == len(set.union(*users)) == 100
    np.testing.assert_allclose([len(part) for part in parts], [800, 100, 100], atol=15)


def test_group_split_does_not_depend_on_the_order_of_rows(frame):
    shuffled = frame.sample(frac=1, random_state=3)
    for part, other in zip(split_by_group(frame, "user", seed=4), split_by_group(shuffled, "user", seed=4)):
        assert set(part["row"]) == set(other["row"])


def test_group_split_follows_the_seed(frame):
    first, other = (set(split_by_group(frame, "user", seed=seed)[0]["user"]) for seed in (0, 1))
    assert first != other


def test_groups_may_be_strings():
    first, second = split_by_group({"user": ["a", "b"] * 3}, "user", (0.5, 0.5))
    assert {tuple(set(part["user"].to_pylist())) for part in (first, second)} == {("a",), ("b",)}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1), (1.2, -0.2), (1.0, 0.0), (1.0,), (), (float("nan"), 0.5), 0.5, ("a", "b")]
)
def test_wrong_fractions_are_an_error(frame, split, fractions):
    with pytest.raises(InputError, match=r"`fractions` should be at least two positive numbers with sum 1.*Received"):
        split(frame, fractions=fractions)


@pytest.mark.parametrize("split", SPLITS)
def test_part_without_rows_is_named(split):
    with pytest.raises(InputError, match=r"Part \d of 3 .* would have no rows of 2"):
        split({"time": [1, 2], "user": [1, 2]})


def test_times_that_are_all_equal_cannot_be_split():
    with pytest.raises(InputError, match=r"Part . of 2 .* no rows of 3.*Rows of equal time"):
        split_by_time({"time": [1, 1, 1]}, "time", (0.5, 0.5))


@pytest.mark.parametrize("seed", [-1, 1.5, None, True])
def test_wrong_seed_is_an_error(frame, seed):
    for split in (SPLITS[0], SPLITS[2]):
        with pytest.raises(InputError, match="`seed` should be a non-negative integer"):
            split(frame, seed=seed)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_time_or_group_names_the_row(missing):
    data = {"time": [1.0, missing, 2.0]}
    for split in (split_by_time, split_by_group):
        with pytest.raises(InputError, match="Column `time` has no value in row 1"):
            split(data, "time", (0.5, 0.5))


def test_time_as_text_is_an_error():
    with pytest.raises(InputError, match=r"Column `time` should hold numbers, dates or timestamps.*to_datetime"):
        split_by_time({"time": ["2024-1-9", "2024-1-10"]}, "time", (0.5, 0.5))


def test_missing_column_names_the_closest(frame):
    with pytest.raises(InputError, match=r"no column `tiem`, which is the time column\. Did you mean `time`"):
        split_by_time(frame, "tiem")
    with pytest.raises(InputError, match=r"no column `usr`, which is the group column\. Did you mean `user`"):
        split_by_group(frame, "usr")
