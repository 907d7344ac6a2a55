"""Constant and equal columns, odd data, samples, and the table of findings."""

from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature, Task
from nextrec_like.data.audit import Finding, audit, describe
from nextrec_like.data.audit import columns as audit_columns
from nextrec_like.data.audit import parts as audit_parts
from nextrec_like.data.packed import PackedData, join, pack
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import StreamedData
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

CLICK = TaskSet([Task("click")])
RNG = np.random.default_rng


def about(features, tasks=CLICK, **columns):
    """Features and words of what is found in training rows."""
    rows = pack(pa.table(columns), features, tasks)
    return [(finding.kind, finding.about, finding.found) for finding in audit(features, tasks, rows, {})]


def clicks(num_rows):
    return (RNG(9).random(num_rows) < 0.5).astype(float)


@pytest.mark.parametrize(
    ("features", "values"),
    [
        (FeatureSet([DenseFeature("x")]), [2.5] * 100),
        (FeatureSet(sparse=[SparseFeature("x", 9)]), [3] * 100),
        (FeatureSet(sequence=[SequenceFeature("x", 9, max_len=3)]), [[1, 2]] * 100),
        (FeatureSet(sequence=[SequenceFeature("x", 9, max_len=3)]), [[]] * 100),
        (FeatureSet([DenseFeature("x", dim=2)]), [[1.0, 2.0]] * 100),
    ],
)
def test_constant_feature_is_found(features, values):
    ((kind, name, words),) = about(features, x=values, click=clicks(100))

    assert (kind, name) == ("constant", "x")
    assert words.endswith("one value")


def test_constant_numbers_of_a_vector_are_counted():
    vectors = np.stack([RNG(0).normal(size=100), np.ones(100), np.zeros(100)], axis=1)

    found = about(FeatureSet([DenseFeature("x", dim=3)]), x=list(vectors), click=clicks(100))

    assert found == [("constant", "x", "2 of 3 numbers have one value")]


def test_constant_in_the_sample_alone_is_none(monkeypatch):
    monkeypatch.setattr(audit_parts, "MAX_ROWS", 50)
    values = np.zeros(2_000)
    values[7] = 1

    assert about(FeatureSet([DenseFeature("x")]), x=values, click=clicks(2_000)) == []


