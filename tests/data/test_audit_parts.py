"""Rows in two parts, drift and new ids are found, and what is natural is not."""

from math import log, sqrt

import numpy as np
import pandas as pd
import pytest

from nextrec_like import (
    DataProcessor,
    DenseFeature,
    IdColumn,
    NumericColumn,
    SequenceFeature,
    SparseFeature,
    Task,
    split_by_time,
    split_random,
    synthetic_funnel,
)
from nextrec_like.data.audit import audit
from nextrec_like.data.audit import overlap as overlap_of
from nextrec_like.data.audit import parts as audit_parts
from nextrec_like.data.audit.drift import design_effect, stability
from nextrec_like.data.columns import SequenceColumn
from nextrec_like.data.packed import pack
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import StreamedData
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

RNG = np.random.default_rng
FEATURES = FeatureSet([DenseFeature("x")], [SparseFeature("item", 5_000)], [SequenceFeature("seen", 50, max_len=4)])
CLICK = TaskSet([Task("click")])


def table(num_rows, seed, **columns):
    rng = RNG(seed)
    drawn = {
        "x": rng.normal(size=num_rows),
        "item": rng.integers(0, 50, num_rows),
        "seen": [rng.integers(1, 50, count).tolist() for count in rng.integers(0, 5, num_rows)],
        "click": (rng.random(num_rows) < 0.3).astype(float),
    }
    return pd.DataFrame({**drawn, **columns})


def packed(rows, features=FEATURES):
    return pack(read_table(rows), features, CLICK)


def found(train, other, features=FEATURES, unknown=()):
    findings = audit(features, CLICK, packed(train, features), {"valid": packed(other, features)}, unknown)
    return {(finding.kind, finding.about): finding for finding in findings}


def categories(num_rows, seed):
    """Few combinations, so that most rows have equals by nature."""
    rng = RNG(seed)
    return pd.DataFrame({"a": rng.geometric(0.3, num_rows), "b": rng.geometric(0.2, num_rows), "click": 0.0})


CATEGORIES = FeatureSet(sparse=[SparseFeature("a", 100), SparseFeature("b", 200)])
SPARSER = FeatureSet(sparse=[SparseFeature("a", 100), SparseFeature("b", 5_000)])


def test_parts_that_are_drawn_alike_are_silent():
    assert found(table(5_000, 0), table(1_000, 1)) == {}


def test_copied_rows_are_counted():
    train = table(2_000, 0)
    other = pd.concat([table(700, 1), train.sample(300, random_state=2)])

    overlap = found(train, other)["overlap", "all features"]

    assert overlap.value == 0.3
    assert overlap.part == "valid"
    assert overlap.found == "30.0% of its rows are training rows, by nature 0.0%"


def test_labels_do_not_tell_rows_apart():
    train = table(500, 0)

    assert found(train, train.assign(click=1 - train["click"]))["overlap", "all features"].value == 1.0


def test_negative_zero_is_zero():
    train = table(500, 0, x=np.zeros(500), item=np.arange(500))

    assert found(train, train.assign(x=-0.0))["overlap", "all features"].value == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_natural_duplicates_are_no_overlap(seed):
    assert found(categories(5_000, seed), categories(1_000, seed + 10), CATEGORIES) == {}


def test_copies_are_found_among_natural_duplicates():
    def rows(num_rows, seed):
        rng = RNG(seed)
        b = np.where(rng.random(num_rows) < 0.4, rng.integers(0, 5, num_rows), rng.integers(5, 5_000, num_rows))
        return pd.DataFrame({"a": rng.integers(0, 10, num_rows), "b": b, "click": 0.0})

    train, fresh = rows(5_000, 0), rows(1_000, 1)
    assert "overlap" not in {kind for kind, _ in found(train, fresh, SPARSER)}

    overlap = found(train, pd.concat([fresh[:500], train[:500]]), SPARSER)["overlap", "all features"]

    pairs = set(zip(train["a"], train["b"]))
    twice = train.duplicated(["a", "b"], keep=False).mean()
    share = (sum(pair in pairs for pair in zip(fresh["a"][:500], fresh["b"][:500])) + 500) / 1_000
    assert overlap.value == pytest.approx(share)
    assert f"by nature {twice:.1%}" in overlap.found


