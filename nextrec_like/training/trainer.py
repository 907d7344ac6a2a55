"""The training loop. It knows no model, objective or weighting by name."""

import time
from collections.abc import Sequence
from math import ceil, isfinite

import torch
from torch import Tensor, nn

from nextrec_like.batch import Batch
from nextrec_like.data.packed import PackedData
from nextrec_like.errors import DivergedError, warn
from nextrec_like.metrics import TaskMetrics
from nextrec_like.tasks import TaskSet
from nextrec_like.training.compiled import Compiled
from nextrec_like.training.evaluation import evaluate_predictions, predict_packed
from nextrec_like.training.history import EpochRecord, History
from nextrec_like.training.progress import Progress
from nextrec_like.training.settings import Settings
from nextrec_like.training.step import Stepper
from nextrec_like.training.step_log import StepLog
from nextrec_like.weighting import LabelStatistics, Step
from nextrec_like.weighting.balancer import LOW_STEPS

MAX_SKIPPED = 50
"""Steps in a row without finite losses and gradients after which training stops."""


class Trainer:
    """Trains a model on packed data.

    Args:
        model: Gives one logit per task.
        parts: Optimizer, objective, weighting.
        tasks: The tasks.
        settings: The course of the training.
        train: Training rows.
        valid: Validation rows, if any.
        device: Where the model is.
    """

    def __init__(
        self,
        model: nn.Module,
        parts: Compiled,
        tasks: TaskSet,
        settings: Settings,
        *,
        train: PackedData,
        valid: PackedData | None,
        device: torch.device,
    ) -> None:
        self.model, self.parts, self.tasks, self.settings = model, parts, tasks, settings
        self.train_data, self.valid_data, self.device = train, valid, device
        self.generator = torch.Generator().manual_seed(settings.seed) if settings.shuffle else None
        self.draws = torch.Generator().manual_seed(settings.seed + 1)
        self.stepper = Stepper(model, parts, device, self._draw)
        self.log = StepLog(tasks.names)
        self.callbacks = list(settings.callbacks)
        self.progress = Progress(settings.epochs, len(train), settings.verbose)
        self.history = History()
        self.best_score: float | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self.should_stop = False
        self.collapsed: set[str] = set()
        self.has_stepped = False

    def stop(self) -> None:
        """Ends the training after the current epoch."""
        self.should_stop = True

    def fit(self) -> History:
        """Runs all epochs.

        Raises:
            DivergedError: If a loss is no longer finite.
        """
        self.parts.optimizer.zero_grad(set_to_none=True)  # whatever an interrupted step or the user left behind
        self._prepare_balancer()
        self._call("on_fit_start")
        try:
            while len(self.history.epochs) < self.settings.epochs and not self.should_stop:
                self._run_epoch(len(self.history.epochs) + 1)
        finally:
            self.progress.close()
            self.parts.balancer.site.detach()
        self._restore_best()
        self.progress.write_conflicts(self.history)
        self._call("on_fit_end")
        return self.history

    def _prepare_balancer(self) -> None:
        balancer = self.parts.balancer
        balancer.seed = self.settings.seed
        balancer.weighting.see_labels(self._label_statistics())
        if balancer.weighting.needs != "losses" or self.settings.diagnose:
            balancer.site.attach()

    def _label_statistics(self) -> LabelStatistics:
        labels = self.train_data.rows.labels
        assert labels is not None
        by_task = dict(zip(self.tasks.names, labels.unbind(dim=1)))
        observed = self.parts.objective.observed(by_task)
        seen = [by_task[name][observed[name]].double() for name in self.tasks.names]
        means = torch.stack([values.mean() for values in seen])
        return LabelStatistics(means, torch.stack([(values - values.mean()).square().mean() for values in seen]))

    def _draw(self) -> Batch:
        rows = ceil(self.settings.batch_size / self.parts.accumulate_steps)
        return self.train_data.sample(rows, self.device, self.draws)

    def _run_epoch(self, epoch: int) -> None:
        self.progress.start_epoch(epoch)
        self.model.train()
        start = time.perf_counter()
        totals = EpochTotals(len(self.tasks), self.device)
        for batch in self.train_data.batches(self.settings.batch_size, self.device, self.generator):
            self._step(epoch, batch, totals)
            shown = totals.mean_total_loss() if self.progress.wants_loss() else None
            self.progress.advance(len(batch), shown)
            self._call("on_step_end")
        losses, weights = totals.read(self.tasks.names)
        seconds = time.perf_counter() - start
        self._check_progress(epoch, totals)
        self._warn_collapsed()
        self._end_epoch(epoch, losses, weights, seconds)

    def _step(self, epoch: int, batch: Batch, totals: "EpochTotals") -> None:
        number = self.parts.balancer.steps + 1
        logged = number % self.settings.log_every == 0 or not self.has_stepped
        self.has_stepped = True
        step = self.stepper.step(batch, probe=logged and self.settings.diagnose)
        if not step.is_finite:
            totals.skip(step)
            if totals.skipped_in_a_row == MAX_SKIPPED:
                raise self._diverged(epoch, f"{MAX_SKIPPED} steps in a row were skipped", totals)
            return
        totals.add(step.losses, step.counts, step.weights)
        if logged:
            self.log.add(epoch, number, step)
        if totals.steps % LOW_STEPS == 0:
            self._warn_collapsed()

    def _warn_collapsed(self) -> None:
        for task in self.parts.balancer.collapsed():
            if task not in self.collapsed:
                self.collapsed.add(task)
                warn(
                    f"The weight of task `{task}` has been under 1 % of the sum for {LOW_STEPS} steps: it hardly "
                    f"learns. Give it a `base`, or use another weighting."
                )

    def _check_progress(self, epoch: int, totals: "EpochTotals") -> None:
        """Raises if most steps were skipped or the weights are no longer finite; warns of fewer skipped steps."""
        if totals.skipped > totals.steps:
            raise self._diverged(
                epoch, f"{totals.skipped} of {totals.skipped + totals.steps} steps were skipped", totals
            )
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise self._diverged(epoch, "a parameter of the model is no longer finite", totals)
        if totals.skipped:
            self.history.skipped_steps += totals.skipped
            warn(
                f"{totals.skipped} of {totals.steps + totals.skipped} steps of epoch {epoch} were skipped, because a "
                f"loss or gradient was not finite."
            )

    def _diverged(self, epoch: int, what: str, totals: "EpochTotals") -> DivergedError:
        why = ""
        if totals.last_skipped is not None:
            losses = zip(self.tasks.names, totals.last_skipped.losses.tolist())
            wrong = [f"the loss of task `{task}` was {loss}" for task, loss in losses if not isfinite(loss)]
            why = f" ({', '.join(wrong) or 'losses were finite, but a gradient was not'})"
        return DivergedError(
            f"In epoch {epoch}, {what}{why}: training diverged. Lower the learning rate, set `clip_norm` or scale the "
            f"numeric features, and build the model anew."
        )

    def _end_epoch(
        self, epoch: int, losses: dict[str, float | None], weights: dict[str, float], seconds: float
    ) -> None:
        valid = self._validate()
        score = self.settings.monitor.score(valid) if valid else None
        if valid and score is None and epoch == 1:
            self._warn_without_score()
        record = EpochRecord(
            epoch=epoch,
            loss=losses,
            weights=weights,
            valid={name: dict(values) for name, values in valid.items()},
            reasons={name: values.reasons for name, values in valid.items() if values.reasons},
            score=score,
            lr=self.parts.schedule.last_lr,
            seconds=seconds,
            samples_per_second=len(self.train_data) / seconds,
        )
        self.history.epochs.append(record)
        self.history.steps.extend(self.log.read())
        self.parts.schedule.end_epoch(score)
        self.parts.balancer.weighting.end_epoch()
        self._select(record)
        self.progress.end_epoch(record)
        self._call("on_epoch_end")

    def _validate(self) -> dict[str, TaskMetrics]:
        if self.valid_data is None:
            return {}
        predictions = predict_packed(self.model, self.parts.objective, self.valid_data, self.device)
        assert self.valid_data.labels is not None
        return evaluate_predictions(
            self.tasks, predictions, self.valid_data.labels, self.settings.metrics, self.valid_data.group
        )

    def _select(self, record: EpochRecord) -> None:
        """Keeps the weights of the best epoch; without a score no epoch can be best."""
        if record.score is not None and (
            self.best_score is None or record.score > self.best_score + self.settings.min_delta
        ):
            self.best_score, self.history.best_epoch = record.score, record.epoch
            if self.settings.restore_best:
                self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        best_epoch, patience = self.history.best_epoch, self.settings.patience
        if patience is not None and best_epoch is not None and record.epoch - best_epoch >= patience:
            self.history.stopped_early = True
            self.stop()
            self.progress.notes.append(f"stopped early: no better {self.settings.monitor} for {patience} epochs")

    def _warn_without_score(self) -> None:
        effect = "`patience` has no effect and no epoch is" if self.settings.patience is not None else "no epoch can be"
        message = (
            f"The {self.settings.monitor} is not defined on the validation rows, so {effect} selected as the best."
        )
        warn(message)

    def _restore_best(self) -> None:
        best = self.history.best_epoch
        if self.best_weights is None or best == len(self.history.epochs):
            return
        self.model.load_state_dict(self.best_weights)
        self.progress.write(
            f"restored the weights of epoch {best} (best {self.settings.monitor}: {self.best_score:.5f})"
        )

    def _call(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self)


