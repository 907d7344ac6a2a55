"""The input contract: each broken input with the words that its message must have."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

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
GOOD = {
    "age": [1.0, 2.0, 3.0],
    "pair": [[1.0, 2.0]] * 3,
    "user": [0, 1, 4],
    "hist": [[1, 2], [], [3]],
    "is_click": [1, 0, 1],
    "buy": [1, 0, 0],
    "price": [1.5, -2.0, 0.0],
}

BAD = {
    "NaN number": ({"age": [1.0, np.nan, 3.0]}, ["`age`", "nan", "row 1", "finite", "fill"]),
    "missing number": ({"age": pd.array([1, None, 3], dtype="Int64")}, ["`age`", "row 1", "fill"]),
    "infinite number": ({"age": [1.0, 2.0, -np.inf]}, ["`age`", "-inf", "row 2"]),
    "number too large": ({"age": [1.0, 1e300, 3.0]}, ["`age`", "1e+300", "row 1", "float32"]),
    "text number": ({"age": ["1", "2", "3"]}, ["`age`", "string", "numbers"]),
    "date number": ({"age": pd.to_datetime(["2020", "2021", "2022"])}, ["`age`", "timestamp", "numbers"]),
    "list for a number": ({"age": [[1.0, 2.0]] * 3}, ["`age`", "dim 1", "row 0", "2 values"]),
    "number for a list": ({"pair": [1.0, 2.0, 3.0]}, ["`pair`", "dim 2", "one value per row"]),
    "list of wrong length": ({"pair": [[1.0, 2.0], [1.0], [1.0, 2.0]]}, ["`pair`", "dim 2", "row 1", "1 values"]),
    "missing list": ({"pair": [[1.0, 2.0], None, [1.0, 2.0]]}, ["`pair`", "dim 2", "row 1"]),
    "NaN in a list": ({"pair": [[1.0, 2.0], [1.0, np.nan], [1.0, 2.0]]}, ["`pair`", "nan", "row 1"]),
    "id too large": ({"user": [0, 5, 1]}, ["`user`", "5", "row 1", "[0, 5)", "vocab_size"]),
    "huge id": ({"user": [0, 1, 2**62]}, ["`user`", str(2**62), "row 2"]),
    "huge unsigned id": ({"user": np.array([0, 2**64 - 1, 1], np.uint64)}, ["`user`", str(2**64 - 1), "row 1"]),
    "negative id": ({"user": [0, 1, -1]}, ["`user`", "-1", "row 2", "[0, 5)"]),
    "many bad ids": ({"user": [9, 8, 7]}, ["`user`", "9", "row 0", "3 such values"]),
    "NaN id": ({"user": [0, np.nan, 1]}, ["`user`", "nan", "row 1", "not an id"]),
    "missing id": ({"user": pd.array([0, None, 1], dtype="Int64")}, ["`user`", "row 1", "not an id"]),
    "infinite id": ({"user": [0, np.inf, 1]}, ["`user`", "inf", "row 1"]),
    "fractional id": ({"user": [0, 1.7, 1]}, ["`user`", "1.7", "row 1", "fraction"]),
    "text id": ({"user": ["a", "b", "c"]}, ["`user`", "string", "IdColumn"]),
    "category id": ({"user": pd.Categorical(["a", "b", "c"])}, ["`user`", "dictionary", "IdColumn"]),
    "sequence id too large": ({"hist": [[1], [2, 3, 9], [1]]}, ["`hist`", "9", "row 1", "[0, 5)"]),
    "dropped id too large": ({"hist": [[1], [9, 2, 3], [1]]}, ["`hist`", "9", "row 1"]),
    "missing id in a sequence": ({"hist": [[1], [2], [3, None]]}, ["`hist`", "row 2", "not an id"]),
    "fraction in a sequence": ({"hist": [[1.5], [2], [3]]}, ["`hist`", "1.5", "row 0", "fraction"]),
    "text sequence": ({"hist": ["1|2", "3", "4"]}, ["`hist`", "list per row", "SequenceColumn"]),
    "number for a sequence": ({"hist": [1, 2, 3]}, ["`hist`", "list per row"]),
    "label 2": ({"is_click": [0, 2, 1]}, ["`is_click`", "`click`", "2", "row 1", "neither 0 nor 1", "regression"]),
    "label near 1": ({"is_click": [0, 1 + 1e-9, 1]}, ["`is_click`", "row 1", "neither 0 nor 1"]),
    "label -1": ({"is_click": [0, -1, 1]}, ["`is_click`", "-1", "row 1", "NaN"]),
    "label 0.5": ({"is_click": [0.5, 0, 1]}, ["`is_click`", "0.5", "row 0"]),
    "text label": ({"is_click": ["yes", "no", "no"]}, ["`is_click`", "`click`", "string", "number"]),
    "infinite value": ({"price": [1.0, np.inf, 0.0]}, ["`price`", "inf", "row 1", "not a finite"]),
    "child without parent": ({"buy": [0, 1, 0]}, ["`buy`", "label 1", "row 1", "`click`", "label 0"]),
}


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


@pytest.mark.parametrize("case", BAD)
def test_broken_column_is_refused_by_name_row_and_value(case, refused):
    changes, words = BAD[case]
    with refused(*words):
        packed(**changes)


def test_value_label_too_large_for_float32_is_refused_quietly(refused):
    with warnings.catch_warnings(), refused("`price`", "row 1"):
        warnings.simplefilter("error")
        packed(price=[1.0, 1e300, 0.0])


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("age", ["`age`, which is a feature", "Did you mean `agee`?"]),
        ("user", ["`user`, which is a feature", "Columns:"]),
        ("is_click", ["label of task `click`", "`is_click`"]),
    ],
)
def test_missing_column_is_named_with_the_closest_one(missing, words, refused):
    table = {**GOOD, "agee": GOOD["age"]}
    table.pop(missing)
    with refused(*words):
        pack(read_table(table), FEATURES, TASKS)


def test_empty_table_is_refused(refused):
    with refused("no rows"):
        packed(**{name: [] for name in GOOD})


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
