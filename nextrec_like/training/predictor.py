"""What a model does without being trained: predict, evaluate, describe and save itself."""

from abc import ABCMeta, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import nn

from nextrec_like.data.blocks import BLOCK_ROWS, ParquetBlocks, parquet_files
from nextrec_like.data.cache import cached
from nextrec_like.data.groups import check_group_id, group_of
from nextrec_like.data.packed import PackedData, pack
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.recut import part_lengths, recut
from nextrec_like.data.source import Rows
from nextrec_like.data.streaming import StreamedData, window_rows
from nextrec_like.data.tables import TableLike, read_table
from nextrec_like.distributed import Processes
from nextrec_like.distributed.join import current
from nextrec_like.errors import InputError, warn
from nextrec_like.features import FeatureSet
from nextrec_like.metrics import TaskMetrics, check_metrics
from nextrec_like.objectives import OBJECTIVES, Objective, build_objective
from nextrec_like.storage.paths import named_path
from nextrec_like.tasks import TaskSet
from nextrec_like.training.device import enough_memory, resolve_device
from nextrec_like.training.evaluation import evaluate_rows, output_names, predict_blocks
from nextrec_like.training.prediction_file import checked_keep, checked_output, write_predictions
from nextrec_like.training.randomness import fingerprint
from nextrec_like.training.reading import Reading, files_to_stream
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
        streaming: bool | str = "auto",
    ) -> dict[str, TaskMetrics]:
        """Exact metrics of every task over all rows and, for a task with a parent, where the parent happened.

        Args:
            data: Rows with labels, in any form that `fit` takes.
            metrics: ``auc``, ``gauc``, ``logloss``, ``pr_auc``, ``ece``, ``pcoc``, ``rmse``, ``mae``.
            group_id: Column with the group of each row, for ``gauc``.
            device: As in `fit`.
            streaming: As in `fit`. Metrics of more rows than fit have a stated error; see `MetricsAccumulator`.

        Returns:
            For example ``{"click": {"auc": 0.7}, "conversion": {...}, "conversion_given_click": {...}}``. A metric
            that is not defined on these rows is None, with an entry in ``result["click"].reasons``.

        Raises:
            InputError: For data or arguments that break a rule.
        """
        processes = current()
        processes.check_call("evaluate")
        with processes.one_voice():
            with processes.together():
                metrics = check_metrics(metrics)
                rows = self._rows(data, labels=True, metrics=metrics, group_id=group_id, reading=Reading(streaming))
                placed, target = self._placed(rows, device)
            self._place_tables(target)
            self._check_same(rows, processes, labels=True)
            return evaluate_rows(self, self.objective, placed, target, metrics, processes)

    @overload
    def predict(
        self,
        data: TableLike | PackedData,
        *,
        device: str | torch.device = "auto",
        streaming: bool | str = "auto",
        output: None = None,
        keep: Sequence[str] = (),
    ) -> pd.DataFrame: ...

    @overload
    def predict(
        self,
        data: TableLike | PackedData,
        *,
        device: str | torch.device = "auto",
        streaming: bool | str = "auto",
        output: str | Path,
        keep: Sequence[str] = (),
    ) -> Path: ...

    def predict(
        self,
        data: TableLike | PackedData,
        *,
        device: str | torch.device = "auto",
        streaming: bool | str = "auto",
        output: str | Path | None = None,
        keep: Sequence[str] = (),
    ) -> pd.DataFrame | Path:
        """Predicts every task.

        Args:
            data: Rows in any form that `fit` takes; labels are not needed.
            device: As in `fit`.
            streaming: As in `fit`.
            output: A ``.parquet`` file to write the predictions to, block by block, instead of returning them. It is
                complete or not there.
            keep: Columns of the data to write before them, such as ids. One that is named like a prediction is renamed
                to ``<name>_label``.

        Returns:
            One row per row, one float64 column per task: p(task) over all impressions, or the value of a
            regression; for a task with a parent also p(task given parent), as ``conversion_given_click``. With
            `output` the path of the file.

        Raises:
            InputError: For data or arguments that break a rule.
        """
        processes = current()
        processes.check_call("predict")
        with processes.one_voice(), ExitStack() as stack:
            with processes.together():
                kept = checked_keep(keep, data, output_names(self.tasks))
                file: Path | None = None
                if output is not None:  # whose folder only the first process has to reach
                    file = checked_output(output, data) if processes.is_first else named_path("`output`", output)
                if kept and file is None:
                    raise InputError("`keep` needs an `output` file to write the columns to.")
                data, rows = self._to_predict(data, Reading(streaming), file is not None)
                predictions = self._predictions(*self._placed(rows, device), processes)
                stack.enter_context(closing(predictions))  # so that no thread reads on if writing fails
            self._check_same(rows, processes, labels=False)
            if file is not None:
                return self._write_predictions(file, predictions, data, kept, len(rows), processes)
            parts = list(predictions)
        index = data.index if isinstance(data, pd.DataFrame) else None
        return pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, index=index)

    def pack(
        self,
        data: TableLike,
        *,
        group_id: str | None = None,
        streaming: bool | str = "auto",
        cache_dir: str | Path | None = None,
    ) -> PackedData | StreamedData:
        """Reads and encodes rows with labels once; `fit` and `evaluate` take the result as data, as often as needed.

        Args:
            data: Rows in any form that `fit` takes.
            group_id: Column with the group of each row, if ``gauc`` is to be computed.
            streaming: As in `fit`.
            cache_dir: Folder for packed rows, where rows are streamed.

        Raises:
            InputError: For data or arguments that break a rule.
        """
        metrics = ("gauc",) if group_id is not None else ()
        reading = Reading(streaming, cache_dir)
        return self._rows(data, labels=True, metrics=metrics, group_id=group_id, reading=reading, part="")

    def save(self, folder: str | Path) -> None:
        """Writes the model and its fitted processor: safetensors, JSON and parquet; no pickle.

        Of several processes the first one writes, and the others do not wait for it; where they share out embedding
        tables, each writes its part.

        Args:
            folder: A new or empty folder, or one that holds a saved model, which is replaced.

        Raises:
            InputError: If the folder holds anything else.
        """
        self._check_processor()
        shards = self._write_shards(folder)
        if current().is_first:
            save_model(self, folder, shards)

    def summary(self) -> str:
        """Features, embedding tables, layers with their number of parameters, and tasks, as text."""
        return model_summary(self)

    def _place_tables(self, device: torch.device) -> None:
        """Gives this process its part of tables that do not fit, where `compile` has said how."""

    def _write_shards(self, folder: str | Path) -> Path | None:
        """Where all processes have written tables that none of them has as a whole."""

    def _check_same(self, rows: Rows, processes: Processes, *, labels: bool) -> None:
        """Raises if processes would put together what different models say of different rows."""
        if processes.size > 1:
            processes.check_same("rows", rows.fingerprint(labels=labels))
            processes.check_same("weights of the model", fingerprint(self))

    def _placed(self, rows: Rows, device: str | torch.device) -> tuple[Rows, torch.device]:
        """The rows on the device, with the model, where they fit; and the device."""
        if not self.is_fitted and fingerprint(self) == self._constructed:
            warn("The model has not been fitted, so it predicts from random weights; call `fit` first.")
        target = resolve_device(device)
        with enough_memory(target, "holding the model and the rows", "free some of it, or use `device='cpu'`"):
            self.to(target)
            return rows.on(target), target

    def _predictions(
        self, rows: Rows, device: torch.device, processes: Processes
    ) -> Generator[dict[str, np.ndarray], None, None]:
        """Predictions of each block."""
        self._place_tables(device)
        for _, predictions in predict_blocks(self, self.objective, rows, device, processes):
            yield predictions

    def _to_predict(
        self, data: TableLike | PackedData, reading: Reading, read_once: bool
    ) -> tuple[TableLike | PackedData, Rows]:
        """The rows; and the data, or the table that they were read from, to keep columns of it."""
        files = files_to_stream(data, reading.streaming, self.features, None)
        if read_once and files is None and not isinstance(data, PackedData):
            data = self._table(data)
        return data, self._rows(data, labels=False, reading=replace(reading, streaming=files is not None))

    def _write_predictions(
        self,
        file: Path,
        predictions: Generator[dict[str, np.ndarray], None, None],
        data: TableLike | PackedData,
        keep: Sequence[str],
        num_rows: int,
        processes: Processes,
    ) -> Path:
        """Has the first process write the file, block by block."""
        kept: Iterator[pa.Table | None] = repeat(None)
        if keep and processes.is_first:
            files = parquet_files(data)
            tables = [read_table(data, keep)] if files is None else ParquetBlocks(files, keep).tables()
            lengths = part_lengths(num_rows, BLOCK_ROWS)
            kept = recut(tables, lengths, lambda table, start, stop: table.slice(start, stop - start), pa.concat_tables)
        if processes.is_first:
            write_predictions(file, output_names(self.tasks), zip(predictions, kept))
        else:
            deque(predictions, maxlen=0)
        return file

    def _check_processor(self) -> None:
        if self.processor is not None and self.processor.fingerprint != self.processor_fingerprint:
            raise InputError(
                "The processor was fitted again after the model was made, so its ids mean something else; use "
                "`transform` on new rows, and never `fit` or `fit_transform`."
            )

    def _table(self, data: TableLike) -> pa.Table:
        return read_table(data) if self.processor is None else self.processor.read(data)

    def _rows(
        self,
        data: TableLike | PackedData | StreamedData,
        *,
        labels: bool,
        reading: Reading,
        metrics: Sequence[str] = (),
        group_id: str | None = None,
        part: str = "train",
    ) -> PackedData | StreamedData:
        """The rows, packed in memory or streamed.

        Args:
            data: What the user gave.
            labels: Whether to read labels.
            reading: Whether to stream them.
            metrics: Metrics that are wanted, for which groups are read if one needs them.
            group_id: Column with the groups.
            part: Name of their folder in a cache.
        """
        if isinstance(data, StreamedData):
            return data
        tasks, grouped = self.tasks if labels else None, "gauc" in metrics
        files = files_to_stream(data, reading.streaming, self.features, tasks)
        if isinstance(data, PackedData):
            return data
        self._check_processor()
        if files is not None:
            group = check_group_id(group_id) if grouped else None
            source = ParquetRows(files, self.features, tasks, self.processor, group)
            cache = reading.cache(part)
            return StreamedData(source if cache is None else cached(source, cache), window_rows(self.features, tasks))
        table = self._table(data)
        groups = group_of(table, group_id, self.processor) if grouped else None
        table = table if self.processor is None else self.processor.transform(table)
        return pack(table, self.features, tasks, groups)
