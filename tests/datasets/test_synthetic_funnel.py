import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.errors import InputError

RECIPE = Path(__file__).resolve().parents[2] / "datasets" / "synthetic_funnel" / "prepare.py"


def load_recipe():
    spec = importlib.util.spec_from_file_location("prepare_synthetic_funnel", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def log():
    return synthetic_funnel(100_000, seed=0)


def assert_mean_within_four_errors(label, probability):
    error = np.sqrt((probability * (1 - probability)).sum()) / len(probability)
    assert abs(label.mean() - probability.mean()) < 4 * error


def test_equal_seeds_give_equal_logs_whatever_the_global_state():
    first = synthetic_funnel(3000, seed=5)
    np.random.seed(1)
    pd.testing.assert_frame_equal(first, synthetic_funnel(3000, seed=5))


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    synthetic_funnel(100)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_another_seed_gives_another_log():
    assert not synthetic_funnel(1000, seed=0)["user_id"].equals(synthetic_funnel(1000, seed=1)["user_id"])


@pytest.mark.parametrize("num_rows", [1, 2, 19, 1000])
def test_any_size_has_that_many_rows(num_rows):
    assert len(synthetic_funnel(num_rows)) == num_rows


@pytest.mark.parametrize("num_rows", [0, -5])
def test_no_rows_is_refused(num_rows):
    with pytest.raises(InputError, match="`num_rows` should be a positive integer"):
        synthetic_funnel(num_rows)


def test_conversions_are_among_clicks(log):
    assert set(log["click"]) == set(log["conversion"]) == {0, 1}
    assert (log["conversion"] <= log["click"]).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rates_are_those_of_a_funnel(seed):
    log = synthetic_funnel(100_000, seed)
    assert 0.08 < log["click"].mean() < 0.12
    assert 0.05 < log["conversion"].sum() / log["click"].sum() < 0.10


def test_clicks_follow_their_probability_in_each_decile(log):
    assert_mean_within_four_errors(log["click"], log["true_click"])
    for _, part in log.groupby(pd.qcut(log["true_click"], 10)):
        assert_mean_within_four_errors(part["click"], part["true_click"])


def test_conversions_of_clicked_rows_follow_their_probability(log):
    clicked = log[log["click"] == 1]
    assert_mean_within_four_errors(clicked["conversion"], clicked["true_conversion_given_click"])


def test_clicked_rows_are_a_biased_sample_of_conversion(log):
    clicked = log[log["click"] == 1]
    assert clicked["true_conversion_given_click"].mean() > 3 * log["true_conversion_given_click"].mean()
    assert (log["true_click"] < 0.005).mean() > 0.3


@pytest.mark.parametrize(("column", "exponent"), [("user_id", 0.6), ("item_id", 0.8)])
def test_frequencies_fall_as_a_power_of_the_rank(log, column, exponent):
    count = log[column].value_counts().to_numpy()[:300]
    slope = np.polyfit(np.log(np.arange(10, 300)), np.log(count[10:]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.25)


def test_history_is_a_short_list_of_known_items(log):
    items = range(1, 100_000 // 50 + 1)
    lengths = log["history"].map(len)
    assert lengths.min() == 0
    assert lengths.max() == 10
    assert all(type(item) is int and item in items for history in log["history"] for item in history)


def test_items_of_a_category_in_the_history_are_clicked_more(log):
    category_of = dict(zip(log["item_id"], log["category"]))
    rows = zip(log["history"], log["category"])
    seen = np.array([any(category_of.get(item) == category for item in history) for history, category in rows])
    assert log["click"][seen].mean() > 2 * log["click"][~seen].mean()


def test_time_increases_and_gives_the_hour(log):
    assert (log["time"].diff().dropna() > 0).all()
    assert (log["hour"] == pd.to_datetime(log["time"], unit="s").dt.hour).all()


def test_only_the_age_is_ever_missing(log):
    missing = log.isna().mean()
    assert 0.1 < missing["user_age"] < 0.2
    assert missing.drop("user_age").sum() == 0


def test_a_user_and_an_item_keep_their_attributes(log):
    assert (log.groupby("user_id")[["city", "user_age"]].nunique() <= 1).all(axis=None)
    assert (log.groupby("item_id")[["category", "brand", "price"]].nunique() == 1).all(axis=None)


def test_recipe_writes_three_disjoint_parts_in_order_of_time(tmp_path, capsys):
    load_recipe().main(["--rows", "2000", "--seed", "3", "--out", str(tmp_path)])
    train, valid, test = (pd.read_parquet(tmp_path / f"{part}.parquet") for part in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (1600, 200, 200)
    assert train["time"].max() < valid["time"].min()
    assert valid["time"].max() < test["time"].min()
    assert "1,600" in capsys.readouterr().out


def test_recipe_writes_what_the_function_returns(tmp_path):
    load_recipe().main(["--rows", "500", "--out", str(tmp_path)])
    parts = [pd.read_parquet(tmp_path / f"{part}.parquet") for part in ("train", "valid", "test")]
    written = pd.concat(parts, ignore_index=True)
    expected = synthetic_funnel(500)
    assert [list(history) for history in written.pop("history")] == expected.pop("history").tolist()
    pd.testing.assert_frame_equal(written, expected)


def test_recipe_refuses_a_log_too_short_for_three_parts(tmp_path):
    with pytest.raises(SystemExit, match="at least 10 rows"):
        load_recipe().main(["--rows", "9", "--out", str(tmp_path)])
