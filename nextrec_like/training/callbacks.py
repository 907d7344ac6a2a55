"""Hooks into a training."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextrec_like.training.trainer import Trainer


class Callback:
    """Called by the trainer; override what is needed. `trainer` gives the model, the history and `stop()`."""

    def on_fit_start(self, trainer: "Trainer") -> None:
        """Before the first epoch."""

    def on_step_end(self, trainer: "Trainer") -> None:
        """After each optimizer step."""

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """After each epoch; its record is the last of `trainer.history.epochs`."""

    def on_fit_end(self, trainer: "Trainer") -> None:
        """After the last epoch, with the best weights restored."""
