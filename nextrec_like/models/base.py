"""The contract of a model: features in, one logit per task out."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

from torch import nn

from nextrec_like.batch import Batch, Logits
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError
from nextrec_like.features import DenseFeature, FeatureSet, SequenceFeature, SparseFeature
from nextrec_like.layers import EmbeddingTable, MLPParams
from nextrec_like.layers.towers import batch_tasks
from nextrec_like.tasks import Task, TaskSet, build_tasks
from nextrec_like.training.estimator import Estimator

Target: TypeAlias = Sequence[str | Task] | str | Task
"""Label columns, or `Task` objects."""

LayerParams: TypeAlias = MLPParams | Mapping[str, object]
"""Shape of an MLP: ``{"dims": [64, 32], "activation": "relu", "dropout": 0.1, "norm": "batch"}``."""


class Model(Estimator):
    """How tasks share parameters. Knows no label and no loss.

    A subclass takes features and targets, builds its layers, records its own options in `hyperparameters`
    (which `save` writes and `load_model` passes back) and implements `forward`.

    Args:
        dense_features: Numeric columns.
        sparse_features: Id columns.
        sequence_features: Columns with a list of ids per row.
        target: Label columns, or `Task` objects.
        task: For each target its task name, or its kind (``binary`` or ``regression``).
        processor: A fitted processor: `fit`, `evaluate` and `predict` then take the raw table.

    Raises:
        InputError: For features or tasks that contradict each other, or a label used as a feature.
    """

    default_objective = "marginal"
    path: tuple[str, ...] = ()
    """Names of the hyperparameters with the layers that a row passes on the way to a logit, one after the other."""

    def __init__(
        self,
        dense_features: Sequence[DenseFeature] | None,
        sparse_features: Sequence[SparseFeature] | None,
        sequence_features: Sequence[SequenceFeature] | None,
        *,
        target: Target,
        task: Sequence[str] | str | None,
        processor: DataProcessor | None,
    ) -> None:
        super().__init__()
        self.features = FeatureSet(dense_features, sparse_features, sequence_features)
        self.tasks: TaskSet = build_tasks(target, task)
        self.tasks.check_features(self.features.names)
        self.attach(processor)
        self.hyperparameters: dict[str, object] = {}

    def attach(self, processor: DataProcessor | None) -> None:
        """Takes a fitted processor, whose ids must be those of the features.

        Raises:
            InputError: If it is no fitted processor, or gives a feature another vocabulary.
        """
        if processor is not None and not isinstance(processor, DataProcessor):
            raise InputError(f"`processor` should be a DataProcessor. Received {processor!r}.")
        self.processor = processor
        if processor is None:
            self.processor_fingerprint = None
            return
        self.processor_fingerprint = processor.fingerprint
        encoded = processor.features()
        sizes = {f.name: f.vocab_size for f in [*encoded["sparse_features"], *encoded["sequence_features"]]}
        for feature in self.features.ids:
            size = sizes.get(feature.name, feature.vocab_size)
            if size != feature.vocab_size:
                raise InputError(
                    f"Feature `{feature.name}` has vocab_size {feature.vocab_size}, but the processor gives it {size} "
                    f"ids; pass the processor that the features came from."
                )

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in order."""
        return self.tasks.names

    @abstractmethod
    def forward(self, batch: Batch) -> Logits:
        """One logit per task, shape ``(B,)``."""

    def last_shared(self) -> Sequence[nn.Parameter] | nn.Module | None:
        """Where weightings probe the gradient of each task.

        Parameters of the last layer that all tasks share; or a module whose output all tasks share; or None:
        then all parameters outside the embedding tables that are reached by two losses, found at the first batch.
        """
        return None

    def representation(self) -> nn.Module | None:
        """The module whose output all tasks share, for weightings with the site ``representation``.

        The gradient there is not summed over the batch. None if there is no such module.
        """
        declared = self.last_shared()
        return declared if isinstance(declared, nn.Module) else None

    def embedding_tables(self) -> list[EmbeddingTable]:
        """The modules that hold embedding tables."""
        return [module for module in self.modules() if isinstance(module, EmbeddingTable)]

    def tasks_together(self, on: bool) -> AbstractContextManager[None]:
        """Within the context, training computes the towers and gates of all tasks by the same products, if `on`.

        Only for steps that look at no gradient of a single task; see `layers.towers`.
        """
        return batch_tasks(self, on)

    def dense_parameters(self) -> list[nn.Parameter]:
        """All parameters outside the embedding tables."""
        tables = {id(table.weight) for table in self.embedding_tables()}
        return [parameter for parameter in self.parameters() if id(parameter) not in tables]
