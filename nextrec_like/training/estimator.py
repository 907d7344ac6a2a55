"""What trains a model: compile and fit."""

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nextrec_like.data.packed import PackedData
from nextrec_like.data.source import Rows
from nextrec_like.data.streaming import StreamedData
from nextrec_like.data.tables import TableLike
from nextrec_like.distributed.join import current, restarted
from nextrec_like.errors import InputError, warn, within
from nextrec_like.layers import EmbeddingTable
from nextrec_like.objectives import OBJECTIVES, Objective, build_objective
from nextrec_like.objectives.build import LossSpec
from nextrec_like.sharded import check_whole
from nextrec_like.storage.paths import named_path
from nextrec_like.training.arguments import (
    check_training_rows,
    check_validation,
    checkpoint_in,
    warn_of_data,
)
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.checkpoint import Checkpoint
from nextrec_like.training.compiled import Compiled, Sites, compile_parts
from nextrec_like.training.device import enough_memory, resolve_device
from nextrec_like.training.history import History
from nextrec_like.training.monitor import MonitorSpec
from nextrec_like.training.predictor import Predictor
from nextrec_like.training.randomness import fingerprint, initialize, seeded
from nextrec_like.training.reading import Reading, split_rows
from nextrec_like.training.same_training import check_same_training, description
from nextrec_like.training.saving import SHARDS, describe
from nextrec_like.training.settings import Settings, checked_switch
from nextrec_like.training.trainer import Trainer
from nextrec_like.weighting import WeightingSpec