def test_overlap_of_few_rows_has_to_be_large():
    train = table(500, 0)

    assert found(train, pd.concat([table(99, 1), train[:1]])) == {}
    assert ("overlap", "all features") in found(train, train[:30])


def test_lower_end_of_the_interval_of_a_share():
    # slack = 9 / 9 = 1: (1/2 + 1/2 - sqrt(1 / 4 + 1 / 4)) / 2
    assert overlap_of._at_least(0.5, 9) == pytest.approx((1 - sqrt(0.5)) / 2)


def test_shifted_number_has_drifted():
    assert list(found(table(3_000, 0), table(1_000, 1, x=RNG(2).normal(1, 1, 1_000)))) == [("drift", "x")]


def test_other_frequencies_of_ids_have_drifted():
    item = RNG(2).geometric(0.2, 1_000).clip(max=49)

    assert list(found(table(3_000, 0), table(1_000, 1, item=item))) == [("drift", "item")]


def test_shorter_sequences_have_drifted():
    assert list(found(table(3_000, 0), table(1_000, 1, seen=[[]] * 1_000))) == [("drift", "seen")]


@pytest.mark.parametrize("num_rows", [20, 50, 200])
@pytest.mark.parametrize("seed", range(5))
def test_few_rows_are_no_drift(num_rows, seed):
    assert found(table(1_000, seed), table(num_rows, seed + 10)) == {}


def test_stability_by_hand():
    index, noise = stability(np.array([50, 50, 0]), np.array([25, 75, 0]))

    p, q = 50.5 / 101, np.array([25.5, 75.5]) / 101
    by_hand = sum((p - each) * log(p / each) for each in q)
    assert index == pytest.approx(by_hand - 0.02)  # one degree of freedom, 1/100 + 1/100
    assert noise == pytest.approx(3 * sqrt(2) * 0.02)


def test_stability_of_equal_histograms_is_nothing():
    assert stability(np.array([5, 10]), np.array([50, 100]))[0] <= 0


def test_design_effect_by_hand():
    assert design_effect(np.array([[10.0, 0], [0, 10]])) == pytest.approx(20)  # four cells with (10 - 5)^2 / 5
    assert design_effect(np.array([[5.0, 5], [5, 5]])) == 1


def test_new_ids_are_found():
    item = np.where(np.arange(1_000) < 600, 100 + np.arange(1_000), RNG(2).integers(0, 50, 1_000))

    (finding,) = found(table(3_000, 0), table(1_000, 1, item=item)).values()

    assert (finding.kind, finding.about, finding.value) == ("new ids", "item", 0.6)
    assert finding.found == "60.0% of the ids are not known from training, to expect 0.0%"


def test_many_ids_with_few_rows_are_new_by_nature():
    train, other = (table(rows, seed, item=RNG(seed).integers(0, 5_000, rows)) for rows, seed in ((2_000, 0), (900, 1)))
    assert np.mean(~other["item"].isin(train["item"])) > 0.6

    assert found(train, other) == {}


def test_id_one_is_ordinary_without_a_processor():
    train, other = table(3_000, 0, item=1 + np.arange(3_000) % 3), table(1_000, 1, item=1 + np.arange(1_000) % 3)

    assert found(train, other) == {}


def test_id_one_of_a_processor_is_unknown():
    train = table(3_000, 0, item=np.where(np.arange(3_000) < 300, 1, 2 + np.arange(3_000) % 40))
    other = table(1_000, 1, item=np.where(np.arange(1_000) < 700, 1, 2 + np.arange(1_000) % 40))

    (finding,) = found(train, other, unknown={"item"}).values()

    assert finding.found == "70.0% of the ids are not known from training, to expect 10.0%"


