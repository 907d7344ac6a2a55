from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from nextrec_like.metrics.rows import Rows
from nextrec_like.metrics.score_counts import ScoreCounts, counted_auc, counted_pr_auc, order_keys

SLACK = 1e-12  # of floating sums
EXACT = {"auc": roc_auc_score, "pr_auc": average_precision_score}


def counts_of(label, score, capacity):
    counts = ScoreCounts([], max_rows=8 * capacity)
    for rows in np.array_split(np.arange(len(label)), 4):
        counts.add(Rows(label[rows] == 1, score[rows], None))
    return counts


def readings(counts):
    return {
        "auc": counted_auc(counts.positives, counts.negatives),
        "pr_auc": counted_pr_auc(counts.positives, counts.negatives),
    }


def dense_ranks(num_rows):
    """Every way to order rows, ties included, as scores."""
    if num_rows == 0:
        return {()}
    return {tuple(np.unique(order, return_inverse=True)[1]) for order in np.ndindex(*[num_rows] * num_rows)}


def test_keys_have_the_order_of_the_scores():
    tiny, huge = 5e-324, 1.7e308
    scores = np.array([-huge, -1.0, np.nextafter(-1, 0), -tiny, -0.0, 0.0, tiny, 0.5, np.nextafter(0.5, 1), huge])
    keys = order_keys(scores).tolist()
    assert keys == sorted(keys)
    assert keys[4] == keys[5]
    assert len(set(keys)) == len(keys) - 1


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=300, deadline=None)
def test_keys_compare_as_the_scores(one, two):
    a, b = order_keys(np.array([one, two])).tolist()
    assert (a < b, a == b) == (one < two, one == two)


def test_bounds_by_hand():
    # Bins by rising score: 1 positive and 2 negatives; 1 positive and 1 negative.
    # AUC: the upper positive beats 2 and ties with 1, the lower ties with 2: (2.5 + 1) / 6; unknown: (2 + 1) / 2 / 6.
    assert counted_auc(np.array([1, 1]), np.array([2, 1])) == (3.5 / 6, 1.5 / 6)
    # Average precision, tied: 1/2 and 2/5. Best: 1 and 2/3. The bound is (1 - 1/2 + 2/3 - 2/5) / 2.
    value, bound = counted_pr_auc(np.array([1, 1]), np.array([2, 1]))
    assert value == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert bound == pytest.approx((1 - 1 / 2 + 2 / 3 - 2 / 5) / 2)


bins = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)).filter(lambda b: sum(b) <= 3), min_size=1, max_size=2)


@given(bins.filter(lambda drawn: sum(p for p, _ in drawn) > 0 and sum(n for _, n in drawn) > 0))
@settings(max_examples=60, deadline=None)
def test_no_order_within_the_bins_leaves_the_bounds(drawn):
    """All scores that rows of these bins can have, ties included, by brute force."""
    positives, negatives = (np.array(column) for column in zip(*drawn))
    labels = np.concatenate([np.repeat([1, 0], each) for each in drawn])
    found = {"auc": [], "pr_auc": []}
    orders = [
        [tuple(10 * place + rank for rank in order) for order in dense_ranks(sum(each))]
        for place, each in enumerate(drawn)
    ]
    for parts in orders[0] if len(drawn) == 1 else [one + two for one in orders[0] for two in orders[1]]:
        for name, metric in EXACT.items():
            found[name].append(metric(labels, parts))
    for name, (value, bound) in {
        "auc": counted_auc(positives, negatives),
        "pr_auc": counted_pr_auc(positives, negatives),
    }.items():
        assert min(found[name]) >= value - bound - SLACK
        assert max(found[name]) <= value + bound + SLACK


@given(
    st.integers(2, 60),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from(["uniform", "narrow", "signed", "tied", "wide"]),
    st.sampled_from([2, 3, 8]),
)
@settings(max_examples=200, deadline=None)
def test_error_is_within_the_bound(num_rows, seed, signal, scores, capacity):
    rng = np.random.default_rng(seed)
    label = rng.random(num_rows) < 0.3
    label[:2] = False, True
    score = {
        "uniform": lambda: rng.random(num_rows),
        "narrow": lambda: 0.5 + 1e-13 * rng.random(num_rows),
        "signed": lambda: rng.normal(size=num_rows),
        "tied": lambda: rng.integers(-3, 3, num_rows) / 3,
        "wide": lambda: rng.choice([-1.0, 1.0], num_rows) * 10 ** rng.uniform(-300, 300, num_rows),
    }[scores]()
    score = score + signal * label * np.abs(score)
    counts = counts_of(label, score, capacity)
    assert len(counts.keys) <= capacity
    for name, (value, bound) in readings(counts).items():
        bound = bound if counts.shift else 0.0
        assert abs(EXACT[name](label, score) - value) <= bound + SLACK


def test_the_shift_is_the_smallest_that_fits():
    rng = np.random.default_rng(0)
    score = rng.normal(size=500)
    counts = counts_of(rng.random(500) < 0.5, score, capacity=40)
    distinct = [len({int(key) >> shift for key in order_keys(score)}) for shift in range(64)]
    assert counts.shift == next(shift for shift, number in enumerate(distinct) if number <= 40)
    assert len(counts.keys) == distinct[counts.shift]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_any_order_of_merges_gives_the_same_counts(order):
    rng = np.random.default_rng(1)
    label, score = rng.random(300) < 0.3, rng.normal(size=300)
    rows = np.split(np.arange(300), [10, 100])  # the first part alone fits
    parts = [counts_of(label[part], score[part], capacity=30) for part in rows]
    merged = ScoreCounts([], max_rows=240)
    for place in order:
        merged.merge(parts[place])
    expected = counts_of(label, score, capacity=30)
    assert merged.shift == expected.shift
    for name in ("keys", "positives", "negatives"):
        assert getattr(merged, name).tolist() == getattr(expected, name).tolist()


def test_pairs_of_billions_of_rows_are_counted():
    huge = 4 * 10**9
    assert counted_auc(np.array([0, huge]), np.array([huge, 0])) == (1.0, 0.0)
    assert counted_auc(np.array([huge]), np.array([huge])) == (0.5, 0.5)
