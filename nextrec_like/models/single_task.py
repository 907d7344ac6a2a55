"""SingleTask: one independent network per task."""

from collections.abc import Sequence

from torch import nn

from nextrec_like.batch import Batch, Logits
from nextrec_like.data.processor import DataProcessor
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.layers import FeatureEmbedding, MLPParams, PerTask, Tower
from nextrec_like.models.base import LayerParams, Model, Target


class SingleTask(Model):
    """One network per task, with its own embeddings: the baseline that multi-task learning has to beat.

    Args:
        dense_features: Numeric columns.
        sparse_features: Id columns.
        sequence_features: Columns with a list of ids per row.
        target: Label columns, or `Task` objects.
        task: For each target its task name, or its kind.
        tower_params: MLP of each task.
        processor: A fitted processor: `fit`, `evaluate` and `predict` then take the raw table.
    """

    path = ("tower_params",)

    def __init__(
        self,
        dense_features: Sequence[DenseFeature] | None = None,
        sparse_features: Sequence[SparseFeature] | None = None,
        sequence_features: Sequence[SequenceFeature] | None = None,
        *,
        target: Target,
        task: Sequence[str] | str | None = None,
        tower_params: LayerParams = MLPParams((256, 128, 64)),
        processor: DataProcessor | None = None,
    ) -> None:
        super().__init__(
            dense_features, sparse_features, sequence_features, target=target, task=task, processor=processor
        )
        tower = MLPParams.of(tower_params, "tower_params")
        self.hyperparameters = {"tower_params": tower.as_dict()}
        self.networks = PerTask(self.task_names, lambda _: self._build_network(tower))

    def forward(self, batch: Batch) -> Logits:
        return {task: self.networks[task](batch) for task in self.task_names}  # (B,)

    def _build_network(self, params: MLPParams) -> nn.Module:
        embedding = FeatureEmbedding(self.features)
        return nn.Sequential(embedding, Tower(embedding.out_dim, params))
