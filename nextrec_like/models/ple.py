"""PLE: shared experts beside each task's own, in several levels."""

from collections.abc import Sequence

from torch import Tensor, nn

from nextrec_like.batch import Batch, Logits
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, positive_int
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.layers import Experts, FeatureEmbedding, Gate, MLPParams, PerTask, Tower
from nextrec_like.layers.towers import Towers
from nextrec_like.models.base import LayerParams, Model, Target

MAX_LEVELS = 100
"""The papers have two or three; a number far beyond is a mistake that would take hours to build."""


class ExtractionLevel(nn.Module):
    """One level of PLE: shared experts, each task's own experts, and a gate for every output.

    Args:
        task_names: The tasks.
        in_dim: Width of every input.
        num_shared_experts: Experts that read the shared input.
        num_task_experts: Experts of each task, which read its input.
        expert_params: MLP of each expert.
        is_last: The last level has no shared output.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        in_dim: int,
        *,
        num_shared_experts: int,
        num_task_experts: int,
        expert_params: MLPParams,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.task_names = list(task_names)
        self.shared_experts = Experts(num_shared_experts, in_dim, expert_params)
        self.task_experts = PerTask(task_names, lambda _: Experts(num_task_experts, in_dim, expert_params))
        self.gates = PerTask(task_names, lambda _: Gate(in_dim, num_task_experts + num_shared_experts))
        num_all = num_task_experts * len(task_names) + num_shared_experts
        self.shared_gate = None if is_last else Gate(in_dim, num_all)
        self.out_dim = self.shared_experts.out_dim

    def forward(self, shared: Tensor, by_task: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        common = self.shared_experts(shared)  # (B, E, H)
        own = {task: self.task_experts[task](by_task[task]) for task in self.task_names}  # (B, E', H)
        mixed = {task: self.gates[task](by_task[task], own[task], common) for task in self.task_names}  # (B, H)
        if self.shared_gate is not None:
            shared = self.shared_gate(shared, *own.values(), common)  # (B, H)
        return shared, mixed


class PLE(Model):
    """Shared experts beside each task's own experts, mixed level by level; one level is CGC.

    Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized
    Recommendations", RecSys 2020, eq. 1 to 6. https://doi.org/10.1145/3383313.3412236

    Args:
        dense_features: Numeric columns.
        sparse_features: Id columns.
        sequence_features: Columns with a list of ids per row.
        target: Label columns, or `Task` objects.
        task: For each target its task name, or its kind.
        num_levels: Number of levels.
        num_shared_experts: Shared experts of each level.
        num_task_experts: Experts of each task in each level.
        expert_params: MLP of each expert in every level.
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
        num_levels: int = 2,
        num_shared_experts: int = 4,
        num_task_experts: int = 2,
        expert_params: LayerParams = MLPParams((128,)),
        tower_params: LayerParams = MLPParams((64,)),
        processor: DataProcessor | None = None,
    ) -> None:
        super().__init__(
            dense_features, sparse_features, sequence_features, target=target, task=task, processor=processor
        )
        expert = MLPParams.of(expert_params, "expert_params").not_empty("expert_params")
        tower = MLPParams.of(tower_params, "tower_params")
        num_levels = positive_int("`num_levels`", num_levels)
        if num_levels > MAX_LEVELS:
            raise InputError(f"`num_levels` is {num_levels:,}; at most {MAX_LEVELS} are built.")
        num_shared_experts = positive_int("`num_shared_experts`", num_shared_experts)
        num_task_experts = positive_int("`num_task_experts`", num_task_experts)
        self.hyperparameters = {
            "num_levels": num_levels,
            "num_shared_experts": num_shared_experts,
            "num_task_experts": num_task_experts,
            "expert_params": expert.as_dict(),
            "tower_params": tower.as_dict(),
        }
        self.embedding = FeatureEmbedding(self.features)
        self.levels = nn.ModuleList(
            ExtractionLevel(
                self.task_names,
                expert.dims[-1] if level else self.embedding.out_dim,
                num_shared_experts=num_shared_experts,
                num_task_experts=num_task_experts,
                expert_params=expert,
                is_last=level == num_levels - 1,
            )
            for level in range(num_levels)
        )
        self.towers = Towers(self.task_names, lambda _: Tower(expert.dims[-1], tower))

    def forward(self, batch: Batch) -> Logits:
        x = self.embedding(batch)  # (B, D)
        shared, by_task = x, dict.fromkeys(self.task_names, x)
        for level in self.levels:
            shared, by_task = level(shared, by_task)  # (B, H) each
        return self.towers(by_task)  # (B,) each

    def last_shared(self) -> list[nn.Parameter]:
        """The last linear layer of the shared experts of the last level."""
        return list(self.representation().last_linear().parameters())

    def representation(self) -> Experts:
        """The outputs of the shared experts of the last level, (B, E, H)."""
        last = self.levels[-1]
        assert isinstance(last, ExtractionLevel)
        return last.shared_experts
