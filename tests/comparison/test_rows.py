import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error

from nextrec_like.comparison.analysis.rows import METHODS, JudgedRows


def drawn(n, seed):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.4).astype(float)
    first, second = (np.clip(rng.random(n) * 0.5 + shift * label, 0, 1) for shift in (0.4, 0.3))
    return label, first, second, rng.integers(0, n // 8, n)


def slow_gauc(label, score, group):
    rows = [np.flatnonzero(group == each) for each in np.unique(group)]
    used = [each for each in rows if 0 < label[each].sum() < len(each)]
    return np.average([roc_auc_score(label[r], score[r]) for r in used], weights=[len(r) for r in used])


METRICS = {
    "auc": roc_auc_score,
    "logloss": log_loss,
    "mae": mean_absolute_error,
    "rmse": root_mean_squared_error,
}


def test_every_method_is_tested():
    assert set(METHODS) == {*METRICS, "gauc"}


@pytest.mark.parametrize("metric", [*METRICS, "gauc"])
def test_interval_is_around_the_difference_of_means_over_runs(metric):
    label, first, second, group = drawn(400, 0)
    third = np.sqrt(second)
    rows = JudgedRows(label, group, [metric])
    mine = rows.mean_figures([lambda: first, lambda: third])
    interval = rows.intervals(mine, rows.mean_figures([lambda: second]))[metric]
    values = [
        slow_gauc(label, each, group) if metric == "gauc" else METRICS[metric](label, each)
        for each in (first, third, second)
    ]
    assert interval.value == pytest.approx((values[0] + values[1]) / 2 - values[2])
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("metric", METRICS)
def test_interval_is_that_of_the_jackknife(metric):
    # The jackknife leaves out each row in turn; it knows nothing of placements or of the delta method.
    label, first, second, _ = drawn(400, 1)
    rows = JudgedRows(label, None, [metric])
    interval = rows.intervals(rows.mean_figures([lambda: first]), rows.mean_figures([lambda: second]))[metric]
    left = [
        METRICS[metric](np.delete(label, i), np.delete(first, i))
        - METRICS[metric](np.delete(label, i), np.delete(second, i))
        for i in range(400)
    ]
    error = np.sqrt(399 / 400 * np.square(left - np.mean(left)).sum())
    assert interval.high - interval.value == pytest.approx(1.959964 * error, rel=0.02)
    assert interval.value - interval.low == pytest.approx(1.959964 * error, rel=0.02)


def test_rows_without_a_label_are_left_out():
    label, first, second, group = drawn(300, 2)
    metrics = [*METRICS, "gauc"]
    whole = JudgedRows(label, group, metrics)
    padded = JudgedRows(np.insert(label, [0, 7, 300], np.nan), np.insert(group, [0, 7, 300], -5), metrics)
    found = whole.intervals(whole.mean_figures([lambda: first]), whole.mean_figures([lambda: second]))
    other = [np.insert(each, [0, 7, 300], 0.99) for each in (first, second)]
    assert found == padded.intervals(padded.mean_figures([lambda: other[0]]), padded.mean_figures([lambda: other[1]]))


def test_perfect_predictions_have_a_root_of_zero():
    label = np.array([0.5, 1.5, 2.5])
    rows = JudgedRows(label, None, ["rmse"])
    interval = rows.intervals(rows.mean_figures([lambda: label]), rows.mean_figures([lambda: label + 1]))["rmse"]
    assert (interval.value, interval.low, interval.high) == (-1, -1, -1)


def test_metrics_without_an_interval_on_these_rows_are_left_out():
    one_class = JudgedRows(np.array([1.0, 1.0, np.nan]), np.array([0, 0, 0]), ["auc", "gauc", "logloss", "ece"])
    assert list(one_class.methods) == ["logloss"]
    one_group = JudgedRows(np.array([1.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 2]), ["auc", "gauc"])
    assert list(one_group.methods) == ["auc"]
    assert list(JudgedRows(np.array([1.0, 0.0]), np.array([0, 0]), ["auc", "mae"]).methods) == ["mae"]
    assert JudgedRows(np.array([np.nan]), None, ["auc", "gauc", "mae"]).methods == {}


def test_coverage_of_row_means():
    rng = np.random.default_rng(3)
    true = stats.norm.cdf(0.5)  # any number: the differences below have it as their mean
    covered = 0
    for _ in range(2000):
        label = (rng.random(400) < true).astype(float)
        rows = JudgedRows(label, None, ["mae"])
        found = rows.intervals({"mae": label}, {"mae": np.zeros(400)})["mae"]
        covered += found.low <= true <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)
