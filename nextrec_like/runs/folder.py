"""The folder of a run: made, found again, and used by one process at a time."""

import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nextrec_like
from nextrec_like.config import Config, dump, load_config, resolve
from nextrec_like.distributed.join import current
from nextrec_like.errors import InputError
from nextrec_like.storage.atomic import remove_parts, write_json, write_text, writing
from nextrec_like.storage.lock import locked
from nextrec_like.storage.paths import named_path
from nextrec_like.training.device import resolve_device
from nextrec_like.training.interrupts import Interrupted
from nextrec_like.training.saving import DESCRIPTION

CONFIG, HISTORY, METRICS, VERSIONS = "config.yaml", "history.jsonl", "metrics.json", "versions.json"
STEPS, CHECKPOINTS = "steps.parquet", "checkpoints"
OWN = "|".join([*map(re.escape, (CONFIG, HISTORY, METRICS, VERSIONS, STEPS)), r"model(_seed_\d+)?"])
"""Pattern of what is written into a run folder."""
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "pydantic", "PyYAML", "safetensors")


@contextmanager
def new_run(config: Config) -> Iterator[Path]:
    """A new run folder, which no other run has or gets; it goes again if there is nothing in it to keep."""
    folder = _new_folder(named_path("`output`", config.output), config.name)
    try:
        with locked(folder, "trains"):
            describe_run(config, folder)
            with _named_when_interrupted(folder):
                yield folder
    finally:
        if not (folder / HISTORY).exists() and not _has_checkpoints(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def same_run(folder: Path) -> Iterator[Path]:
    """A run folder to go on with, after `run_to_resume`; `DescribesRun` writes its configuration.

    Raises:
        InputError: If another process uses the folder.
    """
    with locked(folder, "trains"):
        remove_parts(folder, OWN)
        with _named_when_interrupted(folder):
            yield folder


@contextmanager
def _named_when_interrupted(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        if _has_checkpoints(folder):
            raise Interrupted.of(error, "the same command with `--resume` goes on") from error
        if (folder / HISTORY).exists():
            raise Interrupted.of(error, f"history so far in {folder}") from error
        raise


def _has_checkpoints(folder: Path) -> bool:
    return any(folder.glob(f"{CHECKPOINTS}/*/epoch-*"))


def describe_run(config: Config, folder: Path) -> None:
    """Writes the resolved configuration and the versions into a run folder; see `write_description`."""
    write_description(resolve(config), folder)


def write_description(resolved: Mapping[str, Any], folder: Path) -> None:
    """Writes a configuration and the versions into a run folder.

    Args:
        resolved: What `resolve` has made of the configuration.
        folder: The run folder.

    Raises:
        InputError: If the folder cannot be written.
    """
    versions = {
        "nextrec_like": nextrec_like.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": str(resolve_device(resolved["training"]["device"])),
        "processes": current().size,
        "command": shlex.join(sys.argv),
    }
    with writing("The run folder", folder):
        write_text(folder / CONFIG, dump(resolved))
        write_json(folder / VERSIONS, versions)


def _new_folder(output: Path, name: str) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
        number = max(numbered(output, name), default=0)
        while True:
            number += 1
            try:
                folder = output / f"{name}-{number:03d}"
                folder.mkdir()
                return folder
            except FileExistsError:  # another run has just taken this number
                continue
    except OSError as error:
        raise InputError(f"No run folder can be made in `output`, `{output}`: {error.strerror}.") from error


def numbered(output: Path, name: str) -> dict[int, Path]:
    """The run folders of a name by number, in rising order."""
    paths = output.iterdir() if output.is_dir() else ()
    found = {path: re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in paths}
    return dict(sorted((int(match[1]), path) for path, match in found.items() if match))


def model_folder(seed: int, seeds: Sequence[int]) -> str:
    """Name of the model folder of a seed within a run folder."""
    return "model" if len(seeds) == 1 else f"model_seed_{seed}"


def saved_models(folder: str | Path) -> dict[int | None, Path]:
    """The model folders in a run folder by seed; for a model folder itself, that one under None.

    Raises:
        InputError: If the folder is neither, or its run did not come to an end.
    """
    path = named_path("The run or model", folder)
    if (path / DESCRIPTION).is_file():
        return {None: path}
    seeds = open_run(path).training.all_seeds
    models: dict[int | None, Path] = {seed: path / model_folder(seed, seeds) for seed in seeds}
    for seed, model in models.items():
        if not (model / DESCRIPTION).is_file():
            raise InputError(
                f"The run `{path}` has no model of seed {seed}: its training did not end; `--resume` goes on."
            )
    return models


def open_run(folder: str | Path) -> Config:
    """The configuration of a run; its device, which may not exist here, is left open.

    Raises:
        InputError: If the folder is not a run folder.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise InputError(f"`{folder}` is neither a run folder (with {CONFIG}) nor a model folder (with {DESCRIPTION}).")
    return load_config(file, ["training.device=auto"])
