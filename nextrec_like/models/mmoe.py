"""MMoE: shared experts, one gate and one tower per task."""

from collections.abc import Sequence

from torch import nn

from nextrec_like.batch import Batch, Logits
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import positive_int
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.layers import Experts, FeatureEmbedding, Gate, MLPParams, Tower
from nextrec_like.layers.towers import Gates, Towers
from nextrec_like.models.base import LayerParams, Model, Target


class MMoE(Model):
    """Experts that all tasks share, mixed for each task by its own gate.

    Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018,
    eq. 6 and 7. https://doi.org/10.1145/3219819.3220007

    Args:
        dense_features: Numeric columns.
        sparse_features: Id columns.
        sequence_features: Columns with a list of ids per row.
        target: Label columns, or `Task` objects.
        task: For each target its task name, or its kind.
        num_experts: Number of experts.
        expert_params: MLP of each expert.
        tower_params: MLP of each task.
        processor: A fitted processor: `fit`, `evaluate` and `predict` then take the raw table.
    """

    path = ("expert_params", "tower_params")

    def __init__(
        self,
        dense_features: Sequence[DenseFeature] | None = None,
        sparse_features: Sequence[SparseFeature] | None = None,
        sequence_features: Sequence[SequenceFeature] | None = None,
        *,
        target: Target,
        task: Sequence[str] | str | None = None,
        num_experts: int = 8,
        expert_params: LayerParams = MLPParams((256, 128)),
        tower_params: LayerParams = MLPParams((64,)),
        processor: DataProcessor | None = None,
    ) -> None:
        super().__init__(
            dense_features, sparse_features, sequence_features, target=target, task=task, processor=processor
        )
        expert = MLPParams.of(expert_params, "expert_params").not_empty("expert_params")
        tower = MLPParams.of(tower_params, "tower_params")
        num_experts = positive_int("`num_experts`", num_experts)
        self.hyperparameters = {
            "num_experts": num_experts,
            "expert_params": expert.as_dict(),
            "tower_params": tower.as_dict(),
        }
        self.embedding = FeatureEmbedding(self.features)
        self.experts = Experts(num_experts, self.embedding.out_dim, expert)
        self.gates = Gates(self.task_names, lambda _: Gate(self.embedding.out_dim, num_experts))
        self.towers = Towers(self.task_names, lambda _: Tower(self.experts.out_dim, tower))

    def forward(self, batch: Batch) -> Logits:
        x = self.embedding(batch)  # (B, D)
        experts = self.experts(x)  # (B, E, H)
        mixtures = self.gates(dict.fromkeys(self.task_names, x), experts)  # (B, H) each
        return self.towers(mixtures)  # (B,) each

    def last_shared(self) -> list[nn.Parameter]:
        """The last linear layer of the experts."""
        return list(self.experts.last_linear().parameters())

    def representation(self) -> Experts:
        """The outputs of the experts, (B, E, H)."""
        return self.experts
