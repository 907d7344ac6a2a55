import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, root_mean_squared_error

from nextrec_like.errors import InputError
from nextrec_like.metrics import UndefinedMetricError, auc, ece, logloss, mae, pcoc, pr_auc, rmse


def draw(n, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 9, n)
    return (rng.random(n) < probability).astype(float), probability


@pytest.mark.parametrize("n", [2, 40, 5000])
def test_logloss_equals_scikit_learn(n):
    label, probability = draw(n)
    probability[:2] = 0, 1
    assert logloss(label, probability) == pytest.approx(log_loss(label, probability, labels=[0, 1]), rel=1e-12)


def test_logloss_by_hand():
    assert logloss([1, 0], [0.5, 0.75]) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-15)


def test_certain_and_wrong_prediction_costs_36_nats():
    assert logloss([1, 0], [0.0, 1.0]) == pytest.approx(52 * np.log(2), rel=1e-12)


def slow_ece(label, probability, num_bins):
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        rows = [row for row, p in enumerate(probability) if low < p <= high or (b == 0 and p == 0)]
        if rows:
            accuracy = sum(label[row] for row in rows) / len(rows)
            confidence = sum(probability[row] for row in rows) / len(rows)
            total += len(rows) / len(label) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("n", [1, 2, 30, 3000])
@pytest.mark.parametrize("num_bins", [1, 2, 15])
def test_ece_equals_the_sum_over_bins(n, num_bins):
    label, probability = draw(n)
    assert ece(label, probability, num_bins=num_bins) == pytest.approx(slow_ece(label, probability, num_bins))


def test_ece_bins_include_their_upper_edge():
    # Bins {0, 0.5} and {1}: |1 - 0.5| + |0 - 1|. With 0.5 in the upper bin it would be |0 - 0| + |1 - 1.5|.
    assert ece([0, 1, 0], [0.0, 0.5, 1.0], num_bins=2) == pytest.approx(1.5 / 3)


def test_ece_separates_bins_where_gaps_cancel():
    assert ece([1, 0], [0.25, 0.75], num_bins=1) == 0.0
    assert ece([1, 0], [0.25, 0.75], num_bins=2) == 0.75


def test_ece_without_bins_is_an_error():
    with pytest.raises(InputError, match=r"`num_bins` must be at least 1, not 0"):
        ece([1, 0], [0.2, 0.3], num_bins=0)


def test_pcoc_is_mean_prediction_over_mean_label():
    assert pcoc([1, 0, 0, 0], [0.2, 0.4, 0.1, 0.8]) == pytest.approx(0.375 / 0.25)


def test_pcoc_without_positive_has_no_value():
    with pytest.raises(UndefinedMetricError, match=r"^PCOC needs a positive: 0 positives in 2 rows\.$"):
        pcoc([0, 0], [0.2, 0.3])


def test_rmse_and_mae_equal_scikit_learn():
    label, prediction = np.random.default_rng(0).normal(size=(2, 1000))
    assert rmse(label, prediction) == pytest.approx(root_mean_squared_error(label, prediction), rel=1e-12)
    assert mae(label, prediction) == pytest.approx(mean_absolute_error(label, prediction), rel=1e-12)


def test_rmse_and_mae_by_hand():
    assert rmse([1, 2], [4, -2]) == pytest.approx(12.5**0.5)
    assert mae([1, 2], [4, -2]) == 3.5


ON_SCORES = [auc, pr_auc]
ON_PROBABILITIES = [logloss, ece, pcoc]
ON_VALUES = [rmse, mae]
ALL = ON_SCORES + ON_PROBABILITIES + ON_VALUES


@pytest.mark.parametrize("metric", ALL)
def test_value_is_a_plain_float(metric):
    assert type(metric(np.array([1, 0]), np.array([0.5, 0.25], dtype=np.float32))) is float


@pytest.mark.parametrize("metric", ALL)
def test_inputs_are_not_changed(metric):
    label, prediction = np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.5])
    metric(label, prediction)
    assert label.tolist() == [1.0, 0.0, 1.0]
    assert prediction.tolist() == [0.0, 1.0, 0.5]


@pytest.mark.parametrize("metric", ALL)
def test_missing_label_is_an_error(metric):
    with pytest.raises(InputError, match=r"^`label` in row 1 is nan; NaN means not observed; drop such rows first\.$"):
        metric([1, np.nan, 0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("metric", ON_SCORES + ON_PROBABILITIES)
def test_label_that_is_not_binary_names_row_and_value(metric):
    message = r"^`label` in row 2 is -1; the label of a binary task must be 0 or 1\.$"
    with pytest.raises(InputError, match=message):
        metric([1, 0, -1, 5], [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("metric", ON_VALUES)
def test_infinite_label_is_an_error(metric):
    with pytest.raises(InputError, match=r"^`label` in row 1 is inf; a label must be finite"):
        metric([1, np.inf], [0.1, 0.2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", ALL)
def test_prediction_that_is_not_finite_names_row_and_cause(metric, value):
    message = rf"^`\w+` in row 3 is {value}; predictions must be finite: the model has diverged or"
    with pytest.raises(InputError, match=message):
        metric([1, 0, 1, 0], [0.1, 0.2, 0.3, value])


@pytest.mark.parametrize("value", [-0.25, 1.5])
@pytest.mark.parametrize("metric", ON_PROBABILITIES)
def test_logits_in_place_of_probabilities_are_an_error(metric, value):
    message = rf"^`probability` in row 1 is {value}; a probability must be in \[0, 1\]; apply the sigmoid"
    with pytest.raises(InputError, match=message):
        metric([1, 0], [0.1, value])


@pytest.mark.parametrize("metric", ALL)
def test_unequal_lengths_are_an_error(metric):
    with pytest.raises(InputError, match=r"same number of rows: `label` has 3, `\w+` has 2\.$"):
        metric([1, 0, 1], [0.1, 0.2])


@pytest.mark.parametrize("metric", ALL)
def test_empty_columns_are_an_error(metric):
    with pytest.raises(InputError, match=r"^A metric needs at least one row; the columns are empty\.$"):
        metric([], [])


@pytest.mark.parametrize("metric", ALL)
def test_two_dimensions_are_an_error(metric):
    with pytest.raises(InputError, match=r"`\w+` must have shape \(N,\), not \(2, 1\); pass the rows of one task\.$"):
        metric([1, 0], [[0.1], [0.2]])


@pytest.mark.parametrize("metric", ALL)
def test_words_are_an_error(metric):
    with pytest.raises(InputError, match=r"^`label` must be a column of numbers: "):
        metric(["yes", "no"], [0.1, 0.2])
