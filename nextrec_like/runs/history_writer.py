"""The history of a run in its folder, as far as it has come."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nextrec_like.runs.folder import HISTORY, STEPS
from nextrec_like.storage.atomic import whole, write_text, writing
from nextrec_like.storage.reading import inside
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.history import History
from nextrec_like.training.trainer import Trainer


class HistoryWriter(Callback):
    """Writes the history at the end of each epoch, so that an interrupted run keeps it.

    What the files have of seeds whose turn comes later, because the run goes on, stays in them.

    Args:
        folder: The run folder.
        seed: Seed of the training, noted in each line.
        histories: By seed; the one of this training is added.
    """

    def __init__(self, folder: Path, seed: int, histories: dict[int, History]) -> None:
        self.folder, self.seed, self.histories = folder, seed, histories
        self.lines, self.steps = "", pd.DataFrame()

    def on_fit_start(self, trainer: Trainer) -> None:
        """Notes what the files have of other seeds."""
        self.lines, self.steps = _of_others(self.folder, {*self.histories, self.seed})

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes all epochs so far as JSON lines, and the logged steps, of all seeds."""
        self.write(trainer.history)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Writes the same, also of a training that had come to its end before."""
        self.write(trainer.history)

    def write(self, history: History) -> None:
        """Writes the histories of all seeds, this one with its newest state."""
        self.histories[self.seed] = history
        with writing("The run folder", self.folder):
            lines = "".join(map(_lines, self.histories, self.histories.values()))
            write_text(self.folder / HISTORY, lines + self.lines)
            steps = steps_table(self.histories)
            with whole(self.folder / STEPS) as part:
                (steps if self.steps.empty else pd.concat([steps, self.steps])).to_parquet(part, index=False)


def steps_table(histories: Mapping[int, History]) -> pd.DataFrame:
    """The logged steps of all seeds: `History.steps_frame` with a column for the seed."""
    frames = [history.steps_frame().assign(seed=seed) for seed, history in histories.items()]
    return pd.concat(frames, ignore_index=True)


def _of_others(folder: Path, seeds: Collection[int]) -> tuple[str, pd.DataFrame]:
    """What the files have of all seeds but these; nothing of missing or damaged files: checkpoints have it, too."""
    fix = "it is written anew"
    try:
        lines = inside(folder, HISTORY, fix).read_text(encoding="utf-8").splitlines(keepends=True)
        steps = pd.read_parquet(inside(folder, STEPS, fix))
        kept = "".join(line for line in lines if json.loads(line)["seed"] not in seeds)
        return kept, steps[~steps["seed"].isin(seeds)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", pd.DataFrame()


def _lines(seed: int, history: History) -> str:
    return "".join(json.dumps({"seed": seed, **asdict(record)}, allow_nan=False) + "\n" for record in history.epochs)
