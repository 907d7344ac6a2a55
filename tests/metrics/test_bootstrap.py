import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from nextrec_like.errors import InputError
from nextrec_like.metrics import UndefinedMetricError, gauc, gauc_difference_interval
from nextrec_like.metrics.bootstrap import group_interval
from nextrec_like.metrics.interval import mean_interval


def drawn(num_groups, seed):
    """Groups of unequal size with two scores; the rows are shuffled."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(num_groups), rng.integers(4, 16, num_groups)))
    label = (rng.random(len(group)) < 0.4).astype(float)
    quality = rng.random(num_groups)[group]  # differs between groups, as users do
    score, other = (rng.random(len(group)) + shift * quality * label for shift in (1.0, 0.5))
    return label, score, other, group


def slow_groups(label, score, group):
    """AUC and number of rows of each group with both classes, one by one."""
    rows = [np.flatnonzero(group == each) for each in np.unique(group)]
    used = [each for each in rows if 0 < label[each].sum() < len(each)]
    return [(roc_auc_score(label[each], score[each]), len(each)) for each in used]


def test_value_is_the_difference_of_gauc():
    label, score, other, group = drawn(40, 0)
    interval = gauc_difference_interval(label, score, other, group, np.random.default_rng(0), resamples=50)
    assert interval.value == pytest.approx(gauc(label, score, group) - gauc(label, other, group), abs=1e-12)


def test_interval_is_that_of_a_loop_over_groups():
    label, score, other, group = drawn(40, 1)
    rng = np.random.default_rng(2)
    pairs = list(zip(slow_groups(label, score, group), slow_groups(label, other, group)))
    slow = []
    for _ in range(2000):
        resample = [pairs[place] for place in rng.choice(len(pairs), len(pairs))]
        rows = sum(count for (_, count), _ in resample)
        slow.append(sum((one - two) * count for (one, count), (two, _) in resample) / rows)
    interval = gauc_difference_interval(label, score, other, group, np.random.default_rng(3))
    low, high = np.quantile(slow, (0.025, 0.975))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    expected_p = 2 * stats.norm.sf(abs(interval.value) / np.std(slow))
    assert stats.norm.isf(interval.p_value / 2) == pytest.approx(stats.norm.isf(expected_p / 2), rel=0.1)


def test_interval_is_that_of_an_explicit_resample():
    values, weights = np.array([0.1, -0.2, 0.4]), np.array([1, 2, 5])
    draws = np.random.default_rng(4).integers(0, 3, (200, 3))
    means = [np.average(values[draw], weights=weights[draw]) for draw in draws]
    interval = group_interval(values, weights, np.random.default_rng(4), resamples=200)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))))


def test_same_generator_gives_the_same_interval():
    columns = drawn(30, 5)
    one, two = (gauc_difference_interval(*columns, np.random.default_rng(6), resamples=100) for _ in range(2))
    assert one == two


def test_the_same_score_leaves_nothing_open():
    label, score, _, group = drawn(30, 7)
    interval = gauc_difference_interval(label, score, score, group, np.random.default_rng(0), resamples=20)
    assert (interval.value, interval.low, interval.high, interval.p_value) == (0, 0, 0, 1)


def test_too_few_groups_or_resamples_are_an_error():
    columns = [1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], ["u", "u", "v", "v"]
    with pytest.raises(UndefinedMetricError, match=r"needs two groups with both classes: there are 1\.$"):
        gauc_difference_interval(*columns, np.random.default_rng(0))
    with pytest.raises(UndefinedMetricError, match="none of 2 groups has them"):
        gauc_difference_interval([1, 1], [0.1, 0.2], [0.2, 0.1], [1, 2], np.random.default_rng(0))
    with pytest.raises(InputError, match=r"^`resamples` should be at least 2, better 2000\. Received 1\.$"):
        group_interval([0.1, 0.2], [1, 1], np.random.default_rng(0), resamples=1)
    with pytest.raises(InputError, match="same number of rows"):
        gauc_difference_interval([1, 0], [0.1, 0.2], [0.1, 0.2], [1], np.random.default_rng(0))


def test_coverage_of_the_group_bootstrap():
    rng = np.random.default_rng(8)
    covered, simulations = 0, 1500
    for _ in range(simulations):
        weights = rng.integers(5, 50, 100)
        values = rng.normal(0.01, 1 / np.sqrt(weights))  # small groups are less certain
        interval = group_interval(values, weights, rng, resamples=300)
        covered += interval.low <= 0.01 <= interval.high
    assert covered / simulations == pytest.approx(0.95, abs=0.02)


def test_interval_of_a_mean():
    values = np.random.default_rng(9).exponential(size=500)
    interval = mean_interval(values)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert interval.p_value == pytest.approx(2 * stats.norm.sf(values.mean() / stats.sem(values)))
    with pytest.raises(UndefinedMetricError, match=r"needs two rows: there are 1\.$"):
        mean_interval(values[:1])
