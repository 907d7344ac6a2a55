"""Shared-Bottom: one MLP for all tasks, one tower each."""

from collections.abc import Sequence

from torch import nn

from nextrec_like.batch import Batch, Logits
from nextrec_like.data.processor import DataProcessor
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.layers import MLP, FeatureEmbedding, MLPParams, Tower
from nextrec_like.layers.towers import Towers
from nextrec_like.models.base import LayerParams, Model, Target


class SharedBottom(Model):
    """One MLP that all tasks share, then one tower per task.

    Caruana, "Multitask Learning", Machine Learning 28, 1997. https://doi.org/10.1023/A:1007379606734

    Args:
        dense_features: Numeric columns.
        sparse_features: Id columns.
        sequence_features: Columns with a list of ids per row.
        target: Label columns, or `Task` objects.
        task: For each target its task name, or its kind.
        bottom_params: The shared MLP.
        tower_params: MLP of each task.
        processor: A fitted processor: `fit`, `evaluate` and `predict` then take the raw table.
    """

    path = ("bottom_params", "tower_params")

    def __init__(
        self,
        dense_features: Sequence[DenseFeature] | None = None,
        sparse_features: Sequence[SparseFeature] | None = None,
        sequence_features: Sequence[SequenceFeature] | None = None,
        *,
        target: Target,
        task: Sequence[str] | str | None = None,
        bottom_params: LayerParams = MLPParams((256, 128)),
        tower_params: LayerParams = MLPParams((64,)),
        processor: DataProcessor | None = None,
    ) -> None:
        super().__init__(
            dense_features, sparse_features, sequence_features, target=target, task=task, processor=processor
        )
        bottom = MLPParams.of(bottom_params, "bottom_params").not_empty("bottom_params")
        tower = MLPParams.of(tower_params, "tower_params")
        self.hyperparameters = {"bottom_params": bottom.as_dict(), "tower_params": tower.as_dict()}
        self.embedding = FeatureEmbedding(self.features)
        self.bottom = MLP(self.embedding.out_dim, bottom)
        self.towers = Towers(self.task_names, lambda _: Tower(self.bottom.out_dim, tower))

    def forward(self, batch: Batch) -> Logits:
        shared = self.bottom(self.embedding(batch))  # (B, H)
        return self.towers(dict.fromkeys(self.task_names, shared))  # (B,) each

    def last_shared(self) -> list[nn.Parameter]:
        """The last linear layer of the bottom."""
        return list(self.bottom.last_linear().parameters())

    def representation(self) -> MLP:
        """The output of the bottom, (B, H)."""
        return self.bottom