class EpochTotals:
    """Sums over the steps of an epoch, on the device, so that no step waits for them.

    Args:
        num_tasks: Number of tasks.
        device: Where losses are.
    """

    def __init__(self, num_tasks: int, device: torch.device) -> None:
        zeros = torch.zeros(num_tasks, dtype=torch.float64, device=device)
        self.losses, self.counts, self.weights, self.total = zeros, zeros.clone(), zeros.clone(), zeros.clone()
        self.steps = self.skipped = self.skipped_in_a_row = 0
        self.last_skipped: Step | None = None

    def skip(self, step: Step) -> None:
        """Counts a step that was not taken."""
        self.last_skipped = step
        self.skipped += 1
        self.skipped_in_a_row += 1

    def add(self, losses: Tensor, counts: Tensor, weights: Tensor) -> None:
        """Adds a step: mean losses, observed rows and weights, shape ``(T,)`` each."""
        self.losses = self.losses + losses * counts
        self.total = self.total + losses * weights
        self.counts = self.counts + counts
        self.weights = self.weights + weights
        self.steps += 1
        self.skipped_in_a_row = 0

    def mean_total_loss(self) -> float:
        """Mean weighted loss of the epoch so far."""
        return float(self.total.sum()) / max(1, self.steps)

    def read(self, names: Sequence[str]) -> tuple[dict[str, float | None], dict[str, float]]:
        """Mean loss over the observed rows, and mean weight over the steps, by task."""
        counts = self.counts.tolist()
        losses = [loss / count if count else None for loss, count in zip(self.losses.tolist(), counts)]
        return dict(zip(names, losses)), dict(zip(names, (self.weights / max(1, self.steps)).tolist()))