def test_missing_values_of_one_part_have_drifted():
    train = table(3_000, 0, item=np.where(np.arange(3_000) < 300, 1, 2 + np.arange(3_000) % 5))
    other = table(1_000, 1, item=2 + np.arange(1_000) % 5)

    assert list(found(train, other, unknown={"item"})) == [("drift", "item")]


@pytest.mark.parametrize("min_count", [1, 2, 5])
def test_users_below_min_count_are_expected(min_count):
    log_rows = pd.DataFrame({"user": RNG(0).integers(0, 4_000, 6_000), "click": 0.0})  # 1.3 training rows per user
    train, other, _ = split_random(log_rows)
    processor = DataProcessor([IdColumn("user", min_count=min_count)]).fit(train)
    features = FeatureSet(sparse=processor.features()["sparse_features"])
    rows, others = (pack(processor.transform(part), features, CLICK) for part in (train, other))

    assert audit(features, CLICK, rows, {"valid": others}, {"user"}) == []


FUNNEL = TaskSet([Task("click"), Task("conversion", parent="click")])
COLUMNS = [
    NumericColumn("price", scaling="log1p"),
    NumericColumn("user_age", fill_value="mean"),
    *[IdColumn(name, min_count=2) for name in ("user_id", "item_id", "category", "city", "device")],
    SequenceColumn("history", vocabulary_of="item_id", max_len=10),
]


@pytest.fixture(scope="module")
def funnel():
    return synthetic_funnel(30_000)


@pytest.mark.parametrize("split", [split_random, lambda rows: split_by_time(rows, "time")], ids=["random", "time"])
def test_synthetic_log_is_silent(funnel, split):
    parts, features, encoded = encode(split(funnel))

    train, *others = (pack(part, features, FUNNEL) for part in parts)

    assert audit(features, FUNNEL, train, dict(zip(("valid", "test"), others)), encoded) == []


def encode(parts):
    processor = DataProcessor(COLUMNS).fit(parts[0])
    features = FeatureSet(*processor.features().values())
    return [processor.transform(part) for part in parts], features, {feature.name for feature in features.ids}


@pytest.mark.parametrize("column", ["time", "user_id", "category"])
def test_streams_in_any_order_are_silent(funnel, column, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_parts, "MAX_ROWS", 4_000)
    parts = [part.sort_values(column) for part in split_random(funnel)[:2]]

    assert audit_streams(parts, tmp_path) == []


def test_streams_with_drift_and_copies_are_not(funnel, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_parts, "MAX_ROWS", 4_000)
    train = split_random(funnel)[0]
    copies = train.sample(3_000, random_state=0)

    findings = audit_streams([train, copies.assign(price=100 * copies["price"])], tmp_path)
    assert [(finding.kind, finding.about) for finding in findings] == [("drift", "price")]

    (finding,) = audit_streams([train, copies], tmp_path)
    assert finding.kind == "overlap"
    assert "in a sample of 4,000 rows" in finding.found


def test_few_copies_in_streams_are_found_in_a_sample(funnel, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_parts, "MAX_ROWS", 4_000)
    train, fresh, _ = split_random(funnel)
    other = pd.concat([fresh, train.sample(180, random_state=0)]).sample(frac=1, random_state=0)  # one copy in 18

    (finding,) = audit_streams([train, other], tmp_path)

    assert finding.kind == "overlap"
    assert finding.value < 0.02  # a sixth of the training rows is in the sample


def audit_streams(parts, folder):
    processor = DataProcessor(COLUMNS).fit(parts[0])
    features = FeatureSet(*processor.features().values())
    streams = []
    for name, part in zip("ab", parts):
        part.to_parquet(folder / f"{name}.parquet", row_group_size=500)
        streams.append(StreamedData(ParquetRows([folder / f"{name}.parquet"], features, FUNNEL, processor)))
    return audit(features, FUNNEL, streams[0], {"valid": streams[1]}, {feature.name for feature in features.ids})
