"""One training of a comparison, from its configuration to its run folder."""

import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nextrec_like.comparison.running.cost import Meter
from nextrec_like.comparison.running.gates import watched_gates
from nextrec_like.comparison.store import FORMAT, GATES, PREDICTIONS, RESULT, new_run_folder
from nextrec_like.config import Config, build_features, build_model, build_tasks, fit_arguments, fit_processor
from nextrec_like.data.groups import group_of
from nextrec_like.data.packed import PackedData, pack
from nextrec_like.data.processor import DataProcessor
from nextrec_like.distributed import ALONE, Processes
from nextrec_like.errors import InputError, LostProcessError, StorageError
from nextrec_like.features import FeatureSet
from nextrec_like.metrics import TaskMetrics
from nextrec_like.models import Model
from nextrec_like.runs import HistoryWriter, describe_run
from nextrec_like.storage.atomic import write_json
from nextrec_like.tasks import TaskSet
from nextrec_like.training.arguments import warn_of_data
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.device import resolve_device
from nextrec_like.training.evaluation import evaluate_predictions
from nextrec_like.training.history import EpochRecord, History


@dataclass(frozen=True)
class Job:
    """A training to be done.

    Attributes:
        key: Of the run.
        config: The resolved configuration, as plain data.
        seed: The seed.
    """

    key: str
    config: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        key: Of the run.
        reason: Why it failed; None if its folder is there.
        final: Whether the same job would fail again.
        trace: Where an unexpected error came from.
        warnings: What the training warned of.
    """

    key: str
    reason: str | None = None
    final: bool = False
    trace: str = ""
    warnings: tuple[str, ...] = ()


class Workspace:
    """The data of a comparison, read and encoded once for all trainings.

    Args:
        config: Any configuration with the data, features, tasks and groups of the comparison.
        tables: Its parts.
        processes: Those that train one model together.
    """

    def __init__(self, config: Config, tables: Mapping[str, pa.Table], processes: Processes = ALONE) -> None:
        self.processes = processes
        self.processor: DataProcessor | None = fit_processor(config, tables["train"])
        self.features = build_features(config, self.processor)
        group_id = config.training.group_id
        self.tasks, self.feature_set = TaskSet(build_tasks(config)), FeatureSet(*self.features.values())
        self.parts: dict[str, PackedData] = {}
        for part, table in tables.items():
            group = None if group_id is None else group_of(table, group_id, self.processor)
            encoded = table if self.processor is None else self.processor.transform(table)
            self.parts[part] = pack(encoded, self.feature_set, self.tasks, group)

    def warn(self) -> None:
        """Warns of what is odd in the data."""
        warn_of_data(self.feature_set, self.tasks, self.parts, processed=self.processor is not None)

    def train(self, job: Job, runs: Path) -> Outcome:
        """Trains into a run folder; whatever goes wrong is said in the outcome, so that other runs go on.

        Of several processes the first one writes. What can go wrong in one of them only is raised: the others are
        still at the training.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = self._outcome(job, runs) if self.processes.size == 1 else self._joint_outcome(job, runs)
        messages = tuple(dict.fromkeys(str(each.message) for each in caught))
        return Outcome(outcome.key, outcome.reason, outcome.final, outcome.trace, messages)

    def _outcome(self, job: Job, runs: Path) -> Outcome:
        try:
            self._train(job, runs)
        except StorageError as error:
            return Outcome(job.key, str(error))
        except InputError as error:
            return Outcome(job.key, str(error), final=not isinstance(error.__cause__, OSError))
        except OSError as error:
            return Outcome(job.key, f"a file cannot be read or written: {error}")
        except MemoryError:
            return Outcome(job.key, "out of memory")
        except Exception as error:
            return Outcome(job.key, f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        return Outcome(job.key)

    def _joint_outcome(self, job: Job, runs: Path) -> Outcome:
        try:
            self._train(job, runs)
        except InputError as error:
            if isinstance(error, LostProcessError | StorageError) or isinstance(error.__cause__, OSError):
                raise
            return Outcome(job.key, str(error), final=True)
        return Outcome(job.key)

    def _train(self, job: Job, runs: Path) -> None:
        config = Config.model_validate(job.config)
        model = build_model(config, self.features, self.processor)
        if not self.processes.is_first:
            self._fit(config, model, job.seed)
            self._predict(config, model)
            return
        with new_run_folder(runs, job.key) as folder:
            describe_run(config, folder)
            meter = Meter(resolve_device(config.training.device))
            history = self._fit(config, model, job.seed, [HistoryWriter(folder, job.seed, {})])
            cost = {"cpu_seconds": meter.cpu_seconds(), "peak_memory": meter.peak_memory()}
            kept = kept_epoch(history, config.training.restore_best)
            test = self._test(config, model, folder)
            outcome = {
                "valid": kept.valid,
                "test": test,
                "reasons": {"valid": kept.reasons, "test": {name: each.reasons for name, each in test.items()}},
            }
            known = {"format": FORMAT, "key": job.key, "seed": job.seed, "score": kept.score}
            write_json(folder / RESULT, {**known, **outcome, **course(history), **cost})

    def _fit(self, config: Config, model: Model, seed: int, callbacks: Sequence[Callback] = ()) -> History:
        return model.fit(
            self.parts["train"],
            self.parts["valid"],
            **fit_arguments(config),
            check_data=False,
            seed=seed,
            callbacks=callbacks,
            verbose=0,
        )

    def _predict(self, config: Config, model: Model) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
        """Predictions of the test rows, and the use of gates."""
        with watched_gates(model, self.processes) as gates:
            frame = model.predict(self.parts["test"], device=config.training.device)
        return frame, gates

    def _test(self, config: Config, model: Model, folder: Path) -> dict[str, TaskMetrics]:
        """Writes the predictions of the test rows and the use of gates; gives the metrics."""
        frame, gates = self._predict(config, model)
        write_json(folder / GATES, gates)
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / PREDICTIONS, compression="none")
        predictions = {str(name): frame[name].to_numpy() for name in frame}
        data = self.parts["test"]
        assert data.labels is not None
        return evaluate_predictions(model.tasks, predictions, data.labels, config.training.metrics, data.group)


def kept_epoch(history: History, restore_best: bool) -> EpochRecord:
    """The epoch whose weights the model has in the end."""
    return history.epochs[(history.best_epoch or 0) - 1 if restore_best else -1]


def course(history: History) -> dict[str, Any]:
    """What is known of the training itself."""
    seconds = sum(record.seconds for record in history.epochs)
    rows = sum(record.samples_per_second * record.seconds for record in history.epochs)
    return {
        "best_epoch": history.best_epoch,
        "epochs": len(history.epochs),
        "seconds": seconds,
        "samples_per_second": rows / seconds,
        "skipped_steps": history.skipped_steps,
        "conflict_share": {" and ".join(pair): share for pair, share in history.conflict_share().items()},
    }
