"""The one-table embedding against one `nn.Embedding` per feature."""

import numpy as np
import pytest
import torch

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.batch import Batch
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.layers import FeatureEmbedding
from nextrec_like.layers.embedding import select_rows

FEATURES = FeatureSet(
    dense=[DenseFeature("x"), DenseFeature("y", dim=2)],
    sparse=[SparseFeature("wide", 6, 8), SparseFeature("user", 5, 4), SparseFeature("item", 7, 4, "thing")],
    sequence=[
        SequenceFeature("hist", 7, embedding_dim=4, embedding_name="thing", max_len=3),
        SequenceFeature("tags", 9, embedding_dim=8, max_len=2, pooling="sum"),
    ],
)
COLUMNS = {
    "x": [0.1, 0.2, 0.3],
    "y": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "wide": [5, 0, 1],
    "user": [4, 0, 2],
    "item": [6, 1, 1],
    "hist": [[1, 6], [], [2, 2, 3]],
    "tags": [[8], [1, 2], []],
}


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    return FeatureEmbedding(FEATURES)


@pytest.fixture
def batch():
    return pack(read_table(COLUMNS), FEATURES).rows


def separate_tables(embedding):
    """The rows of each embedding name: width 4 holds user and thing, width 8 holds wide and tags, in this order."""
    narrow, wide = (table.weight for table in embedding.tables)
    assert (narrow.shape, wide.shape) == ((12, 4), (15, 8))
    return {"user": narrow[:5], "thing": narrow[5:], "wide": wide[:6], "tags": wide[6:]}


def test_row_is_the_concatenation_of_separate_embeddings(embedding, batch):
    rows = {name: weight.detach().numpy() for name, weight in separate_tables(embedding).items()}
    for index, vector in enumerate(embedding(batch).detach().numpy()):
        hist = [rows["thing"][i] for i in COLUMNS["hist"][index]]
        tags = [rows["tags"][i] for i in COLUMNS["tags"][index]]
        expected = [
            rows["user"][COLUMNS["user"][index]],
            rows["thing"][COLUMNS["item"][index]],
            np.mean(hist, axis=0) if hist else np.zeros(4),
            rows["wide"][COLUMNS["wide"][index]],
            np.sum(tags, axis=0) if tags else np.zeros(8),
            [COLUMNS["x"][index], *COLUMNS["y"][index]],
        ]
        np.testing.assert_allclose(vector, np.concatenate(expected), rtol=1e-6, atol=1e-7)
    assert embedding.out_dim == 4 + 4 + 4 + 8 + 8 + 3


def test_gradient_equals_that_of_separate_embeddings(embedding, batch):
    direction = torch.randn(3, embedding.out_dim)
    (embedding(batch) * direction).sum().backward()
    expected = np.zeros((7, 4), np.float32)  # of the table that item and hist share
    for row in range(3):
        expected[COLUMNS["item"][row]] += direction[row, 4:8].numpy()
        for item in COLUMNS["hist"][row]:
            expected[item] += direction[row, 8:12].numpy() / len(COLUMNS["hist"][row])
    np.testing.assert_allclose(embedding.tables[0].weight.grad[5:], expected, rtol=1e-5, atol=1e-6)


def test_initial_rows_are_small_and_padding_is_zero(embedding):
    tables = separate_tables(embedding)
    assert tables["thing"][0].abs().sum() == 0
    assert tables["tags"][0].abs().sum() == 0
    assert tables["user"][0].abs().min() > 0
    assert 0.03 < torch.cat([tables["user"].flatten(), tables["wide"].flatten()]).std() < 0.07


@pytest.mark.parametrize("pooling", ["mean", "sum", "max", "target_attention"])
def test_padding_gets_no_gradient_from_a_sequence(pooling):
    item = SparseFeature("item", 5, 4)
    hist = SequenceFeature("hist", 5, embedding_dim=4, embedding_name="item", max_len=4, pooling=pooling)
    features = FeatureSet(sparse=[item], sequence=[hist])
    embedding = FeatureEmbedding(features)
    rows = pack(read_table({"item": [1, 2, 3], "hist": [[1, 2], [], [4, 4, 3]]}), features).rows
    embedding(rows).square().sum().backward()
    gradient = embedding.tables[0].weight.grad
    assert gradient[0].abs().sum() == 0
    assert gradient[4].abs().sum() > 0


def test_id_0_of_a_sparse_feature_is_trained():
    features = FeatureSet(sparse=[SparseFeature("user", 3, 4)])
    embedding = FeatureEmbedding(features)
    embedding(pack(read_table({"user": [0, 0]}), features).rows).sum().backward()
    assert embedding.tables[0].weight.grad[0].tolist() == [2.0] * 4


def test_only_dense_features_pass_through_unchanged():
    embedding = FeatureEmbedding(FeatureSet(dense=[DenseFeature("y", dim=2)]))
    dense = torch.randn(3, 2)
    assert torch.equal(embedding(Batch(torch.zeros(3, 0, dtype=torch.int64), dense)), dense)
    assert list(embedding.parameters()) == []


def test_padding_between_ids_is_no_id():
    features = FeatureSet(sequence=[SequenceFeature("h", 5, embedding_dim=4, max_len=4)])
    embedding = FeatureEmbedding(features)
    ids = torch.tensor([[1, 0, 3, 0], [1, 3, 0, 0]])
    out = embedding(Batch(ids, torch.zeros(2, 0)))
    assert torch.equal(out[0], out[1])
    torch.testing.assert_close(out[0], embedding.tables[0].weight[[1, 3]].mean(dim=0))


def test_lookup_is_one_gather_per_width(embedding, batch, monkeypatch):
    calls = []
    for table in embedding.tables:
        monkeypatch.setattr(table, "lookup", lambda *args: calls.append(1) or select_rows(*args))
    embedding(batch)
    assert len(calls) == 2
