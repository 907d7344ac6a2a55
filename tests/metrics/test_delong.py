from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from nextrec_like.errors import InputError
from nextrec_like.metrics import UndefinedMetricError, auc_difference_interval, auc_interval, placements
from nextrec_like.metrics.delong import placement_interval


def slow_components(label, score):
    """V10 and V01 of the paper, by all pairs."""
    above, below = score[label == 1], score[label == 0]
    order = (above[:, None] > below[None, :]) + 0.5 * (above[:, None] == below[None, :])
    return order.mean(axis=1), order.mean(axis=0)


def slow_difference(label, score, other):
    """Difference and variance by the covariance matrices of the paper, eq. 5 and 6."""
    pairs = [slow_components(label, each) for each in (score, other)]
    v10, v01 = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
    covariance = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    contrast = np.array([1, -1])
    return contrast @ v10.mean(axis=1), contrast @ covariance @ contrast


def drawn(n, rate, num_scores, seed):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < rate).astype(float)
    label[:4] = (0, 1, 0, 1)
    score = np.round((rng.random(n) + 0.3 * label) * num_scores) / num_scores
    other = np.round((rng.random(n) + score) * num_scores) / num_scores
    return label, score, other


def test_placements_by_hand():
    # Negatives 0.2, 0.5, 0.5; positives 0.5 (above one, ties with two) and 0.9 (above all).
    label, score = [0, 1, 0, 1, 0], [0.5, 0.5, 0.2, 0.9, 0.5]
    assert placements(label, score) == pytest.approx([0.75, 2 / 3, 1.0, 1.0, 0.75])


@pytest.mark.parametrize("n", [5, 60, 900])
@pytest.mark.parametrize("rate", [0.5, 0.05])
@pytest.mark.parametrize("num_scores", [1, 4, 10**9])
def test_placements_and_intervals_equal_all_pairs(n, rate, num_scores):
    label, score, other = drawn(n, rate, num_scores, n)
    above, below = slow_components(label, score)
    placement = placements(label, score)
    assert placement[label == 1] == pytest.approx(above, abs=1e-12)
    assert placement[label == 0] == pytest.approx(below, abs=1e-12)
    difference, variance = slow_difference(label, score, other)
    interval = auc_difference_interval(label, score, other)
    assert interval.value == pytest.approx(difference, abs=1e-12)
    half = norm.ppf(0.975) * sqrt(max(variance, 0))
    assert (interval.low, interval.high) == pytest.approx((difference - half, difference + half), abs=1e-9)
    if variance > 1e-12:
        assert interval.p_value == pytest.approx(2 * norm.sf(abs(difference) / sqrt(variance)), rel=1e-6)


rows = st.lists(st.tuples(st.booleans(), st.integers(-2, 2), st.integers(-2, 2)), max_size=40)


@given(rows)
@settings(max_examples=100, deadline=None)
def test_few_rows_equal_all_pairs(some):
    some = [(True, 0, 0), (False, 1, 0), (True, 1, 2), (False, 0, 2), *some]
    label, score, other = np.array(some, dtype=float).T
    difference, variance = slow_difference(label, score, other)
    interval = auc_difference_interval(label, score, other)
    assert interval.value == pytest.approx(difference, abs=1e-12)
    assert (interval.high - interval.value) == pytest.approx(norm.ppf(0.975) * sqrt(max(variance, 0)), abs=1e-7)


def test_both_classes_have_the_auc_as_mean_placement():
    label, score, _ = drawn(2000, 0.1, 50, 0)
    placement = placements(label, score)
    expected = roc_auc_score(label, score)
    assert placement[label == 1].mean() == pytest.approx(expected, abs=1e-12)
    assert placement[label == 0].mean() == pytest.approx(expected, abs=1e-12)


def test_order_of_rows_does_not_matter():
    label, score, other = drawn(500, 0.2, 20, 1)
    order = np.random.default_rng(2).permutation(500)
    assert placements(label, score)[order] == pytest.approx(placements(label[order], score[order]))
    one, two = (auc_difference_interval(label[o], score[o], other[o]) for o in (slice(None), order))
    assert (one.value, one.low, one.p_value) == pytest.approx((two.value, two.low, two.p_value))


