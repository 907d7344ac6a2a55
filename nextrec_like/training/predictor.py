"""What a model does without being trained: predict, evaluate, describe and save itself."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from nextrec_like.data.packed import PackedData, pack
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.tables import TableLike, read_table
from nextrec_like.errors import InputError, warn
from nextrec_like.features import FeatureSet
from nextrec_like.metrics import TaskMetrics, check_metrics
from nextrec_like.objectives import OBJECTIVES, Objective, build_objective
from nextrec_like.tasks import TaskSet
from nextrec_like.training.arguments import group_of
from nextrec_like.training.device import resolve_device
from nextrec_like.training.evaluation import evaluate_predictions, predict_packed
from nextrec_like.training.randomness import fingerprint
from nextrec_like.training.saving import save_model
from nextrec_like.training.summary import model_summary


class Predictor(nn.Module, metaclass=ABCMeta):
    """The methods of a model that need no training. See `models.Model` for the architecture's side."""

    features: FeatureSet
    tasks: TaskSet
    processor: DataProcessor | None
    processor_fingerprint: str | None
    hyperparameters: dict[str, object]
    default_objective: str

    def __init__(self) -> None:
        super().__init__()
        self._objective: Objective | None = None
        self._constructed: dict[str, str] = {}
        self.num_fits = 0
        self.is_fitted = False

    @abstractmethod
    def dense_parameters(self) -> list[nn.Parameter]:
        """All parameters outside the embedding tables."""

    @property
    def objective(self) -> Objective:
        """What a logit means: that of `compile`, of the loaded model, or the model's default."""
        if self._objective is None:
            self._objective = build_objective(self.default_objective, self.tasks, {}, OBJECTIVES)
        return self._objective

    @objective.setter
    def objective(self, objective: Objective) -> None:
        self._objective = objective

    def evaluate(
        self,
        data: TableLike | PackedData,
        *,
        metrics: str | Sequence[str] = ("auc", "logloss"),
        group_id: str | None = None,
        device: str | torch.device = "auto",
    ) -> dict[str, TaskMetrics]:
        """Exact metrics of every task over all rows and, for a task with a parent, where the parent happened.

        Args:
            data: Rows with labels, in any form that `fit` takes.
            metrics: ``auc``, ``gauc``, ``logloss``, ``pr_auc``, ``ece``, ``pcoc``, ``rmse``, ``mae``.
            group_id: Column with the group of each row, for ``gauc``.
            device: As in `fit`.

        Returns:
            For example ``{"click": {"auc": 0.7}, "conversion": {...}, "conversion_given_click": {...}}``. A metric
            that is not defined on these rows is None, with an entry in ``result["click"].reasons``.

        Raises:
            InputError: For data or arguments that break a rule.
        """
        metrics = check_metrics(metrics)
        packed = self._pack(data, labels=True, metrics=metrics, group_id=group_id)
        predictions = self._predict(packed, device)
        assert packed.labels is not None
        return evaluate_predictions(self.tasks, predictions, packed.labels, metrics, packed.group)

    def predict(self, data: TableLike | PackedData, *, device: str | torch.device = "auto") -> pd.DataFrame:
        """Predicts every task.

        Args:
            data: Rows in any form that `fit` takes; labels are not needed.
            device: As in `fit`.

        Returns:
            One row per row, one float64 column per task: p(task) over all impressions, or the value of a
            regression; for a task with a parent also p(task given parent), as ``conversion_given_click``.

        Raises:
            InputError: For data that break a rule.
        """
        index = data.index if isinstance(data, pd.DataFrame) else None
        return pd.DataFrame(self._predict(self._pack(data, labels=False), device), index=index)

    def save(self, folder: str | Path) -> None:
        """Writes the model and its fitted processor: safetensors, JSON and parquet; no pickle.

        Args:
            folder: A new or empty folder, or one that holds a saved model, which is replaced.

        Raises:
            InputError: If the folder holds anything else.
        """
        self._check_processor()
        save_model(self, folder)

    def summary(self) -> str:
        """Features, embedding tables, layers with their number of parameters, and tasks, as text."""
        return model_summary(self)

    def _predict(self, data: PackedData, device: str | torch.device) -> dict[str, np.ndarray]:
        if not self.is_fitted and fingerprint(self) == self._constructed:
            warn("The model has not been fitted, so it predicts from random weights; call `fit` first.")
        target = resolve_device(device)
        self.to(target)
        return predict_packed(self, self.objective, data.on(target), target)

    def _check_processor(self) -> None:
        if self.processor is not None and self.processor.fingerprint != self.processor_fingerprint:
            raise InputError(
                "The processor was fitted again after the model was made, so its ids mean something else; use "
                "`transform` on new rows, and never `fit` or `fit_transform`."
            )

    def _pack(
        self, data: TableLike | PackedData, *, labels: bool, metrics: Sequence[str] = (), group_id: str | None = None
    ) -> PackedData:
        if isinstance(data, PackedData):
            return data
        table = read_table(data) if self.processor is None else self.processor.read(data)
        group = group_of(table, group_id, self.processor) if "gauc" in metrics else None
        if self.processor is not None:
            self._check_processor()
            table = self.processor.transform(table)
        return pack(table, self.features, self.tasks if labels else None, group)