def test_equal_columns_are_found():
    x, item = RNG(0).normal(size=200), RNG(1).integers(0, 9, 200)
    features = FeatureSet(
        [DenseFeature("x"), DenseFeature("y"), DenseFeature("z")],
        [SparseFeature("a", 9), SparseFeature("b", 9), SparseFeature("c", 40), SparseFeature("d", 9)],
    )

    found = about(features, x=x, y=x, z=-x, a=item, b=item, c=37 - 4 * item, d=item // 2, click=clicks(200))

    assert found == [
        ("duplicate", "y", "equal to x"),
        ("duplicate", "b", "equal to a"),
        ("duplicate", "c", "other numbers for the ids of a"),
    ]


def test_equal_sequences_are_found():
    seen = [RNG(row).integers(1, 9, row % 4).tolist() for row in range(200)]
    renamed = [[17 - item for item in items] for items in seen]
    features = FeatureSet(sequence=[SequenceFeature(name, 20, max_len=3) for name in ("a", "b", "c")])

    found = about(features, a=seen, b=renamed, c=[items[::-1] for items in seen], click=clicks(200))

    assert found == [("duplicate", "b", "other numbers for the ids of a")]


def test_equal_in_the_sample_alone_is_not_equal(monkeypatch):
    monkeypatch.setattr(audit_parts, "MAX_ROWS", 50)
    a = RNG(0).integers(0, 5, 2_000)
    b = a.copy()
    b[7] = (b[7] + 1) % 5
    features = FeatureSet(sparse=[SparseFeature("a", 5), SparseFeature("b", 5)])

    assert about(features, a=a, b=b, click=clicks(2_000)) == []


def test_ids_that_hardly_repeat_are_not_alike():
    features = FeatureSet(sparse=[SparseFeature("a", 10**9), SparseFeature("b", 10**9)])
    a, b = RNG(0).permutation(1_000) * 7, RNG(1).permutation(1_000) * 1_001

    assert about(features, a=a, b=b, click=clicks(1_000)) == []


EVERY = FeatureSet(
    [DenseFeature("x"), DenseFeature("pair", dim=2)],
    [SparseFeature("item", 50)],
    [SequenceFeature("seen", 50, max_len=3)],
)
ONE_KIND = [FeatureSet([DenseFeature("x")]), FeatureSet(sparse=[SparseFeature("item", 50)])]
ODD_LABELS = {
    "all 0": np.zeros,
    "all 1": np.ones,
    "none observed": lambda num_rows: np.full(num_rows, np.nan),
    "one positive": lambda num_rows: (np.arange(num_rows) == 0).astype(float),
}


def odd_rows(num_rows, features=EVERY, tasks=CLICK, **labels):
    rng = RNG(num_rows)
    columns = {
        "x": rng.normal(size=num_rows),
        "pair": list(rng.normal(size=(num_rows, 2))),
        "item": rng.integers(0, 50, num_rows),
        "seen": [[]] * num_rows,
        "click": clicks(num_rows),
        **labels,
    }
    return pack(pa.table(columns), features, tasks)


@pytest.mark.parametrize("num_rows", [1, 2, 19, 20, 21, 45])
@pytest.mark.parametrize("features", [EVERY, *ONE_KIND])
def test_few_rows_and_features_of_one_kind_are_no_obstacle(num_rows, features):
    for others in ({}, {"valid": odd_rows(1, features)}, {"valid": odd_rows(num_rows, features), "test": odd_rows(40)}):
        found = audit(features, CLICK, odd_rows(num_rows, features), others if features is EVERY else {})
        assert isinstance(describe(found), str)


@pytest.mark.parametrize("name", ODD_LABELS)
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_odd_labels_are_no_leak(name, kind):
    tasks = TaskSet([Task("click", kind=kind)])

    found = audit(EVERY, tasks, odd_rows(200, tasks=tasks, click=ODD_LABELS[name](200)), {})

    assert {finding.kind for finding in found} == {"constant"}  # the empty sequences


def test_child_without_a_positive_parent_is_left_out():
    tasks = TaskSet([Task("click"), Task("buy", parent="click")])
    rows = odd_rows(200, tasks=tasks, click=np.zeros(200), buy=np.full(200, np.nan))

    assert {finding.kind for finding in audit(EVERY, tasks, rows, {})} == {"constant"}


def test_rows_without_labels_are_looked_at():
    rows = PackedData(odd_rows(100).rows)

    assert [finding.kind for finding in audit(EVERY, CLICK, rows, {})] == ["constant"]


def test_huge_vocabulary_takes_no_memory_of_its_size():
    features = FeatureSet(sparse=[SparseFeature("item", 2**60)], sequence=[SequenceFeature("seen", 2**60, max_len=2)])
    ids = RNG(0).integers(1, 2**60, 500)
    rows = pack(pa.table({"item": ids, "seen": [[each, 1] for each in ids], "click": clicks(500)}), features, CLICK)

    assert audit(features, CLICK, rows, {"valid": rows.slice(0, 100)})[0].kind == "overlap"


def test_equal_columns_of_a_huge_vocabulary_are_found():
    features = FeatureSet(sparse=[SparseFeature("a", 2**60), SparseFeature("b", 2**60)])
    ids = RNG(0).integers(1, 2**59, 100)[RNG(1).integers(0, 100, 500)]

    found = about(features, a=ids, b=2 * ids, click=clicks(500))

    assert found == [("duplicate", "b", "other numbers for the ids of a")]


def test_wide_features_are_looked_at_in_fewer_rows(monkeypatch):
    monkeypatch.setattr(audit_columns, "MAX_NUMBERS", 1_000)
    click = clicks(4_000)
    vectors = np.concatenate([RNG(0).normal(size=(4_000, 9)), click[:, None] + 0.01], axis=1)

    found = about(FeatureSet([DenseFeature("x", dim=10)]), x=list(vectors), click=click)

    assert found == [("label copy", "x[9]", "is a function of the label")]


def test_rows_are_left_as_they_are():
    rows = odd_rows(300)
    before = [array.copy() for array in rows.arrays() if array is not None]

    first, second = (audit(EVERY, CLICK, rows, {"valid": rows}) for _ in range(2))

    assert first == second
    assert all(np.array_equal(a, b) for a, b in zip(before, (each for each in rows.arrays() if each is not None)))


def test_sample_in_memory_has_one_row_of_each_stretch():
    rows = pack(pa.table({"x": np.arange(1_000.0), "click": clicks(1_000)}), ONE_KIND[0], CLICK)

    (sample,), (again,) = rows.spread(300), rows.spread(300)

    place, first = sample.rows.dense[:, 0].numpy(), np.arange(301) * 1_000 // 300
    assert np.all((first[:-1] <= place) & (place < first[1:]))
    assert np.array_equal(place, again.rows.dense[:, 0].numpy())


def test_sample_of_all_rows_is_the_rows():
    rows = odd_rows(30)

    assert rows.spread(30)[0] is rows


def test_sample_of_a_stream_comes_from_everywhere(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": np.arange(10_000.0), "click": np.arange(10_000) % 2}), path, row_group_size=100)
    stream = StreamedData(ParquetRows([path], ONE_KIND[0], CLICK))

    few, many, every = ([piece.rows.dense[:, 0].tolist() for piece in stream.spread(n)] for n in (64, 5_000, 10_000))

    assert few[:2] == [[0, 1], [300, 301]]
    assert len(few) == 32
    assert [piece[0] for piece in many] == list(range(0, 10_000, 200))
    assert {len(piece) for piece in many} == {100}
    assert list(chain(*every)) == list(range(10_000))
    assert join(stream.spread(64)).labels.shape == (64, 1)


def test_stream_says_that_it_saw_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_parts, "MAX_ROWS", 320)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": np.ones(9_000), "click": clicks(9_000)}), path, row_group_size=100)

    (finding,) = audit(ONE_KIND[0], CLICK, StreamedData(ParquetRows([path], ONE_KIND[0], CLICK)), {})

    assert finding.found == "one value in a sample of 320 rows"


def test_table_is_aligned_and_has_the_gravest_first():
    findings = [
        Finding("constant", "country", "one value", 1.0),
        Finding("drift", "price", "PSI 0.41", 0.41, part="valid"),
        Finding("drift", "hour", "PSI 0.52", 0.52, part="test"),
        Finding("leak", "paid_at", "AUC 0.9990", 0.999, "conversion"),
    ]

    assert describe(findings).splitlines() == [
        "warning   about           task        found       advice",
        "leak      paid_at         conversion  AUC 0.9990  remove it, unless it is known before the label",
        "drift     hour in test    -           PSI 0.52    see how the parts were split and encoded",
        "drift     price in valid  -           PSI 0.41    see how the parts were split and encoded",
        "constant  country         -           one value   remove it",
    ]


def test_table_is_short():
    lines = describe([Finding("constant", f"x{number}", "one value", 1.0) for number in range(33)]).splitlines()

    assert len(lines) == 21
    assert lines[-1] == "and 14 more"


def test_no_finding_is_no_table():
    assert describe([]) == ""


def test_names_do_not_command_the_terminal():
    text = describe([Finding("duplicate", "a\x1b[31m\nb" + "c" * 99, "equal to \x1b[31m\n", 1.0)])

    assert "\x1b" not in text
    assert len(text.splitlines()) == 2
    assert max(map(len, text.splitlines())) < 100
