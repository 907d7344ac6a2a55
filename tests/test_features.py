"""Feature definitions and the layout of a packed row."""

import numpy as np
import pytest

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.features import FeatureSet, auto_embedding_dim


@pytest.mark.parametrize(
    ("vocab_size", "dim"), [(1, 4), (2, 4), (100, 8), (1_000, 8), (10_000, 16), (1_000_000, 64), (10**9, 64)]
)
def test_automatic_width_is_a_power_of_two_between_4_and_64(vocab_size, dim):
    assert auto_embedding_dim(vocab_size) == dim


def test_embedding_table_and_width_follow_from_name_and_vocabulary():
    feature = SparseFeature("item", 10_000)
    assert (feature.table, feature.width) == ("item", 16)
    shared = SequenceFeature("hist", 10_000, embedding_dim=8, embedding_name="item")
    assert (shared.table, shared.width) == ("item", 8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DenseFeature(""), ["Feature name", "''"]),
        (lambda: DenseFeature(3), ["Feature name", "3"]),
        (lambda: DenseFeature("x", dim=0), ["`dim`", "`x`", "0"]),
        (lambda: DenseFeature("x", dim=1.5), ["`dim`", "1.5"]),
        (lambda: SparseFeature("x", 0), ["`vocab_size`", "`x`", "0"]),
        (lambda: SparseFeature("x", True), ["`vocab_size`", "True"]),
        (lambda: SparseFeature("x", None), ["`vocab_size`", "None"]),
        (lambda: SparseFeature("x", 5, embedding_dim=-4), ["`embedding_dim`", "-4"]),
        (lambda: SequenceFeature("x", 5, max_len=0), ["`max_len`", "0"]),
        (lambda: SequenceFeature("x", 5, pooling="meen"), ["pooling", "`x`", "meen", "Did you mean `mean`?"]),
    ],
)
def test_wrong_definition_is_refused(make, words, refused):
    with refused(*words):
        make()


@pytest.mark.parametrize("make", [lambda n: SparseFeature("x", n), lambda n: DenseFeature("x", dim=n)])
def test_numpy_integers_are_integers(make):
    make(np.int64(5))


def test_third_position_of_a_sequence_feature_is_max_len():
    assert SequenceFeature("hist", 10, 20).max_len == 20


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({}, ["at least one feature"]),
        ({"dense": [DenseFeature("x"), DenseFeature("x")]}, ["`x`", "more than once"]),
        ({"dense": [DenseFeature("x")], "sparse": [SparseFeature("x", 5)]}, ["`x`", "more than once"]),
        ({"dense": [SparseFeature("x", 5)]}, ["`dense_features`", "DenseFeature", "x"]),
        ({"sparse": ["user"]}, ["`sparse_features`", "SparseFeature", "user"]),
        (
            {"sparse": [SparseFeature("a", 5, 4, "t"), SparseFeature("b", 6, 4, "t")]},
            ["`a` and `b`", "`t`", "vocab_size", "5 and 6"],
        ),
        (
            {"sparse": [SparseFeature("a", 5, 4, "t"), SparseFeature("b", 5, 8, "t")]},
            ["`a` and `b`", "embedding_dim", "4 and 8"],
        ),
        (
            {"sparse": [SparseFeature("a", 5)], "sequence": [SequenceFeature("b", 6, embedding_name="a")]},
            ["`a` and `b`", "vocab_size"],
        ),
        ({"sequence": [SequenceFeature("h", 5, pooling="target_attention")]}, ["`h`", "target_attention", "`query`"]),
        (
            {
                "sparse": [SparseFeature("item", 5)],
                "sequence": [SequenceFeature("h", 5, pooling="target_attention", query="itme")],
            },
            ["`itme`", "Did you mean `item`?"],
        ),
        (
            {
                "sparse": [SparseFeature("item", 5), SparseFeature("last", 5, embedding_name="item")],
                "sequence": [SequenceFeature("h", 5, embedding_name="item", pooling="target_attention")],
            },
            ["`h`", "several", "`item`, `last`", "set `query`"],
        ),
        (
            {
                "sparse": [SparseFeature("item", 5, 8)],
                "sequence": [SequenceFeature("h", 5, embedding_dim=4, pooling="target_attention", query="item")],
            },
            ["`h`", "equal widths"],
        ),
    ],
)
def test_contradicting_features_are_refused(features, words, refused):
    with refused(*words):
        FeatureSet(**features)


def test_query_is_the_sparse_feature_of_the_same_table_or_the_named_one():
    item, user = SparseFeature("item", 9, 4, "t"), SparseFeature("user", 7, 4)
    by_table = SequenceFeature("h", 9, embedding_dim=4, embedding_name="t", pooling="target_attention")
    by_name = SequenceFeature("g", 9, embedding_dim=4, pooling="target_attention", query="user")
    features = FeatureSet(sparse=[user, item], sequence=[by_table, by_name])
    assert features.query_of(by_table) == item
    assert features.query_of(by_name) == user


def test_ids_of_one_width_lie_side_by_side_sparse_first():
    features = FeatureSet(
        dense=[DenseFeature("x"), DenseFeature("y", dim=3)],
        sparse=[SparseFeature("wide", 5, 8), SparseFeature("a", 5, 4)],
        sequence=[
            SequenceFeature("h", 5, embedding_dim=4, max_len=3),
            SequenceFeature("g", 5, embedding_dim=8, max_len=2),
        ],
    )
    layout = [(part.feature.name, part.start, part.stop) for part in features.id_slices]
    assert layout == [("a", 0, 1), ("h", 1, 4), ("wide", 4, 5), ("g", 5, 7)]
    assert (features.num_id_columns, features.dense_dim) == (7, 4)
    assert features.names == ["x", "y", "wide", "a", "h", "g"]
