from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nextrec_like.comparison.analysis.statistics import (
    Paired,
    combined_p_value,
    delta_m,
    holm,
    interval_variance,
    paired,
    seeds_needed,
    wins_ties_losses,
)


@pytest.mark.parametrize("count", [2, 3, 10, 40])
def test_paired_equals_scipy(count):
    rng = np.random.default_rng(count)
    one, two = rng.normal(0.75, 0.01, count), rng.normal(0.74, 0.01, count)
    expected = stats.ttest_rel(one, two)
    figure = paired(list(one - two))
    assert figure.mean == pytest.approx((one - two).mean())
    assert (figure.low, figure.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert figure.p_value == pytest.approx(expected.pvalue)
    assert figure.deviation == pytest.approx((one - two).std(ddof=1))


def test_paired_without_enough_seeds():
    assert paired([]) == Paired()
    assert paired([0.25]) == Paired(mean=0.25)


def test_differences_that_are_all_the_same_have_no_width():
    assert paired([0.0, 0.0, 0.0]) == Paired(0, 0, 0, 1, 0)
    assert paired([0.1, 0.1, 0.1]) == Paired(mean=pytest.approx(0.1))


def test_paired_has_its_nominal_coverage():
    differences = np.random.default_rng(0).normal(0.002, 0.003, (4000, 5))
    figures = [paired(row) for row in differences.tolist()]
    assert np.mean([each.low <= 0.002 <= each.high for each in figures]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_the_combined_test_is_that_of_welch(count):
    # A second sample of mean 0 with very many rows has a known variance of its mean, and nothing else to add.
    gaps = np.random.default_rng(count).normal(0.002, 0.001, count)
    rows, error = 10**9, 0.0007
    expected = stats.ttest_ind_from_stats(
        gaps.mean(), gaps.std(ddof=1), count, 0.0, error * np.sqrt(rows), rows, equal_var=False
    )
    alone = stats.ttest_1samp(gaps, 0).pvalue
    assert combined_p_value(list(gaps), error**2) == pytest.approx(max(expected.pvalue, alone), rel=1e-6)
    assert combined_p_value(list(gaps), 0.0) == pytest.approx(alone)


def test_the_combined_test_without_a_variance():
    assert combined_p_value([0.1, 0.1], 0.0) == 0
    assert combined_p_value([0.0, 0.0], 0.0) == 1
    assert combined_p_value([0.25, 0.25], 0.01) == pytest.approx(2 * stats.norm.sf(2.5))  # the rows alone
    assert combined_p_value([0.0, 0.0], 0.01) == 1
    assert combined_p_value([0.1, 0.1 + 1e-16], 1e200) == pytest.approx(1)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
@pytest.mark.parametrize("rows_noise", [0.5, 1.0])
def test_false_verdicts_over_new_rows_and_new_seeds_stay_at_the_level(count, rows_noise):
    # All seeds of a comparison share the error of its test rows; rows_noise is in units of that of the mean over seeds.
    rng = np.random.default_rng(0)
    error = rows_noise / np.sqrt(count)
    differences = rng.normal(size=(4000, count)) + error * rng.normal(size=(4000, 1))
    found = np.array([combined_p_value(each, error**2) for each in differences.tolist()])
    assert (found < 0.05).mean() <= 0.065
    assert (found < 0.05).mean() >= (0.02 if count == 2 else 0.04)


def test_the_variance_of_an_interval():
    low, high = stats.norm.interval(0.95, 0.3, 0.02)
    assert interval_variance(low, high) == pytest.approx(0.02**2)


def test_holm_by_hand():
    # Sorted: 0.01 x 4 = 0.04, 0.02 x 3 = 0.06, 0.03 x 2 = 0.06, 0.5 x 1.
    assert holm([0.02, None, 0.5, 0.01, 0.03]) == pytest.approx([0.06, None, 0.5, 0.04, 0.06])
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 0.04 x 1 is raised to that before it
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    places = range(len(p_values))
    sets = [each for size in range(1, len(p_values) + 1) for each in combinations(places, size)]
    expected = [
        max(min(1.0, len(each) * min(p_values[i] for i in each)) for each in sets if place in each) for place in places
    ]
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize("deviation", [0.0003, 0.0006, 0.001, 0.002])
def test_seeds_needed_reach_the_power_in_a_simulation(deviation):
    needed = seeds_needed(deviation)
    rng = np.random.default_rng(1)

    def power(count):
        return (stats.ttest_1samp(rng.normal(0.001, deviation, (40_000, count)), 0, axis=1).pvalue < 0.05).mean()

    assert power(needed) > 0.8 - 0.01
    assert needed == 2 or power(needed - 1) < 0.8 + 0.01


def test_seeds_needed_at_the_ends():
    assert seeds_needed(0.0) == 2
    assert seeds_needed(1e-12) == 2
    assert seeds_needed(0.1) == pytest.approx(((1.959964 + 0.841621) * 100) ** 2, rel=1e-3)
    assert seeds_needed(1e9) == 1_000_000
    assert seeds_needed(0.002, effect=0.002) == seeds_needed(0.001)
    assert seeds_needed(0.001, power=0.95) > seeds_needed(0.001, power=0.8)


def test_wins_by_direction():
    assert wins_ties_losses([0.1, -0.1, 0.0, 0.2], higher_is_better=True) == (2, 1, 1)
    assert wins_ties_losses([0.1, -0.1, 0.0, 0.2], higher_is_better=False) == (1, 1, 2)


def test_delta_m_by_hand():
    # +10 % and -5 % in the first direction; the other way round where less is better.
    assert delta_m([0.88, 0.57], [0.8, 0.6], higher_is_better=True) == pytest.approx(2.5)
    assert delta_m([0.88, 0.57], [0.8, 0.6], higher_is_better=False) == pytest.approx(-2.5)
    assert delta_m([0.1], [0.0], higher_is_better=True) is None
    assert delta_m([], [], higher_is_better=True) is None
