"""Checks and small conversions of what `fit` and `evaluate` are given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from nextrec_like.data.audit import audit, describe
from nextrec_like.data.checks import warn_of_labels
from nextrec_like.data.source import Rows
from nextrec_like.distributed.join import current
from nextrec_like.errors import InputError, number_in, warn
from nextrec_like.features import FeatureSet
from nextrec_like.objectives import Objective
from nextrec_like.tasks import TaskSet
from nextrec_like.training.checkpoint import Checkpoint, CheckpointParams
from nextrec_like.training.compiled import Compiled
from nextrec_like.training.settings import Settings


def checkpoint_in(
    folder: str | Path | None,
    params: Mapping[str, object] | None,
    resume: bool | Sequence[str],
    *,
    after_restart: bool = False,
) -> Checkpoint | None:
    """The checkpoints in a folder; None without one.

    Args:
        folder: As given to `fit`, like the following.
        params: When to save.
        resume: Whether to go on from them.
        after_restart: Whether torchrun has started this training again, which then goes on in any case.

    Raises:
        InputError: If an argument is not valid, or has no use without a folder.
    """
    checked = CheckpointParams.of(params)
    if folder is None:
        if resume:
            raise InputError("`resume` needs the `checkpoint_dir` of the training to go on with.")
        if params is not None:
            raise InputError("`checkpoint_params` needs a `checkpoint_dir` to save to.")
        return None
    return Checkpoint(folder, checked, resume or after_restart)


def check_validation(settings: Settings, parts: Compiled, has_data: bool, valid_split: float | None) -> None:
    """Raises if validation rows are given twice, or not at all where something follows the validation score."""
    if valid_split is not None:
        number_in("`valid_split`", valid_split, 0, 1, above_low=True)
        if has_data:
            raise InputError("Both `valid_data` and `valid_split` are given; choose one.")
    elif not has_data and (settings.patience is not None or parts.schedule.needs_score):
        what = "`patience`" if settings.patience is not None else "ReduceLROnPlateau"
        raise InputError(f"{what} needs validation data; pass `valid_data` or `valid_split`.")


def warn_of_data(features: FeatureSet, tasks: TaskSet, rows: Mapping[str, Rows], *, processed: bool) -> None:
    """Warns of what is odd in the data, as one table; see `audit`.

    Args:
        features: What the rows hold.
        tasks: Whose labels they hold.
        rows: By part, with ``train``.
        processed: Whether a processor has encoded them, so that an id of 1 is an unknown value.
    """
    unknown = [feature.name for feature in features.ids] if processed else []
    others = {part: each for part, each in rows.items() if part != "train"}
    findings = audit(features, tasks, rows["train"], others, unknown)
    if findings:
        how = "`check_data=False`, or in a configuration `data.checks: false`, switches this off"
        warn(f"Before training, what looks wrong with the data ({how}):\n{describe(findings)}")


def check_training_rows(model: nn.Module, rows: Rows, settings: Settings, objective: Objective) -> None:
    """Warns of tasks that cannot learn from the rows; raises if batch normalisation would see a single row.

    Raises:
        InputError: Also for fewer rows than processes.
    """
    if len(rows) < (size := current().size):
        raise InputError(f"{size} processes cannot share {len(rows)} training rows; start at most {len(rows)}.")
    warn_of_labels(rows.label_blocks(), objective.tasks, objective.needs_all_impressions)
    has_norm = any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    if has_norm and min(len(rows), settings.batch_size * size) == 1:  # what counts are the rows of all processes
        raise InputError("Batch normalisation cannot train on one row; raise `batch_size`, or use layer norm.")
