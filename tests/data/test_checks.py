"""Checks of columns beyond the table of broken inputs in tests/contracts/test_input_contract.py."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rows import GOOD

from nextrec_like import DenseFeature, InputWarning, SequenceFeature, SparseFeature, Task
from nextrec_like.data.checks import warn_of_labels
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

FEATURES = FeatureSet(
    dense=[DenseFeature("age"), DenseFeature("pair", dim=2)],
    sparse=[SparseFeature("user", 5)],
    sequence=[SequenceFeature("hist", 5, max_len=2)],
)
TASKS = TaskSet([Task("click", label="is_click"), Task("buy", parent="click"), Task("price", kind="regression")])


def packed(**changes):
    return pack(read_table({**GOOD, **changes}), FEATURES, TASKS)


def test_label_says_which_column_is_no_feature(refused):
    label = pa.field("buy", pa.int8(), metadata={b"derived_from": b"age"})
    table = read_table(GOOD)
    table = table.set_column(table.column_names.index("buy"), label, table["buy"].cast(pa.int8()))
    with refused("`age`", "`buy`", "derived"):
        pack(table, FEATURES, TASKS)


def test_categories_may_be_labels():
    assert packed(is_click=pd.Categorical([1, 0, 1])).labels[:, 0].tolist() == [1, 0, 1]


def test_labels_for_metrics_keep_their_precision():
    assert packed(price=[1e8 + 1, -2.0, 0.0]).labels[0, 2] == 1e8 + 1


def test_good_table_is_taken():
    assert len(packed()) == 3


def test_value_label_too_large_for_float32_is_refused_quietly(refused):
    with warnings.catch_warnings(), refused("`price`", "row 1"):
        warnings.simplefilter("error")
        packed(price=[1.0, 1e300, 0.0])


def test_labels_are_not_needed_without_tasks():
    unlabelled = {name: GOOD[name] for name in FEATURES.names}
    assert pack(read_table(unlabelled), FEATURES).rows.labels is None


def test_unknown_parent_or_child_is_no_contradiction():
    assert len(packed(is_click=[1, np.nan, 1], buy=[np.nan, 1, 0])) == 3


def test_grandchild_without_grandparent_is_refused(refused):
    tasks = TaskSet([Task("a"), Task("b", parent="a"), Task("c", parent="b")])
    with refused("`c`", "`a`", "row 0"):
        pack(read_table({"x": [1.0], "a": [0], "b": [np.nan], "c": [1]}), FeatureSet(dense=[DenseFeature("x")]), tasks)


def test_regression_child_may_have_a_value_where_the_parent_did_not_happen():
    tasks = TaskSet([Task("click"), Task("value", parent="click", kind="regression")])
    table = read_table({"x": [1.0, 2.0], "click": [0, 1], "value": [1.0, 3.0]})
    assert len(pack(table, FeatureSet(dense=[DenseFeature("x")]), tasks)) == 2


@pytest.mark.filterwarnings("ignore:Task `buy` has only")
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[np.nan, 0, 1], [np.nan, 0, 2]], "`click` has no observed label"),
        ([[1, 0, 1], [1, 1, 2]], "`click` has only the label 1"),
        ([[0, 0, 1], [0, 0, 2]], "`click` has only the label 0"),
        ([[0, np.nan, 1], [1, 1, 2]], "`buy` is NaN.*parent `click` is 0"),
    ],
)
def test_label_that_teaches_nothing_is_a_warning(labels, message):
    with pytest.warns(InputWarning, match=message):
        warn_of_labels([np.array(labels, np.float64)], TASKS, needs_all_impressions=True)


def test_unlabelled_child_is_no_loss_where_only_clicked_rows_are_learned_from():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_labels([np.array([[0, np.nan, 1], [1, 1, 2], [1, 0, 2]])], TASKS, needs_all_impressions=False)


def test_good_labels_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_labels(packed().label_blocks(), TASKS, needs_all_impressions=True)
