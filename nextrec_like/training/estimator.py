"""What a user calls: compile, fit, evaluate, predict, save, summary."""

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nextrec_like.data.packed import PackedData, pack
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.tables import read_table
from nextrec_like.errors import InputError, warn, within
from nextrec_like.features import FeatureSet
from nextrec_like.metrics import TaskMetrics, check_metrics
from nextrec_like.objectives import OBJECTIVES, Objective, build_objective
from nextrec_like.objectives.build import LossSpec
from nextrec_like.tasks import TaskSet
from nextrec_like.training.arguments import (
    Data,
    check_training_rows,
    check_validation,
    checkpoint_in,
    group_of,
)
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.checkpoint import Checkpoint
from nextrec_like.training.compiled import Compiled, compile_parts
from nextrec_like.training.device import resolve_device
from nextrec_like.training.evaluation import evaluate_predictions, predict_packed
from nextrec_like.training.history import History
from nextrec_like.training.monitor import MonitorSpec
from nextrec_like.training.randomness import fingerprint, initialize, seeded
from nextrec_like.training.saving import describe, save_model
from nextrec_like.training.settings import Settings
from nextrec_like.training.summary import model_summary
from nextrec_like.training.trainer import Trainer
from nextrec_like.weighting import WeightingSpec
from nextrec_like.weighting.site import Site


