import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nextrec_like.errors import InputError
from nextrec_like.metrics import UndefinedMetricError, gauc, gauc_groups


def slow_gauc(label, score, group):
    """Group by group with scikit-learn; also the number of groups used."""
    total = weight = used = 0
    for name in set(group):
        rows = [row for row, other in enumerate(group) if other == name]
        labels = [label[row] for row in rows]
        if len(set(labels)) == 2:
            total += len(rows) * roc_auc_score(labels, [score[row] for row in rows])
            weight += len(rows)
            used += 1
    return total / weight, used


def test_gauc_by_hand():
    # u: 3 impressions, a win and a tie of 2 pairs. v: 2 impressions, a loss. w: one class, left out.
    group = ["u", "v", "u", "w", "u", "v"]
    label = [1, 1, 0, 1, 0, 0]
    score = [0.5, 0.1, 0.5, 0.9, 0.2, 0.3]
    assert gauc(label, score, group) == pytest.approx((3 * 0.75 + 2 * 0.0) / 5)
    assert gauc_groups(label, group) == 2


@pytest.mark.parametrize("n", [2, 50, 2000])
@pytest.mark.parametrize("rate", [0.5, 0.01])
@pytest.mark.parametrize("num_scores", [1, 3, 10**9])
def test_gauc_equals_scikit_learn_group_by_group(n, rate, num_scores):
    rng = np.random.default_rng(n)
    label = (rng.random(n) < rate).astype(float)
    group = rng.integers(-5, max(n // 20, 1), n)
    label[:2], group[:2] = (0, 1), group[0]
    score = rng.integers(0, num_scores, n) / num_scores
    value, used = slow_gauc(label, score, group)
    assert gauc(label, score, group) == pytest.approx(value, abs=1e-12)
    assert gauc_groups(label, group) == used


rows = st.lists(st.tuples(st.booleans(), st.integers(-2, 2), st.sampled_from("abcde")), max_size=40)


@given(rows)
@settings(max_examples=100, deadline=None)
def test_gauc_of_few_rows_equals_group_by_group(drawn):
    drawn = [(True, 0, "a"), (False, 1, "a"), *drawn]
    label, score, group = ([float(y) for y, _, _ in drawn], [s for _, s, _ in drawn], [g for _, _, g in drawn])
    value, used = slow_gauc(label, score, group)
    assert gauc(label, score, group) == pytest.approx(value, abs=1e-12)
    assert gauc_groups(label, group) == used


def test_one_group_gives_auc():
    rng = np.random.default_rng(0)
    label, score = rng.random(500) < 0.1, rng.integers(0, 50, 500)
    assert gauc(label, score, np.zeros(500)) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


@pytest.mark.parametrize(
    "convert",
    [
        lambda ids: ids,
        lambda ids: ids.astype(np.uint8),
        lambda ids: ids * 10**15,
        lambda ids: ids.astype(float),
        lambda ids: ids.astype(str),
        lambda ids: ids.astype(bytes),
        lambda ids: ids.astype(str).astype(object),
        lambda ids: np.array([f"u{i}" if i % 2 else int(i) for i in ids], dtype=object),
        lambda ids: pd.Series(ids.astype(str)),
        lambda ids: pd.Series(ids.astype(str), dtype="category"),
        lambda ids: pd.to_datetime(pd.Series(ids), unit="D"),
    ],
    ids=["int", "uint8", "large", "float", "str", "bytes", "object", "mixed", "series", "category", "date"],
)
def test_groups_of_any_type_give_the_same_value(convert):
    rng = np.random.default_rng(1)
    label, score, ids = rng.integers(0, 2, 300), rng.integers(0, 9, 300), rng.integers(0, 40, 300)
    value, used = slow_gauc(label, score, ids)
    assert gauc(label, score, convert(ids)) == pytest.approx(value, abs=1e-12)
    assert gauc_groups(label, convert(ids)) == used


def test_no_group_with_both_classes_has_no_value():
    with pytest.raises(UndefinedMetricError, match=r"^GAUC needs a group with both classes: none of 2 groups has them"):
        gauc([1, 1, 0], [0.1, 0.2, 0.3], ["u", "u", "v"])
    assert gauc_groups([1, 1, 0], ["u", "u", "v"]) == 0


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        (np.array([1.0, np.nan, np.nan]), "nan"),
        (np.array(["u", None, "v"], dtype=object), "None"),
        (np.array(["u", np.nan, "v"], dtype=object), "nan"),
        (pd.Series([1, None, 2], dtype="Int64").astype(object), "<NA>"),
        (np.array(["2024-01-01", "NaT", "NaT"], dtype="datetime64[D]"), "NaT"),
    ],
)
def test_missing_group_names_the_row(group, shown):
    message = f"^`group` in row 1 is {shown}; every row needs a group: name it, or drop the row"
    with pytest.raises(InputError, match=message):
        gauc([0, 1, 0], [0.1, 0.2, 0.3], group)
    with pytest.raises(InputError, match=message):
        gauc_groups([0, 1, 0], group)


def test_group_of_another_length_is_an_error():
    with pytest.raises(InputError, match=r"same number of rows: `label` has 2, `group` has 3\."):
        gauc([0, 1], [0.1, 0.2], [1, 1, 1])
    with pytest.raises(InputError, match=r"same number of rows: `label` has 2, `group` has 3\."):
        gauc_groups([0, 1], [1, 1, 1])


def test_group_of_another_shape_is_an_error():
    with pytest.raises(InputError, match=r"`group` must have shape \(N,\), not \(2, 1\)"):
        gauc([0, 1], [0.1, 0.2], [[1], [1]])


def test_gauc_groups_checks_labels():
    with pytest.raises(InputError, match=r"`label` in row 1 is 2; the label of a binary task must be 0 or 1"):
        gauc_groups([0, 2], [1, 1])
