"""How a training goes: an error when it diverges, warnings of what is skipped or hardly learns."""

from contextlib import closing
from typing import TYPE_CHECKING

from nextrec_like.batch import Batch
from nextrec_like.errors import DivergedError, warn
from nextrec_like.training.diagnosis import diverged, faulty_parameters, gradient_clues, listed, loss_clue
from nextrec_like.training.history import SkippedStep
from nextrec_like.training.skipped import generator_at, rows_of, shown
from nextrec_like.training.totals import EpochTotals
from nextrec_like.weighting.balancer import LOW_STEPS

if TYPE_CHECKING:
    from nextrec_like.training.trainer import Trainer


class Watch:
    """Looks at a training now and then, which waits for its device.

    Args:
        trainer: The training.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        self._collapsed: set[str] = set()

    def check_running(self, epoch: int, totals: EpochTotals) -> None:
        """Within an epoch.

        Raises:
            DivergedError: If too many steps in a row were skipped.
        """
        trainer = self.trainer
        _, in_a_row = totals.skipped()
        if in_a_row >= (1 if trainer.parts.tables.moves_in_backward else trainer.settings.max_skipped_steps):
            what = f"{in_a_row} steps in a row were skipped" if in_a_row > 1 else "a step was skipped"
            raise self._diverged(epoch, what, totals)
        self._warn_collapsed()

    def check_epoch(self, epoch: int, totals: EpochTotals) -> None:
        """After the steps of an epoch; warns of skipped ones.

        Raises:
            DivergedError: If most of them were, or weights are no longer finite.
        """
        trainer = self.trainer
        trainer.flush_logs()
        skipped, _ = totals.skipped()
        most, seeks = 2 * skipped > totals.steps, trainer.parts.scale.seeks
        if most and not seeks:
            raise self._diverged(epoch, f"{skipped} of {totals.steps} steps were skipped", totals)
        wrong = faulty_parameters(trainer.model)
        if trainer.processes.any(not trainer.parts.tables.is_finite()):
            wrong.append("sharded embedding tables")
        if wrong:
            raise self._diverged(epoch, f"parameters are no longer finite: {listed(wrong)}", totals)
        records = self._skipped_in(epoch)
        if records or (skipped and (most or not seeks)):  # a few skipped steps are how fp16 works
            why = "the scale of fp16 was still too large" if seeks else "a loss or gradient was not finite"
            if records:
                why = (
                    f"a loss or gradient was not finite: {shown(records, skipped, shuffled=trainer.order is not None)}"
                )
            warn(f"{skipped} of {totals.steps} steps of epoch {epoch} were skipped, because {why}.")
        self._warn_collapsed()

    def _warn_collapsed(self) -> None:
        for task in self.trainer.parts.balancer.collapsed():
            if task not in self._collapsed:
                self._collapsed.add(task)
                warn(
                    f"The weight of task `{task}` has been under 1 % of the sum for {LOW_STEPS} steps: it hardly "
                    f"learns. Give it a `base`, or use another weighting."
                )

    def _skipped_in(self, epoch: int) -> list[SkippedStep]:
        return [record for record in self.trainer.history.skipped if record.epoch == epoch]

    def _diverged(self, epoch: int, what: str, totals: EpochTotals) -> DivergedError:
        """The error that says what was seen, and what the last skipped step tells of the cause."""
        trainer = self.trainer
        trainer.flush_logs()
        clues = []
        if totals.skipped()[0]:
            clues.append(loss_clue(dict(zip(trainer.tasks.names, totals.last_skipped.tolist()))))
        last = None if trainer.parts.tables.moves_in_backward else trainer.skips.last  # it would move them on
        if last is not None and last.epoch == epoch:
            clues += gradient_clues(trainer.stepper, self._batch_of(last), trainer.tasks.names)
        clues += [f"first in {rows_of(record, trainer.order is not None)}" for record in self._skipped_in(epoch)[:1]]
        return diverged(epoch, what, clues)

    def _batch_of(self, record: SkippedStep) -> Batch:
        """The batch of a step of the present epoch, once more."""
        generator = None if self.trainer.order is None else generator_at(self.trainer.order)
        with closing(self.trainer.batches(generator, record.step - 1)) as batches:
            return next(batches)