class EstimatorMeta(ABCMeta):
    """Notes the weights that a model is constructed with, so that `fit` can tell whether the user changed them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        model = super().__call__(*args, **kwargs)
        model._constructed = fingerprint(model)
        return model


class Estimator(nn.Module, metaclass=EstimatorMeta):
    """The methods of a model that need data or a training. See `models.Model` for the architecture's side."""

    features: FeatureSet
    tasks: TaskSet
    processor: DataProcessor | None
    processor_fingerprint: str | None
    hyperparameters: dict[str, object]
    default_objective: str

    def __init__(self) -> None:
        super().__init__()
        self._constructed: dict[str, int] = {}
        self._parts: Compiled | None = None
        self._objective: Objective | None = None
        self.num_fits = 0
        self.is_fitted = False

    @abstractmethod
    def last_shared(self) -> Sequence[nn.Parameter] | nn.Module | None:
        """Where weightings probe; see `models.Model`."""

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

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        optimizer_params: Mapping[str, object] | None = None,
        *,
        loss: LossSpec | Sequence[LossSpec] | None = None,
        loss_weights: WeightingSpec = None,
        objective: str | type[Objective] | None = None,
        scheduler: str | LRScheduler | None = None,
        scheduler_params: Mapping[str, object] | None = None,
        scheduler_interval: str = "epoch",
        warmup_steps: int = 0,
        clip_norm: float | None = None,
    ) -> None:
        """Chooses how to train. A second call starts anew, with fresh optimizer and weighting state.

        Args:
            optimizer: ``adam``, ``adamw``, ``sgd``, ``adagrad``, ``rmsprop``, or a torch optimizer.
            optimizer_params: Its options, such as ``{"lr": 1e-3, "weight_decay": 1e-5}``.
            loss: ``bce``, ``focal``, ``mse``, ``mae``, ``huber``, or ``{"name": "bce", "class_weight": [1, 10]}``;
                one for all tasks, a list, or a dict by task. By default ``bce`` for binary tasks, ``mse`` for
                regressions.
            loss_weights: How to balance the tasks: None (equal), a number, a list, a dict by task, a method such
                as ``"grad_norm"``, ``{"method": "grad_norm", "alpha": 1.5}``, or a `Weighting`.
            objective: ``marginal``, ``click_space``, ``entire_space`` or an `Objective` class; by default the
                model's own.
            scheduler: A class name of `torch.optim.lr_scheduler`, or an instance.
            scheduler_params: Its options.
            scheduler_interval: ``epoch`` or ``step``: when it advances.
            warmup_steps: Steps over which the learning rate rises linearly from 0.
            clip_norm: Largest norm of the whole gradient; larger ones are scaled down.

        Raises:
            InputError: For anything unknown or out of range, with the closest name.
        """
        site = Site(self.last_shared(), self.dense_parameters(), self.tasks.names)
        parts = compile_parts(
            list(self.parameters()),
            self.tasks,
            site,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            loss=loss,
            loss_weights=loss_weights,
            objective=self._objective_spec(objective),
            scheduler=scheduler,
            scheduler_params=scheduler_params,
            scheduler_interval=scheduler_interval,
            warmup_steps=warmup_steps,
            clip_norm=clip_norm,
        )
        parts.objective.warn_without_parents()
        if self._parts is not None:
            self._parts.site.detach()
        if parts.weighting.needs != "losses":
            parts.site.attach()
        self._parts, self.objective = parts, parts.objective

    def fit(
        self,
        train: Data,
        valid_data: Data | None = None,
        *,
        valid_split: float | None = None,
        epochs: int = 1,
        batch_size: int = 4096,
        shuffle: bool = True,
        metrics: str | Sequence[str] = ("auc", "logloss"),
        group_id: str | None = None,
        monitor: MonitorSpec = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
        seed: int = 0,
        device: str | torch.device = "auto",
        callbacks: Sequence[Callback] = (),
        checkpoint_dir: str | Path | None = None,
        resume: bool = False,
        verbose: int = 1,
    ) -> History:
        """Trains the model.

        The first call draws the initial weights from the seed, except those changed after construction; a
        later call goes on from where the last one ended, with new orders of rows.

        Args:
            train: Training rows: DataFrame, dict of arrays, pyarrow table, CSV or parquet file, folder, list of files.
            valid_data: Validation rows, for metrics, early stopping and the best weights.
            valid_split: Share of the training rows to validate on instead, drawn at random with the seed.
            epochs: Number of passes.
            batch_size: Rows of a step.
            shuffle: Whether each epoch has a new order of rows, from the seed.
            metrics: Validation metrics.
            group_id: Column with the group of each row, usually the user, for ``gauc``.
            monitor: What selects the best epoch: None (mean over the tasks of the first metric), ``min`` (the worst
                task), a metric, weights by task, or ``{"metric": "auc", "reduce": "min"}``.
            patience: Epochs without a better value after which training stops.
            min_delta: Smallest gain that counts as better.
            restore_best: Whether to end with the weights of the best epoch, where there is validation data.
            seed: Seed of initial weights, row order and dropout.
            device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
            callbacks: `Callback` objects.
            checkpoint_dir: Folder for a checkpoint after each epoch.
            resume: Whether to go on from the checkpoint in `checkpoint_dir`, if there is one; the result is bitwise
                that of a training that was never interrupted.
            verbose: 0 is silent.

        Returns:
            Losses, weights and validation metrics of every epoch.

        Raises:
            InputError: For data or arguments that break a rule.
        """
        parts = self._compiled()
        settings = Settings.check(
            self.tasks,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            metrics=metrics,
            monitor=monitor,
            patience=patience,
            min_delta=min_delta,
            restore_best=restore_best,
            seed=seed,
            callbacks=callbacks,
            verbose=verbose,
        )
        checkpoint = checkpoint_in(checkpoint_dir, resume)
        check_validation(settings, parts, valid_data is not None, valid_split)
        target = resolve_device(device)
        grouped = settings.metrics if valid_split is not None else ()
        packed, valid = self._pack(train, labels=True, metrics=grouped, group_id=group_id), None
        if valid_split is not None:
            packed, valid = packed.split(valid_split, settings.seed)
        elif valid_data is not None:
            with within("In the validation data: "):
                valid = self._pack(valid_data, labels=True, metrics=settings.metrics, group_id=group_id)
        check_training_rows(self, packed, settings, parts.objective)
        valid = None if valid is None else valid.on(target)
        settings = settings.for_fit(self.num_fits)
        trainer = Trainer(self, parts, self.tasks, settings, train=packed.on(target), valid=valid, device=target)
        if checkpoint is not None:
            checkpoint.attach(trainer, describe(self))
        return self._run(trainer, checkpoint if resume else None)

    def evaluate(
        self,
        data: Data,
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

    def predict(self, data: Data, *, device: str | torch.device = "auto") -> pd.DataFrame:
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

    def _objective_spec(self, objective: str | type[Objective] | None) -> str | type[Objective]:
        """What `compile` is given; a fitted model keeps the meaning that its logits have."""
        if not self.is_fitted:
            return self.default_objective if objective is None else objective
        now = type(self.objective)
        if objective is not None and build_objective(objective, self.tasks, {}, OBJECTIVES).__class__ is not now:
            warn(f"The model was fitted with the objective {now.__name__}; another one changes what its logits mean.")
        return now if objective is None else objective

    def _compiled(self) -> Compiled:
        if self._parts is None:
            raise InputError("The model is not compiled; call `model.compile(...)` before `fit`.")
        return self._parts

    def _run(self, trainer: Trainer, resume_from: Checkpoint | None) -> History:
        with seeded(trainer.settings.seed, trainer.device):
            if not self.is_fitted:
                initialize(self, self._constructed)
                self._constructed = fingerprint(self)
            self.to(trainer.device)
            trainer.parts.to(trainer.device)
            if resume_from is not None:
                resume_from.restore(trainer)
            try:
                history = trainer.fit()
            except BaseException:
                self.is_fitted = self.is_fitted or fingerprint(self) != self._constructed
                raise
        self.is_fitted = True
        self.num_fits += 1
        return history

    def _predict(self, data: PackedData, device: str | torch.device) -> dict[str, np.ndarray]:
        if not self.is_fitted:
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
        self, data: Data, *, labels: bool, metrics: Sequence[str] = (), group_id: str | None = None
    ) -> PackedData:
        table = read_table(data) if self.processor is None else self.processor.read(data)
        group = group_of(table, group_id, self.processor) if "gauc" in metrics else None
        if self.processor is not None:
            self._check_processor()
            table = self.processor.transform(table)
        return pack(table, self.features, self.tasks if labels else None, group)
