"""Small modules that models are made of."""

from nextrec_like.layers.embedding import EmbeddingTable, FeatureEmbedding, Lookup, select_rows
from nextrec_like.layers.experts import Experts, Gate
from nextrec_like.layers.mlp import MLP, MLPParams, Tower
from nextrec_like.layers.per_task import PerTask

__all__ = [
    "MLP",
    "EmbeddingTable",
    "Experts",
    "FeatureEmbedding",
    "Gate",
    "Lookup",
    "MLPParams",
    "PerTask",
    "Tower",
    "select_rows",
]
