"""Which run ``train --resume`` goes on with, whether it can, and from where."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from nextrec_like.config import Config, resolve
from nextrec_like.config.document import read_document
from nextrec_like.distributed.job import remember, remembered
from nextrec_like.errors import InputError, check_keys
from nextrec_like.runs.folder import CHECKPOINTS, CONFIG, METRICS, numbered, write_description
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.checkpoint_folder import CheckpointFolder, Position
from nextrec_like.training.same_training import MAY_CHANGE, differences
from nextrec_like.training.trainer import Trainer

FREE = ("name", "output", "checkpoints", "training.device", "training.device_data", "data.cache_dir", "data.checks")
"""Keys of a configuration that do not matter when a run goes on; what they change in the rows or bits, `fit` finds."""


class DescribesRun(Callback):
    """Writes the configuration into the run folder once `fit` has accepted it, so that what it refuses changes nothing.

    Args:
        config: The configuration.
        folder: The run folder.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.resolved, self.folder = resolve(config), folder  # which draws weights, so it cannot wait until `fit`

    def on_fit_start(self, trainer: Trainer) -> None:
        """Writes it: the checkpoint, if there is one, has been read and compared."""
        write_description(self.resolved, self.folder)


def run_to_go_on_with(
    config: Config, resume: bool, may_change: Collection[str], say: Callable[[str], None], *, after_restart: bool
) -> str | None:
    """The run that this job had begun when torchrun started it again, or else what is to be resumed; None for neither.

    Args:
        config: The configuration now.
        resume: Whether to resume the newest run of its name.
        may_change: As in `run_to_resume`.
        say: As in `run_to_resume`.
        after_restart: Whether torchrun has started it again.
    """
    begun = remembered(_note(config)) if after_restart and config.checkpoints is not False else None
    if begun is not None and (Path(begun) / CONFIG).is_file():
        folder = run_to_resume(config, may_change, say, Path(begun))
    else:
        folder = run_to_resume(config, may_change, say) if resume else None
    return None if folder is None else str(folder)


def note_run(config: Config, folder: Path) -> None:
    """Has `run_to_go_on_with` find the folder after a restart, and never an older run of the same name."""
    remember(_note(config), str(folder.absolute()))


def run_to_resume(
    config: Config, may_change: Collection[str], say: Callable[[str], None], folder: Path | None = None
) -> Path | None:
    """The run to go on with, if it can go on; None, also said, if there is none.

    Args:
        config: The configuration now.
        may_change: Names of `MAY_CHANGE`, keys of ``training``, that may differ from the run's.
        say: Called with what is found, and each seed that begins anew.
        folder: The run; by default the newest one of the name in the configuration.

    Raises:
        InputError: If the configuration differs from the run's, has fewer epochs than a seed has begun, or the run is
            finished and lacks the checkpoints of a seed.
    """
    check_keys("setting that may change", may_change, MAY_CHANGE)
    folder = folder or _newest(config)
    if folder is None:
        say(f"no run `{config.name}` in `{Path(config.output).expanduser().absolute()}`; a new one begins")
        return None
    _check_config(config, folder, may_change)
    begun = {seed: _epochs_begun(checkpoints_of(folder, seed)) for seed in config.training.all_seeds}
    _check_epochs(config, folder, begun)
    say(f"going on with {folder}")
    for seed in (seed for seed, epochs in begun.items() if epochs is None):
        if (folder / METRICS).exists():
            raise InputError(
                f"The run `{folder}` is finished, and has no checkpoint of seed {seed} to go on from; for a new run, "
                f"leave out `--resume`."
            )
        say(f"no checkpoint of seed {seed}; it begins anew")
    return folder


def _note(config: Config) -> str:
    return f"run {Path(config.output).expanduser().absolute() / config.name}"


def _newest(config: Config) -> Path | None:
    folders = numbered(Path(config.output).expanduser(), config.name).values()
    return next((each for each in reversed(folders) if (each / CONFIG).is_file()), None)


def checkpoints_of(folder: Path, seed: int) -> Path:
    """Folder of the checkpoints of a seed in a run folder."""
    return folder / CHECKPOINTS / f"seed_{seed}"


def _check_config(config: Config, folder: Path, may_change: Collection[str]) -> None:
    """Raises, with a list of all differences, if the configuration is not that of the run."""
    saved, now = read_document(folder / CONFIG).data, json.loads(json.dumps(resolve(config)))
    free = (*FREE, *(f"training.{name}" for name in may_change))
    found = {name: text for name, text in differences(saved, now) if not _is_within(name, free)}
    if found:
        names = [name for name in MAY_CHANGE if f"training.{name}" in found]
        fix = f"allow it by `--change {','.join(names)}`" if len(names) == len(found) else "use the run's configuration"
        raise InputError(
            f"The configuration differs from that of the run `{folder}`: {'; '.join(found.values())}. To go on, {fix}; "
            f"for a new run, leave out `--resume`."
        )


def _is_within(name: str, keys: Collection[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def _epochs_begun(checkpoints: Path) -> int | None:
    """Epochs that have begun at the newest checkpoint; None if there is none."""
    found = CheckpointFolder(checkpoints, keep_last=1).found() if checkpoints.is_dir() else []
    return Position.of(found[0]).begun if found else None


def _check_epochs(config: Config, folder: Path, begun: dict[int, int | None]) -> None:
    """Raises, with the place in the configuration, if it wants fewer epochs than a seed has begun."""
    for seed, epochs in begun.items():
        if epochs is not None and config.training.epochs < epochs:
            at = f"seed {seed} of the run `{folder}` is at epoch {epochs}"
            with config.blame("training"):
                raise InputError(f"`epochs` is {config.training.epochs}, but {at}; give at least {epochs}.")
