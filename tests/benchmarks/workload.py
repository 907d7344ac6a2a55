"""The workload that own and foreign programs are timed on: an MMoE over random rows. Needs numpy and nothing else.

A peer's environment imports it too, so that all programs see the same rows and the same sizes.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """Sizes of the data and of the network.

    Attributes:
        rows: Training rows.
        vocabulary: Values of each id column.
        batch_size: Rows of a step.
        num_ids: Id columns, each with its own embeddings.
        width: Width of an embedding.
        num_dense: Numeric columns.
        num_experts: Experts of the MMoE.
        expert_dims: Layer widths of an expert.
        tower_dims: Layer widths of a tower, before its logit.
        tasks: Label columns.
    """

    rows: int = 320_000
    vocabulary: int = 10_000
    batch_size: int = 2_048
    num_ids: int = 10
    width: int = 16
    num_dense: int = 5
    num_experts: int = 4
    expert_dims: tuple[int, ...] = (64, 32)
    tower_dims: tuple[int, ...] = (32, 16)
    tasks: tuple[str, ...] = ("click", "conversion")

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})

    def to_json(self) -> str:
        """All sizes, to hand them to another process."""
        return json.dumps(asdict(self))

    @property
    def id_names(self) -> list[str]:
        """Names of the id columns."""
        return [f"id{i}" for i in range(self.num_ids)]

    @property
    def dense_names(self) -> list[str]:
        """Names of the numeric columns."""
        return [f"x{i}" for i in range(self.num_dense)]

    @property
    def in_dim(self) -> int:
        """Width of the embedded row."""
        return self.num_ids * self.width + self.num_dense


def make_data(workload: Workload, seed: int = 0) -> Columns:
    """Random ids and numbers, with labels that depend on them.

    Returns:
        Ids int64 in ``[0, vocabulary)``, numbers float32, labels float32, each of shape ``(rows,)``.
    """
    random = np.random.default_rng(seed)
    rows = workload.rows
    data = {name: random.integers(0, workload.vocabulary, rows) for name in workload.id_names}
    data |= {name: random.standard_normal(rows, dtype=np.float32) for name in workload.dense_names}
    score = data["x0"] + 0.1 * (data["id0"] % 7) - 1.5
    click = random.random(rows) < 1 / (1 + np.exp(-score))
    labels = (click, click & (random.random(rows) < 0.1))
    return data | {task: label.astype(np.float32) for task, label in zip(workload.tasks, labels)}