def test_scores_that_order_alike_leave_nothing_open():
    label, score, _ = drawn(300, 0.3, 20, 3)
    interval = auc_difference_interval(label, score, np.exp(score))
    assert (interval.value, interval.low, interval.high, interval.p_value) == (0, 0, 0, 1)


def test_a_difference_without_variance_is_certain():
    interval = auc_difference_interval([0, 1, 0, 1], [0, 1, 0, 1], [1, 0, 1, 0])
    assert (interval.value, interval.low, interval.high, interval.p_value) == (1, 1, 1, 0)


def test_exchange_turns_the_interval_round():
    label, score, other = drawn(400, 0.3, 10**9, 4)
    one, two = auc_difference_interval(label, score, other), auc_difference_interval(label, other, score)
    assert (one.value, one.low, one.high) == pytest.approx((-two.value, -two.high, -two.low))
    assert one.p_value == pytest.approx(two.p_value)


def test_averaged_placements_give_the_variance_of_the_mean_difference():
    rng = np.random.default_rng(5)
    label = (rng.random(200) < 0.4).astype(float)
    scores, others = (rng.random((3, 200)) + shift * label for shift in (0.5, 0.3))
    contrast = np.repeat([1 / 3, -1 / 3], 3)
    v10, v01 = zip(*[slow_components(label, each) for each in (*scores, *others)])
    variance = contrast @ (np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])) @ contrast
    mean = np.mean([placements(label, a) - placements(label, b) for a, b in zip(scores, others)], axis=0)
    interval = placement_interval(label == 1, mean)
    assert interval.value == pytest.approx(
        np.mean([roc_auc_score(label, a) - roc_auc_score(label, b) for a, b in zip(scores, others)])
    )
    assert interval.high - interval.value == pytest.approx(norm.ppf(0.975) * sqrt(variance))


def test_interval_of_one_auc():
    label, score, _ = drawn(300, 0.3, 50, 6)
    above, below = slow_components(label, score)
    error = sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    interval = auc_interval(label, score)
    value = roc_auc_score(label, score)
    assert interval.value == pytest.approx(value)
    assert (interval.low, interval.high) == pytest.approx((value - 1.959964 * error, value + 1.959964 * error))
    assert interval.p_value == pytest.approx(2 * norm.sf((value - 0.5) / error))


def test_interval_of_one_auc_stays_in_range():
    interval = auc_interval([0, 0, 1, 1, 1], [0.1, 0.3, 0.2, 0.8, 0.9])
    assert interval.value == pytest.approx(5 / 6)
    assert interval.high == 1
    assert auc_interval([0, 0, 1, 1], [1, 2, 3, 4]).low == 1


def test_too_few_rows_of_a_class_have_no_interval():
    with pytest.raises(UndefinedMetricError, match=r"^AUC needs both classes: 0 positives in 2 rows\.$"):
        auc_difference_interval([0, 0], [0.1, 0.2], [0.1, 0.2])
    with pytest.raises(UndefinedMetricError, match=r"needs two rows of each class: 1 positives in 3 rows\.$"):
        auc_interval([0, 0, 1], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 2], [0.1, 0.2], [0.1, 0.2]), "`label` in row 1 is 2"),
        (([0, 1], [0.1, np.nan], [0.1, 0.2]), "`score` in row 1 is nan"),
        (([0, 1], [0.1, 0.2], [0.1]), "same number of rows"),
        (([], [], []), "at least one row"),
    ],
)
def test_columns_that_break_a_rule(columns, message):
    with pytest.raises(InputError, match=message):
        auc_difference_interval(*columns)


def test_nominal_coverage_for_correlated_scores():
    rng = np.random.default_rng(7)
    label = np.repeat([1.0, 0.0], [100, 200])
    shifts = np.array([1.2, 0.9])
    true = norm.cdf(shifts / sqrt(2)) @ [1, -1]
    covered, simulations = 0, 4000
    for _ in range(simulations):
        shared, own = rng.standard_normal(300), rng.standard_normal((2, 300))
        score, other = sqrt(0.7) * shared + sqrt(0.3) * own + shifts[:, None] * label
        interval = auc_difference_interval(label, score, other)
        covered += interval.low <= true <= interval.high
    assert covered / simulations == pytest.approx(0.95, abs=0.015)