class EstimatorMeta(ABCMeta):
    """Notes the weights that a model is constructed with, so that `fit` can tell whether the user changed them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with enough_memory(torch.device("cpu"), "making the model", "give it smaller tables or layers"):
            model = super().__call__(*args, **kwargs)
        model._constructed = fingerprint(model)
        return model


class Estimator(Predictor, metaclass=EstimatorMeta):
    """The methods of a model that train it. See `models.Model` for the architecture's side."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: Compiled | None = None

    @abstractmethod
    def last_shared(self) -> Sequence[nn.Parameter] | nn.Module | None:
        """Where weightings probe; see `models.Model`."""

    @abstractmethod
    def embedding_tables(self) -> Sequence[EmbeddingTable]:
        """The modules that hold embedding tables."""

    @abstractmethod
    def tasks_together(self, on: bool) -> AbstractContextManager[None]:
        """Whether training computes tasks by the same products; see `models.Model`."""

    @abstractmethod
    def representation(self) -> nn.Module | None:
        """Where weightings probe that want activations; see `models.Model`."""

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        optimizer_params: Mapping[str, object] | None = None,
        *,
        embedding_optimizer: str = "auto",
        embedding_optimizer_params: Mapping[str, object] | None = None,
        loss: LossSpec | Sequence[LossSpec] | None = None,
        loss_weights: WeightingSpec = None,
        objective: str | type[Objective] | None = None,
        scheduler: str | LRScheduler | None = None,
        scheduler_params: Mapping[str, object] | None = None,
        scheduler_interval: str = "epoch",
        warmup_steps: int = 0,
        clip_norm: float | None = None,
        precision: str = "fp32",
        accumulate_steps: int = 1,
        jit: bool = False,
        sharding: str | None = None,
    ) -> None:
        """Chooses how to train. A second call starts anew, with fresh optimizer and weighting state.

        Args:
            optimizer: ``adam``, ``adamw``, ``sgd``, ``adagrad``, ``rmsprop``, or a torch optimizer.
            optimizer_params: Its options, such as ``{"lr": 1e-3, "weight_decay": 1e-5}``.
            embedding_optimizer: ``dense``: `optimizer` updates all rows of an embedding table at each step; or one that
                updates only the rows of the batch, and costs the same at any size: ``lazy_adam``, ``rowwise_adagrad``,
                ``adagrad``, ``sgd``. ``auto``: for tables of more than 4 million numbers ``lazy_adam`` beside Adam or
                AdamW, and the like beside Adagrad and SGD; otherwise ``dense``.
            embedding_optimizer_params: Its options. ``lazy_adam`` beside Adam or AdamW, ``adagrad`` beside Adagrad and
                ``sgd`` beside SGD have those of `optimizer_params` by default.
            loss: ``bce``, ``focal``, ``mse``, ``mae``, ``huber``, or ``{"name": "bce", "class_weight": [1, 10]}``;
                one for all tasks, a list, or a dict by task. By default ``bce`` for binary tasks, ``mse`` for
                regressions.
            loss_weights: How to balance the tasks: None (equal), a number, a list, a dict by task, a method such
                as ``"grad_norm"``, ``{"method": "grad_norm", "alpha": 1.5}``, or a `Weighting`. Every method also
                takes ``base``, ``every``, ``site``, ``warmup_steps`` and ``normalize``; see `BalancerOptions`.
            objective: ``marginal``, ``click_space``, ``entire_space`` or an `Objective` class; by default the
                model's own.
            scheduler: A class name of `torch.optim.lr_scheduler`, or an instance.
            scheduler_params: Its options.
            scheduler_interval: ``epoch`` or ``step``: when it advances.
            warmup_steps: Steps over which the learning rate rises linearly from 0.
            clip_norm: Largest norm of the whole gradient; larger ones are scaled down.
            precision: ``fp32``, or ``bf16`` or ``fp16`` for the model's computations under autocast; weights, losses
                and optimizer state stay float32. With ``fp16`` the gradients are scaled.
            accumulate_steps: Parts in which each batch is computed, one after the other, to save memory; the
                optimizer makes one step per batch as before.
            jit: Whether to compile model and objective with `torch.compile`, on a GPU to CUDA graphs. The first step
                then waits for the compiler. Weightings that look at gradients of single tasks need the model as it is.
            sharding: How the processes of a training share out embedding tables (extra ``sharded``): ``table_wise``,
                each as a whole to one of them; ``column_wise``, each to all of them; ``auto``, as TorchRec finds best.
                None: each process has all tables. TorchRec then updates tables within the backward pass, on the CPU by
                an `embedding_optimizer` of ``adagrad``, ``rowwise_adagrad`` or ``sgd``.

        Raises:
            InputError: For anything unknown or out of range, with the closest name.
        """
        parts = compile_parts(
            list(self.parameters()),
            self.embedding_tables(),
            self.tasks,
            Sites(self.last_shared(), self.representation(), self.dense_parameters()),
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            embedding_optimizer=embedding_optimizer,
            embedding_optimizer_params=embedding_optimizer_params,
            loss=loss,
            loss_weights=loss_weights,
            objective=self._objective_spec(objective),
            scheduler=scheduler,
            scheduler_params=scheduler_params,
            scheduler_interval=scheduler_interval,
            warmup_steps=warmup_steps,
            clip_norm=clip_norm,
            precision=precision,
            accumulate_steps=accumulate_steps,
            jit=jit,
            sharding=sharding,
        )
        parts.objective.warn_without_parents()
        self._parts, self.objective = parts, parts.objective

    def fit(
        self,
        train: TableLike | PackedData | StreamedData,
        valid_data: TableLike | PackedData | StreamedData | None = None,
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
        checkpoint_params: Mapping[str, object] | None = None,
        resume: bool | Sequence[str] = False,
        log_every: int = 50,
        diagnose: bool = False,
        max_skipped_steps: int = 50,
        streaming: bool | str = "auto",
        cache_dir: str | Path | None = None,
        check_data: bool = True,
        device_data: bool | str = "auto",
        verbose: int = 1,
    ) -> History:
        """Trains the model.

        In a process that torchrun has started, all processes train one model together: each computes its share of the
        rows of a step, and all have the same weights. They have to make the same calls; only the first one warns,
        writes and shows progress.

        The first call draws the initial weights from the seed, except those changed after construction; a
        later call goes on from where the last one ended, with new orders of rows.

        Args:
            train: Training rows: DataFrame, dict of arrays, pyarrow table, CSV or parquet file, folder, list of files;
                or what `pack` has made of them.
            valid_data: Validation rows, for metrics, early stopping and the best weights.
            valid_split: Share of the training rows to validate on instead, drawn at random with the seed.
            epochs: Number of passes.
            batch_size: Rows of a step; of several processes, rows of each. Without a multiple of the joint number of
                rows, the last step of an epoch has the rest, shared out as evenly as can be.
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
            checkpoint_dir: Folder for a checkpoint after each epoch. Ctrl-C and SIGTERM then finish the step and save.
            checkpoint_params: When to save within an epoch, too, and how many checkpoints to keep besides that of the
                best epoch: ``{"every_steps": 500, "every_seconds": 60, "keep_last": 2}``; see `CheckpointParams`.
            resume: Whether to go on from the newest checkpoint in `checkpoint_dir`, if there is one; the result is
                bitwise that of a training that was never interrupted. Arguments and data have to be the same; a list
                says which may differ: ``epochs``, ``patience``, ``log_every``, ``diagnose``, ``max_skipped_steps``.
            log_every: Each n-th step is in `History.steps_frame`: losses and weights of the tasks, and what a
                weighting has probed of their gradients.
            diagnose: Whether to probe gradients at every logged step, whatever the weighting, for their norms and
                the cosine of each pair of tasks.
            max_skipped_steps: Steps in a row with a loss or gradient that is not finite after which training stops; a
                GPU is asked only at logged steps. Those in which fp16 seeks its scale do not count.
            streaming: Whether rows are read from their parquet files again in each epoch, because they do not fit in
                memory: True, False, or ``auto`` (if they would take over a third of the memory that is available).
                Streamed rows are shuffled within windows; see `StreamedData`.
            cache_dir: Folder for packed rows, where rows are streamed. One pass before the first epoch writes it; then
                and in later trainings on the same files, nothing is decoded.
            check_data: Whether to look for leaked labels, rows in both parts, drift, and columns that are constant or
                equal, and to warn of them; see `data.audit.audit`.
            device_data: Whether a GPU holds all rows: True, False, or ``auto`` (if half of its free memory is enough).
                Otherwise batches are copied there ahead of use.
            verbose: 0 is silent.

        Returns:
            Losses, weights and validation metrics of every epoch.

        Raises:
            InputError: For data or arguments that break a rule.
            DivergedError: If losses or gradients are no longer finite.
            KeyboardInterrupt: After Ctrl-C; with a `checkpoint_dir` also after SIGTERM, when the state is saved.
        """
        processes = current()
        processes.check_call("fit")
        again = restarted(processes)
        with processes.one_voice():
            with processes.together():
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
                    log_every=log_every,
                    diagnose=diagnose,
                    max_skipped_steps=max_skipped_steps,
                    verbose=verbose,
                )
                checkpoint = checkpoint_in(checkpoint_dir, checkpoint_params, resume, after_restart=again)
                check_validation(settings, parts, valid_data is not None, valid_split)
                target = resolve_device(device)
                reading = Reading(streaming, cache_dir, device_data)
                grouped = settings.metrics if valid_split is not None else ()
                rows = self._rows(train, labels=True, metrics=grouped, group_id=group_id, reading=reading)
                valid: Rows | None = None
                if valid_split is not None:
                    rows, valid = split_rows(rows, valid_split, settings.seed)
                elif valid_data is not None:
                    with within("In the validation data: "):
                        valid = self._rows(
                            valid_data,
                            labels=True,
                            metrics=settings.metrics,
                            group_id=group_id,
                            reading=reading,
                            part="valid",
                        )
                check_training_rows(self, rows, settings, parts.objective)
                if checked_switch("`check_data`", check_data) and processes.is_first:
                    by_part = {"train": rows} if valid is None else {"train": rows, "valid": valid}
                    warn_of_data(self.features, self.tasks, by_part, processed=self.processor is not None)
                trainer = Trainer(
                    self,
                    parts,
                    self.tasks,
                    settings.for_fit(self.num_fits),
                    train=rows,
                    valid=valid,
                    device=target,
                    num_fits_before=self.num_fits,
                    processes=processes,
                )
            if checkpoint is not None or processes.size > 1:
                told = description(trainer, describe(self), settings.seed)
                others = {"fits_before": self.num_fits, "has_checkpoint_dir": checkpoint is not None}
                check_same_training(processes, told, others)
            if checkpoint is not None:
                checkpoint.description = told
            fix = "lower it, raise `accumulate_steps`, use `precision` bf16, or give `device_data=False`"
            with enough_memory(target, f"`batch_size` {settings.batch_size}", fix):
                return self._run(trainer, checkpoint, reading.device_data)

    def _objective_spec(self, objective: str | type[Objective] | None) -> str | type[Objective]:
        """What `compile` is given; a fitted model keeps the meaning that its logits have."""
        if not self.is_fitted:
            return self.default_objective if objective is None else objective
        now = type(self.objective)
        if objective is not None and build_objective(objective, self.tasks, {}, OBJECTIVES).__class__ is not now:
            warn(f"The model was fitted with the objective {now.__name__}; another one changes what its logits mean.")
        return now if objective is None else objective

    def _place_tables(self, device: torch.device) -> None:
        processes = current()
        if self._parts is not None:
            self._parts.tables.place_absent(processes, device)
            return
        with processes.together():
            check_whole(self.embedding_tables())

    def _write_shards(self, folder: str | Path) -> Path | None:
        if all(table.is_whole for table in self.embedding_tables()):
            return None
        path, processes = named_path("`folder`", folder).absolute(), current()
        self._place_tables(torch.device("cpu"))
        shards = path.with_name(f".{path.name}-{SHARDS}")
        self._compiled().tables.write(shards, processes, weights_only=True)
        return shards

    def _compiled(self) -> Compiled:
        if self._parts is None:
            raise InputError("The model is not compiled; call `model.compile(...)` before `fit`.")
        return self._parts

    def _run(self, trainer: Trainer, checkpoint: Checkpoint | None, device_data: bool | str) -> History:
        schedule = trainer.parts.schedule
        steps = schedule.steps
        with seeded(trainer.settings.seed, trainer.device), ExitStack() as stack:
            if not self.is_fitted:
                self._constructed = initialize(self, self._constructed)
            self.to(trainer.device)
            trainer.parts.tables.agree(trainer.processes)
            trainer.processes.make_equal(list(self.state_dict().values()))
            trainer.parts.to(trainer.device)
            trainer.hold_rows(device_data)
            stack.enter_context(trainer.parts.tables.spread(trainer.processes, trainer.device, trainer.settings.seed))
            if checkpoint is not None:
                stack.enter_context(checkpoint.attached(trainer))
            try:
                with self.tasks_together(not (trainer.looks_at_tasks or trainer.parts.jit)):
                    return trainer.fit()
            finally:
                if schedule.steps > steps:
                    self.is_fitted = True
                    self.num_fits = trainer.num_fits_before + 1
