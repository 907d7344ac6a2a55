"""ESMM: two towers on shared embeddings, trained in the entire space."""

from collections.abc import Sequence

from nextrec_like.batch import Batch, Logits
from nextrec_like.data.processor import DataProcessor
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.layers import FeatureEmbedding, MLPParams, Tower
from nextrec_like.layers.towers import Towers
from nextrec_like.models.base import LayerParams, Model, Target


class ESMM(Model):
    """One tower per step of a funnel on shared embeddings; by default with the entire-space objective.

    Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, eq. 2 to 4. https://arxiv.org/abs/1804.07931
    If no task has a parent, each target is taken as the child of the one before it: ``[click, conversion]``.

    Args:
        dense_features: Numeric columns.
        sparse_features: Id columns.
        sequence_features: Columns with a list of ids per row.
        target: Label columns from the top of the funnel down, or `Task` objects.
        task: For each target its task name, or its kind.
        ctr_params: MLP of the tasks without a parent.
        cvr_params: MLP of the tasks with a parent.
        processor: A fitted processor: `fit`, `evaluate` and `predict` then take the raw table.
    """

    default_objective = "entire_space"

    path = ("ctr_params",)

    def __init__(
        self,
        dense_features: Sequence[DenseFeature] | None = None,
        sparse_features: Sequence[SparseFeature] | None = None,
        sequence_features: Sequence[SequenceFeature] | None = None,
        *,
        target: Target,
        task: Sequence[str] | str | None = None,
        ctr_params: LayerParams = MLPParams((256, 128, 64)),
        cvr_params: LayerParams = MLPParams((256, 128, 64)),
        processor: DataProcessor | None = None,
    ) -> None:
        super().__init__(
            dense_features, sparse_features, sequence_features, target=target, task=task, processor=processor
        )
        self.tasks = self.tasks.as_funnel()
        ctr, cvr = MLPParams.of(ctr_params, "ctr_params"), MLPParams.of(cvr_params, "cvr_params")
        self.hyperparameters = {"ctr_params": ctr.as_dict(), "cvr_params": cvr.as_dict()}
        self.embedding = FeatureEmbedding(self.features)
        self.towers = Towers(
            self.task_names, lambda name: Tower(self.embedding.out_dim, cvr if self.tasks[name].parent else ctr)
        )

    def forward(self, batch: Batch) -> Logits:
        x = self.embedding(batch)  # (B, D)
        return self.towers(dict.fromkeys(self.task_names, x))  # (B,) each

    def last_shared(self) -> FeatureEmbedding:
        """The embedded features: the towers share nothing else."""
        return self.embedding
