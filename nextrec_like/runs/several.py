"""One run of several processes: all are given the same, and the first one has the folder."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nextrec_like.config import Config, resolve
from nextrec_like.distributed import Processes
from nextrec_like.runs.folder import new_run, same_run
from nextrec_like.runs.resume import note_run
from nextrec_like.training import same_training


def check_alike(processes: Processes, config: Config) -> None:
    """Compares the configurations of all processes.

    Raises:
        InputError: In all of them, if they differ; it lists the differences of one process.
    """
    if processes.size > 1:
        given = {**resolve(config), "comparison": config.comparison.model_dump()}
        same_training.check_alike(processes, "configuration", given)


@contextmanager
def run_folder(processes: Processes, config: Config, old: Path | None) -> Iterator[Path]:
    """The folder of an old run, or of a new one, which the first process makes, locks and writes."""
    with ExitStack() as stack:

        def enter() -> str:
            folder = stack.enter_context(new_run(config) if old is None else same_run(old))
            note_run(config, folder)
            return str(folder)

        yield Path(processes.from_first(enter))
