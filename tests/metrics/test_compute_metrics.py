import copy
import json
import pickle

import numpy as np
import pytest

import nextrec_like.metrics as package
from nextrec_like.errors import InputError
from nextrec_like.metrics import (
    METRICS,
    TaskMetrics,
    UndefinedMetricError,
    auc,
    check_metrics,
    compute_metrics,
    gauc,
    logloss,
    mae,
    rmse,
)

LABEL = np.array([1.0, np.nan, 0.0, 0.0, 1.0, np.nan])
PREDICTION = np.array([0.6, 0.9, 0.7, 0.2, 0.8, 0.1])
GROUP = np.array(["u", "u", "u", "v", "w", "w"])
SEEN = np.array([0, 2, 3, 4])


def test_all_metrics_are_public_and_registered_by_name():
    assert list(METRICS) == ["auc", "gauc", "logloss", "pr_auc", "ece", "pcoc", "rmse", "mae"]
    for name, metric in METRICS.items():
        assert metric.name == name
        assert getattr(package, name) is metric.function
        assert name in package.__all__


def test_metrics_are_those_of_the_rows_with_a_label():
    result = compute_metrics(["auc", "logloss", "rmse"], LABEL, PREDICTION)
    label, prediction = LABEL[SEEN], PREDICTION[SEEN]
    assert result == {
        "auc": auc(label, prediction),
        "logloss": logloss(label, prediction),
        "rmse": rmse(label, prediction),
    }
    assert result["auc"] == 0.75
    assert result.reasons == {}


def test_gauc_adds_the_number_of_groups():
    result = compute_metrics("gauc", LABEL, PREDICTION, group=GROUP)
    assert result == {"gauc": gauc(LABEL[SEEN], PREDICTION[SEEN], GROUP[SEEN]), "gauc_groups": 1}
    assert result["gauc"] == 0.0


def test_ranking_of_one_class_is_none_with_a_reason_beside_metrics_with_a_value():
    result = compute_metrics(["auc", "gauc", "pr_auc", "pcoc", "mae"], [0, 0], [0.25, 0.75], group=[1, 1])
    assert result == {"auc": None, "gauc": None, "gauc_groups": 0, "pr_auc": None, "pcoc": None, "mae": 0.5}
    assert result.reasons == {
        "auc": "AUC needs both classes: 0 positives in 2 rows.",
        "gauc": "GAUC needs a group with both classes: none of 1 groups has them.",
        "pr_auc": "PR AUC needs a positive: 0 positives in 2 rows.",
        "pcoc": "PCOC needs a positive: 0 positives in 2 rows.",
    }


@pytest.mark.parametrize("label", [[], [np.nan, np.nan]])
def test_task_without_labels_has_no_value_at_all(label):
    result = compute_metrics(list(METRICS), label, [0.5] * len(label), group=[1] * len(label))
    assert result == {**dict.fromkeys(METRICS), "gauc_groups": 0}
    assert result.reasons == dict.fromkeys(METRICS, "No row has a label.")


def test_regression_gets_the_named_metrics_that_apply():
    assert list(compute_metrics(["auc", "mae"], [1.5, 4.0], [1.0, 5.0], kind="regression")) == ["mae"]


def test_regression_gets_rmse_and_mae_if_no_named_metric_applies():
    label, prediction = np.array([1.5, np.nan, 4.0]), np.array([1.0, 2.0, 5.0])
    result = compute_metrics(("auc", "gauc"), label, prediction, kind="regression")
    assert result == {"rmse": rmse([1.5, 4], [1, 5]), "mae": mae([1.5, 4], [1, 5])}


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_no_names_give_no_metrics(kind):
    assert compute_metrics((), [0, 1], [0.1, 0.2], kind=kind) == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_plain_python_numbers_and_go_through_json(dtype):
    result = compute_metrics(list(METRICS), LABEL.astype(dtype), PREDICTION.astype(dtype), group=GROUP)
    assert {type(value) for name, value in result.items() if name != "gauc_groups"} == {float}
    assert type(result["gauc_groups"]) is int
    assert json.loads(json.dumps(dict(result))) == result


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_reasons_survive_a_copy(duplicate):
    result = TaskMetrics({"auc": None}, reasons={"auc": "one class"})
    assert duplicate(result) == {"auc": None}
    assert duplicate(result).reasons == {"auc": "one class"}


def test_check_metrics_takes_one_name_or_several():
    assert check_metrics("auc") == ("auc",)
    assert check_metrics(["logloss", "auc", "logloss"]) == ("logloss", "auc")


@pytest.mark.parametrize("names", ["acu", ["auc", "acu"], ("acu",)])
def test_unknown_metric_suggests_the_closest(names):
    message = r"^Unknown metric `acu`\. Did you mean `auc`\? Known: auc, gauc, logloss, pr_auc, ece, pcoc, rmse, mae\.$"
    with pytest.raises(InputError, match=message):
        check_metrics(names)
    with pytest.raises(InputError, match=message):
        compute_metrics(names, [0, 1], [0.1, 0.2])


def test_unknown_kind_suggests_the_closest():
    with pytest.raises(InputError, match=r"^Unknown kind of task `binry`\. Did you mean `binary`\?"):
        compute_metrics("auc", [0, 1], [0.1, 0.2], kind="binry")


def test_gauc_without_group_tells_what_to_pass():
    message = r"^Metric `gauc` needs the group of each row, usually the user; pass `group_id`\.$"
    with pytest.raises(InputError, match=message):
        compute_metrics(["auc", "gauc"], [0, 1], [0.1, 0.2])


def test_errors_name_the_row_before_rows_without_label_are_dropped():
    with pytest.raises(InputError, match=r"^`label` in row 2 is 3; the label of a binary task must be 0 or 1"):
        compute_metrics("auc", [np.nan, 0, 3], [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match=r"^`prediction` in row 2 is nan; predictions must be finite: the model has"):
        compute_metrics("auc", [np.nan, 0, 1], [0.1, 0.2, np.nan])
    with pytest.raises(InputError, match=r"^`group` in row 2 is None; every row needs a group"):
        compute_metrics("gauc", [np.nan, 0, 1], [0.1, 0.2, 0.3], group=["u", "u", None])


def test_diverged_model_is_an_error_and_not_a_missing_value():
    with pytest.raises(InputError) as raised:
        compute_metrics("logloss", [0, 1], [np.nan, np.nan])
    assert not isinstance(raised.value, UndefinedMetricError)


def test_prediction_of_a_row_without_label_is_not_looked_at():
    assert compute_metrics("auc", [0, np.nan, 1], [0.1, np.nan, 0.2]) == {"auc": 1.0}


@pytest.mark.parametrize("prediction", [[0.1], [0.1, 0.2, 0.3]])
def test_unequal_lengths_are_an_error(prediction):
    with pytest.raises(InputError, match=r"same number of rows: `label` has 2, `prediction` has"):
        compute_metrics("auc", [0, 1], prediction)


def test_group_of_another_length_is_an_error():
    with pytest.raises(InputError, match=r"same number of rows: `label` has 2, `group` has 1"):
        compute_metrics("gauc", [0, 1], [0.1, 0.2], group=["u"])
