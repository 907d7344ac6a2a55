import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from nextrec_like.errors import InputError
from nextrec_like.metrics import UndefinedMetricError, auc, expected_auc, pr_auc


def pairwise_auc(positive_weight, negative_weight, score):
    """All N x N pairs, one by one."""
    wins = pairs = 0.0
    for p, s in zip(positive_weight, score):
        for q, t in zip(negative_weight, score):
            wins += p * q * (1.0 if s > t else 0.5 if s == t else 0.0)
            pairs += p * q
    return wins / pairs


def draw(n, rate, num_scores, seed):
    """Labels with both classes, and scores with ties; ``num_scores=None`` has none."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < rate).astype(float)
    label[:2] = 0, 1
    score = rng.random(n) if num_scores is None else rng.integers(0, num_scores, n) / num_scores
    return label, score


@pytest.mark.parametrize("n", [2, 3, 10, 101, 5000])
@pytest.mark.parametrize("rate", [0.5, 0.02, 1e-3])
@pytest.mark.parametrize("num_scores", [1, 2, 20, None])
def test_ranking_metrics_equal_scikit_learn(n, rate, num_scores):
    label, score = draw(n, rate, num_scores, seed=n)
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert pr_auc(label, score) == pytest.approx(average_precision_score(label, score), abs=1e-12)


rows = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30)


@given(rows)
@settings(max_examples=100, deadline=None)
def test_auc_equals_all_pairs(drawn):
    label = np.array([1.0, 0.0, *(float(y) for y, _ in drawn)])
    score = np.array([0.0, 0.0, *(float(s) for _, s in drawn)])
    assert auc(label, score) == pytest.approx(pairwise_auc(label, 1 - label, score), abs=1e-12)


def test_auc_by_hand():
    # Pairs (0.8, 0.4), (0.8, 0.8), (0.6, 0.4), (0.6, 0.8): a win, a tie, a win, a loss.
    assert auc([1, 1, 0, 0], [0.8, 0.6, 0.4, 0.8]) == 2.5 / 4


def test_auc_of_labels_as_scores_is_one_and_of_a_constant_one_half():
    label = np.array([0, 1, 1, 0, 1])
    assert auc(label, label) == 1.0
    assert auc(label, -label) == 0.0
    assert auc(label, np.zeros(5)) == 0.5


def test_auc_depends_on_the_order_of_scores_only():
    label, score = draw(1000, 0.1, None, seed=0)
    assert auc(label, score) == auc(label, np.exp(7 * score))


def test_auc_counts_do_not_overflow_32_bits():
    n = 140_000  # 4.9e9 pairs
    label = np.arange(n) % 2
    assert auc(label, label) == 1.0
    assert auc(label, np.zeros(n)) == 0.5


def test_signed_zeros_tie():
    assert auc([1, 0], [0.0, -0.0]) == 0.5


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32])
def test_labels_of_any_dtype_are_accepted(dtype):
    assert auc(np.array([0, 1, 1], dtype=dtype), np.array([0.1, 0.2, 0.3], dtype=np.float32)) == 1.0


def test_pr_auc_by_hand():
    # Scores 0.9 (1 of 1), 0.5 (a tie: 1 of 2), 0.1 (0 of 1): precision 1 and 2/3, recall 1/2 each.
    assert pr_auc([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_pr_auc_of_positives_only_is_one():
    assert pr_auc([1, 1], [0.3, 0.7]) == 1.0


def test_auc_of_one_class_gives_the_counts():
    with pytest.raises(UndefinedMetricError, match=r"^AUC needs both classes: 0 positives in 500 rows\.$"):
        auc(np.zeros(500), np.zeros(500))
    with pytest.raises(UndefinedMetricError, match=r"^AUC needs both classes: 3 positives in 3 rows\.$"):
        auc(np.ones(3), np.zeros(3))


def test_pr_auc_without_positive_gives_the_counts():
    with pytest.raises(UndefinedMetricError, match=r"^PR AUC needs a positive: 0 positives in 4 rows\.$"):
        pr_auc(np.zeros(4), np.zeros(4))


@pytest.mark.parametrize("n", [2, 7, 300, 5000])
@pytest.mark.parametrize("num_scores", [1, 5, None])
def test_expected_auc_equals_scikit_learn_on_rows_with_both_labels(n, num_scores):
    rng = np.random.default_rng(n)
    _, score = draw(n, 0.5, num_scores, seed=n)
    probability = rng.beta(1, 20, n)
    label = np.r_[np.ones(n), np.zeros(n)]
    weight = np.r_[probability, 1 - probability]
    expected = roc_auc_score(label, np.r_[score, score], sample_weight=weight)
    assert expected_auc(probability, score) == pytest.approx(expected, abs=1e-12)


probabilities = st.lists(st.tuples(st.floats(0, 1), st.integers(-3, 3)), max_size=20)


@given(probabilities)
@settings(max_examples=100, deadline=None)
def test_expected_auc_equals_all_weighted_pairs(drawn):
    probability = np.array([0.25, 0.75, *(p for p, _ in drawn)])
    score = np.array([0.0, 1.0, *(float(s) for _, s in drawn)])
    expected = pairwise_auc(probability, 1 - probability, score)
    assert expected_auc(probability, score) == pytest.approx(expected, abs=1e-12)


def test_expected_auc_of_certain_labels_is_auc():
    label, score = draw(500, 0.2, 30, seed=3)
    assert expected_auc(label, score) == pytest.approx(auc(label, score), abs=1e-12)


def test_expected_auc_is_the_mean_auc_of_drawn_labels():
    rng = np.random.default_rng(0)
    probability = rng.beta(2, 8, 3000)
    score = probability + rng.normal(0, 0.05, 3000)
    drawn = [auc(rng.random(3000) < probability, score) for _ in range(200)]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(expected_auc(probability, score) - np.mean(drawn)) < 4 * error


@pytest.mark.parametrize("value", [0, 1])
def test_expected_auc_without_uncertainty_or_both_classes_has_no_value(value):
    message = rf"^Expected AUC needs both classes: all 3 probabilities are {value}\.$"
    with pytest.raises(UndefinedMetricError, match=message):
        expected_auc([value] * 3, [0.1, 0.2, 0.3])


def test_expected_auc_checks_both_columns():
    with pytest.raises(InputError, match=r"`probability` in row 1 is 1\.5; a probability must be in \[0, 1\]"):
        expected_auc([0.5, 1.5], [0.1, 0.2])
    with pytest.raises(InputError, match=r"`score` in row 1 is inf; predictions must be finite"):
        expected_auc([0.5, 0.5], [0.1, np.inf])
