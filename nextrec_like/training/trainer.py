"""The training loop. It knows no model, objective or weighting by name."""

import time
from collections.abc import Generator
from contextlib import closing
from math import ceil

import torch
from torch import Tensor, nn

from nextrec_like.batch import Batch, Share, batch_bounds
from nextrec_like.data.source import Rows
from nextrec_like.distributed import ALONE, Processes
from nextrec_like.distributed.batch_norm import joint_batch_norm
from nextrec_like.errors import warn, within
from nextrec_like.metrics import TaskMetrics
from nextrec_like.tasks import TaskSet
from nextrec_like.training.compiled import Compiled
from nextrec_like.training.evaluation import evaluate_rows
from nextrec_like.training.history import EpochRecord, History
from nextrec_like.training.interrupts import Interrupts
from nextrec_like.training.label_statistics import label_statistics
from nextrec_like.training.progress import Progress
from nextrec_like.training.randomness import draw_anew
from nextrec_like.training.settings import Settings
from nextrec_like.training.skipped import SkippedSteps, has_failed
from nextrec_like.training.step import Stepper
from nextrec_like.training.step_log import StepLog
from nextrec_like.training.totals import EpochTotals
from nextrec_like.training.watch import Watch


class Trainer:
    """Trains a model on packed rows, in memory or streamed.

    Args:
        model: Gives one logit per task.
        parts: Optimizer, objective, weighting.
        tasks: The tasks.
        settings: The course of the training.
        train: Training rows.
        valid: Validation rows, if any.
        device: Where the model is.
        num_fits_before: Trainings that the model has had.
        processes: Those that train the same model, each on its share of the rows of a step.

    Attributes:
        batch_rows: Rows of a step, in all processes.
        streams: Stretches into which streamed rows are cut in the present epoch; see `Share`.
    """

    def __init__(
        self,
        model: nn.Module,
        parts: Compiled,
        tasks: TaskSet,
        settings: Settings,
        *,
        train: Rows,
        valid: Rows | None,
        device: torch.device,
        num_fits_before: int = 0,
        processes: Processes = ALONE,
    ) -> None:
        self.num_fits_before, self.processes = num_fits_before, processes
        self.batch_rows, self.streams = settings.batch_size * processes.size, processes.size
        self.model, self.parts, self.tasks, self.settings = model, parts, tasks, settings
        self.train_data, self.valid_data, self.device = train, valid, device
        self.generator = torch.Generator().manual_seed(settings.seed) if settings.shuffle else None
        self.draws = torch.Generator().manual_seed(settings.seed + 1)
        self.looks_at_tasks = parts.weighting.needs != "losses" or settings.diagnose
        num_rows = len(range(*processes.share.of(*batch_bounds(len(train), self.batch_rows)[0])))
        self.stepper = Stepper(
            model, parts, device, self._draw, num_rows, looks_at_tasks=self.looks_at_tasks, processes=processes
        )
        self.log, self.skips = StepLog(tasks.names), SkippedSteps(tasks.names)
        self.callbacks = list(settings.callbacks)
        self.interrupts = Interrupts(processes)
        self.progress = Progress(settings.epochs, len(train), settings.verbose if processes.is_first else 0)
        self.history = History()
        self.totals = EpochTotals(len(tasks), device)
        self.seconds = 0.0
        self.order: Tensor | None = None
        self.best_score: float | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self.should_stop = False
        self.watch = Watch(self)
        self.has_stepped = False

    def hold_rows(self, device_data: bool | str) -> None:
        """Puts the rows on the device, beside the model, where they may be and fit."""
        self.train_data = self.train_data.on(self.device, device_data)
        if self.valid_data is not None:
            self.valid_data = self.valid_data.on(self.device, device_data)

    def stop(self) -> None:
        """Ends the training after the current epoch."""
        self.should_stop = True

    def flush_logs(self) -> None:
        """Moves the figures of steps from the device into the history."""
        self.history.steps.extend(self.log.read())
        self.skips.move_to(self.history, self.train_data, self.order)

    def fit(self) -> History:
        """Runs all epochs.

        Raises:
            DivergedError: If a loss is no longer finite.
        """
        self.parts.optimizer.zero_grad(set_to_none=True)  # whatever an interrupted step or the user left behind
        try:
            self._prepare_balancer()
            self._call("on_fit_start")
            jit = self.parts.jit
            with self.parts.tables.gathered(jit=jit), joint_batch_norm(self.model, self.processes, jit=jit):
                while self._goes_on():
                    self._run_epoch(len(self.history.epochs) + 1)
        finally:
            self.progress.close()
            self.parts.balancer.site.detach()
        self._restore_best()
        self.progress.write_conflicts(self.history)
        self._call("on_fit_end")
        return self.history

    def _goes_on(self) -> bool:
        """Whether there is another epoch, or one that was begun before an interruption."""
        is_open, self.should_stop = self.totals.steps > 0, self.processes.any(self.should_stop)
        return len(self.history.epochs) < self.settings.epochs and (is_open or not self.should_stop)

    def _prepare_balancer(self) -> None:
        balancer = self.parts.balancer
        balancer.seed, balancer.processes = self.settings.seed, self.processes
        balancer.weighting.see_labels(label_statistics(self.train_data.label_blocks(), self.parts.objective))
        if self.looks_at_tasks:
            balancer.site.attach()
            if self.parts.jit:
                warn("`jit` has no effect: gradients of single tasks are looked at, which need the model as it is.")

    def _draw(self) -> Batch:
        rows = ceil(self.batch_rows / self.parts.accumulate_steps)
        return self.train_data.sample(rows, self.device, self.draws, self.share)

    @property
    def share(self) -> Share:
        """What this process takes of the rows of a step."""
        return Share(self.processes.rank, self.processes.size, self.streams)

    def batches(self, generator: torch.Generator | None, start: int) -> Generator[Batch, None, None]:
        """What this process has of the batches of an epoch, from one of them on; see `Rows.batches`."""
        return self.train_data.batches(self.batch_rows, self.device, generator, start, self.share)

    def _run_epoch(self, epoch: int) -> None:
        rows_done = min(self.totals.steps * self.batch_rows, len(self.train_data))
        self.progress.start_epoch(epoch, rows_done)
        self.model.train()
        self._train(epoch)
        self.watch.check_epoch(epoch, self.totals)
        with self.interrupts.at_once():  # nothing of the training changes until the validation has come to its end
            valid = self._validate()
        totals, self.totals, self.order = self.totals, self.totals.next_epoch(), None
        seconds, self.seconds = self.seconds, 0.0
        self._end_epoch(epoch, totals, valid, seconds)

    def _train(self, epoch: int) -> None:
        """The steps of an epoch, or those that are left of it."""
        self.order = None if self.generator is None else self.generator.get_state()
        self.streams = self.streams if self.totals.steps else self.processes.size
        batches = self.batches(self.generator, self.totals.steps)
        places = batch_bounds(len(self.train_data), self.batch_rows)[self.totals.steps :]
        start = time.perf_counter() - self.seconds
        with closing(batches):  # so that no thread reads on if a step fails
            for batch, place in zip(batches, places, strict=True):
                self._step(epoch, batch, range(*place), self.totals)
                shown = self.totals.mean_total_loss() if self.progress.wants_loss() else None
                self.progress.advance(len(range(*place)), shown)
                self.seconds = time.perf_counter() - start
                self._call("on_step_end")
        self.totals.wait()
        self.seconds = time.perf_counter() - start

    def _step(self, epoch: int, batch: Batch, rows: range, totals: EpochTotals) -> None:
        number = self.parts.balancer.steps + 1
        if self.processes.size > 1:  # each draws its own dropout, and no state of it has to be saved
            draw_anew([self.settings.seed, number, self.processes.rank], self.device)
        logged = number % self.settings.log_every == 0 or not self.has_stepped
        self.has_stepped = True
        step = self.stepper.step(batch, probe=logged and self.settings.diagnose)
        failed = has_failed(step, self.parts.scale)
        totals.add(step, failed)
        if logged:
            self.log.add(epoch, number, step)
        if not self.stepper.waits or failed:  # on a GPU it is only known later
            self.skips.add(epoch, totals.steps, rows, step, failed)
        if self.skips.is_full:
            self.flush_logs()
        if logged or (self.stepper.waits and failed):
            self.watch.check_running(epoch, totals)

    def _end_epoch(self, epoch: int, totals: EpochTotals, valid: dict[str, TaskMetrics], seconds: float) -> None:
        losses, weights = totals.read(self.tasks.names)
        score = self.settings.monitor.score(valid) if valid else None
        if valid and score is None and epoch == 1:
            self._warn_without_score()
        record = EpochRecord(
            epoch=epoch,
            loss=losses,
            weights=weights,
            valid={name: dict(values) for name, values in valid.items()},
            reasons={name: values.reasons for name, values in valid.items() if values.reasons},
            error_bounds={name: values.error_bounds for name, values in valid.items() if values.error_bounds},
            score=score,
            lr=self.parts.schedule.last_lr,
            seconds=seconds,
            samples_per_second=len(self.train_data) / seconds,
        )
        self.history.epochs.append(record)
        self.history.skipped_steps += totals.skipped()[0]
        self.parts.schedule.end_epoch(score)
        self.parts.balancer.weighting.end_epoch()
        self._select(record)
        self.progress.end_epoch(record)
        self._call("on_epoch_end")

    def _validate(self) -> dict[str, TaskMetrics]:
        if self.valid_data is None:
            return {}
        with within("In the validation data: "):
            return evaluate_rows(
                self.model, self.parts.objective, self.valid_data, self.device, self.settings.metrics, self.processes
            )

    def _select(self, record: EpochRecord) -> None:
        """Keeps the weights of the best epoch; without a score no epoch can be best."""
        if record.score is not None and (
            self.best_score is None or record.score > self.best_score + self.settings.min_delta
        ):
            self.best_score, self.history.best_epoch = record.score, record.epoch
            if self.settings.restore_best:
                self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
                self.parts.tables.keep_best()
        if self._is_out_of_patience():
            self.history.stopped_early = True
            self.stop()
            self.progress.notes.append(
                f"stopped early: no better {self.settings.monitor} for {self.settings.patience} epochs"
            )

    def _is_out_of_patience(self) -> bool:
        best, patience = self.history.best_epoch, self.settings.patience
        return patience is not None and best is not None and len(self.history.epochs) - best >= patience

    def reconsider_patience(self) -> None:
        """Goes on where it had stopped early, if there is more patience now."""
        if self.history.stopped_early and not self._is_out_of_patience():
            self.history.stopped_early = self.should_stop = False

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
        self.parts.tables.restore_best()
        self.progress.write(
            f"restored the weights of epoch {best} (best {self.settings.monitor}: {self.best_score:.5f})"
        )

    def _call(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self)
