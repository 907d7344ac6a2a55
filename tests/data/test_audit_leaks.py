"""Features that give a label away are found, and honest ones are not."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature, Task
from nextrec_like.data.audit import audit, leaks
from nextrec_like.data.audit.targets import association, targets_of
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

RNG = np.random.default_rng
CLICK = TaskSet([Task("click")])
FUNNEL = TaskSet([Task("click"), Task("conversion", parent="click")])
VALUE = TaskSet([Task("value", kind="regression")])
DENSE, SPARSE, SEQUENCE = DenseFeature("x"), SparseFeature("x", 60_000), SequenceFeature("x", 100, max_len=8)


def found(feature, values, tasks=CLICK, **labels):
    """Leaks of a single feature `x` as pairs of kind and task."""
    group = {DenseFeature: "dense", SparseFeature: "sparse", SequenceFeature: "sequence"}[type(feature)]
    features = FeatureSet(**{group: [feature]})
    rows = pack(read_table({"x": values, **labels}), features, tasks)
    findings = audit(features, tasks, rows, {})
    return [(each.kind, each.task) for each in findings if each.kind in ("leak", "label copy")]


def labels(num_rows=4_000, rate=0.2, seed=0):
    return (RNG(seed).random(num_rows) < rate).astype(float)


def lists(*parts):
    return [list(map(int, ids)) for ids in zip(*parts)]


CLICKED = labels()
NOISE = RNG(1).random(len(CLICKED))
LEAKS = {
    "monotone": (DENSE, NOISE + CLICKED),
    "falling": (DENSE, NOISE - CLICKED),
    "within a band": (DENSE, np.where(CLICKED == 1, 0.1 * NOISE, np.sign(NOISE - 0.5) * (0.2 + NOISE))),
    "a date that is set only then": (DENSE, np.where(CLICKED == 1, 100 + NOISE, -1)),
    "a mean that is filled in only then": (DENSE, np.where(CLICKED == 1, 0.5, NOISE)),
    "one of several numbers": (DenseFeature("x", dim=3), list(np.stack([NOISE, NOISE - CLICKED, NOISE], axis=1))),
    "ids of its own": (SPARSE, (NOISE * 50).astype(int) + 50 * CLICKED.astype(int)),
    "an id for each positive": (SPARSE, np.where(CLICKED == 1, 2 + np.arange(len(CLICKED)), 1)),
    "ids in a sequence": (SEQUENCE, lists(1 + NOISE * 40 + 50 * CLICKED, 1 + NOISE * 30 + 50 * CLICKED)),
    "a sequence that is there only then": (
        SEQUENCE,
        [[1 + index % 90] if y else [] for index, y in enumerate(CLICKED)],
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_leak_of_each_kind_is_found(name):
    feature, values = LEAKS[name]

    assert found(feature, values, click=CLICKED) == [("leak", "click")]


COPIES = {
    "the label": (DENSE, CLICKED),
    "twice the label and one": (DENSE, 2 * CLICKED + 1),
    "its complement as an id": (SPARSE, 1 - CLICKED.astype(int)),
    "a list": (SEQUENCE, [[3, 4] if y else [] for y in CLICKED]),
}


@pytest.mark.parametrize("name", COPIES)
def test_function_of_the_label_is_called_a_copy(name):
    feature, values = COPIES[name]

    assert found(feature, values, click=CLICKED) == [("label copy", "click")]


def test_constant_feature_is_no_copy():
    assert found(DENSE, np.ones(len(CLICKED)), click=CLICKED) == []


def test_copy_of_the_parent_is_said_of_the_parent_alone():
    click = labels(20_000)
    conversion = click * (RNG(2).random(20_000) < 0.98)
    assert roc_auc_score(conversion, click) > leaks.LIMIT

    assert found(DENSE, click, FUNNEL, click=click, conversion=conversion) == [("label copy", "click")]


def test_leak_of_the_child_is_said_of_the_child():
    conversion = CLICKED * (NOISE < 0.5)

    assert found(DENSE, conversion * 2, FUNNEL, click=CLICKED, conversion=conversion) == [("label copy", "conversion")]


def test_unobserved_labels_are_left_out():
    seen = np.where(NOISE < 0.3, np.nan, CLICKED)
    honest = np.where(np.isnan(seen), NOISE, seen * 3)

    assert found(DENSE, honest, click=seen) == [("label copy", "click")]


@pytest.mark.parametrize("sign", [1, -1])
def test_rank_correlation_finds_what_a_regression_is_computed_from(sign):
    assert found(DENSE, sign * NOISE**3, VALUE, value=NOISE) == [("leak", "value")]


def test_ids_that_fix_the_value_of_a_regression_are_found():
    item = RNG(2).integers(0, 50, len(NOISE))

    assert found(SPARSE, item, VALUE, value=RNG(3).permutation(50)[item] / 7) == [("label copy", "value")]
    assert found(SPARSE, item, VALUE, value=RNG(3).permutation(50)[item] + 0.01 * NOISE) == [("leak", "value")]


def test_few_different_values_are_no_function_of_a_regression_with_distinct_labels():
    assert found(DENSE, (NOISE < 0.5).astype(float), VALUE, value=RNG(4).normal(size=len(NOISE))) == []


@pytest.mark.parametrize("rate", [0.5, 0.001])
def test_fifty_thousand_users_do_not_leak_random_labels(rate):
    user = RNG(5).integers(0, 50_000, 60_000)

    assert found(SPARSE, user, click=labels(60_000, rate)) == []


@pytest.mark.parametrize("feature", [DENSE, SPARSE], ids=["number", "id"])
def test_leak_of_a_rare_label_is_found(feature):
    click = labels(60_000, 0.001)
    values = np.where(click == 1, RNG(6).integers(100, 105, 60_000), 1)

    assert found(feature, values, click=click) == [("leak", "click")]


def test_value_just_below_a_frequent_one_is_kept_apart():
    click, noise = labels(60_000, 0.001), RNG(6).random(60_000)
    values = np.where(click == 1, -noise, np.where(noise < 0.6, 0, 1 + noise))

    assert found(DENSE, values, click=click) == [("leak", "click")]


def test_strong_honest_feature_is_none():
    score = RNG(7).normal(size=20_000)
    click = (RNG(8).random(20_000) < 1 / (1 + np.exp(-6 * score))).astype(float)
    assert 0.95 < roc_auc_score(click, score) < 0.98

    assert found(DENSE, score, click=click) == []


def test_too_few_positives_say_nothing():
    click = np.arange(1_000) < 19

    assert found(DENSE, click.astype(float), click=click.astype(float)) == []


def test_auc_agrees_with_scikit_learn_on_out_of_fold_means(monkeypatch):
    monkeypatch.setattr(leaks, "LIMIT", 0.0)
    rng, click = RNG(9), labels(600, 0.3)
    item = np.where(click == 1, rng.integers(0, 40, 600), rng.integers(20, 60, 600))
    half = np.random.default_rng(0).integers(0, 2, 600)
    score = np.empty(600)
    for row in range(600):
        other = click[(item == item[row]) & (half != half[row])]
        score[row] = (other.sum() + click.mean()) / (len(other) + 1)
    features = FeatureSet(sparse=[SparseFeature("item", 60)])
    rows = pack(read_table({"item": item, "click": click}), features, CLICK)

    (finding,) = audit(features, CLICK, rows, {})

    assert finding.value == pytest.approx(roc_auc_score(click, score), abs=1e-3)


def test_association_of_binary_labels_is_the_area_under_the_curve():
    click, key = labels(300, 0.4), RNG(10).integers(0, 25, 300)
    (target,) = targets_of(click[:, None], CLICK)

    assert association(target, key) == pytest.approx(roc_auc_score(click, key))


def test_association_of_a_regression_is_the_rank_correlation_of_spearman():
    key = RNG(11).integers(0, 25, 300)
    value = np.round(key / 10 + RNG(12).normal(size=300), 1)
    (target,) = targets_of(value[:, None], VALUE)

    assert association(target, key) == pytest.approx(spearmanr(key, value).statistic)
