"""From a configuration to an answer: which variant is better on these data, and is the difference real."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nextrec_like.comparison.collect import collect
from nextrec_like.comparison.console import describe_choices, describe_comparison
from nextrec_like.comparison.identity import data_fingerprint
from nextrec_like.comparison.judging import check_parts, open_store
from nextrec_like.comparison.report import write_report
from nextrec_like.comparison.results import Results
from nextrec_like.comparison.running import Pool, Request, Runner, Together
from nextrec_like.comparison.running.work import Workspace
from nextrec_like.comparison.selection import Choice, Selection
from nextrec_like.comparison.variants import Variant, as_compared, expand
from nextrec_like.config import Config, load_config, read_data, resolve
from nextrec_like.distributed import Processes
from nextrec_like.distributed.join import current
from nextrec_like.errors import InputError, positive_int
from nextrec_like.runs import check_alike, describe_data
from nextrec_like.storage.lock import locked
from nextrec_like.storage.records import build


@dataclass(frozen=True)
class Comparison:
    """A comparison that has come to its end.

    Attributes:
        folder: With ``report.html``, ``report.md``, ``results.json``, three CSV files and the run folders.
        results: What it found.
    """

    folder: Path
    results: Results

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / "report.html"


def compare(
    config: Config | str | Path,
    *,
    jobs: int | None = None,
    retry_failed: bool = False,
    echo: Callable[[str], None] | None = None,
) -> Comparison:
    """Trains all variants of a configuration with all its seeds, and says which are better.

    In processes that torchrun has started, all make this call; each training is shared by all of them, and the first
    one says, decides and writes everything.

    What was trained before, by a comparison that was interrupted or by one of another extent with the same name, is
    not trained again.

    Args:
        config: A configuration, or the path to one; its section ``comparison`` says what is compared.
        jobs: Processes that train at a time; None: one per GPU, or else per processor, at most four. Processes of
            torchrun train one after the other.
        retry_failed: Whether trainings that diverged or broke a rule before are tried again.
        echo: Called with each message; None is silent.

    Returns:
        The results and their folder.

    Raises:
        InputError: For a configuration or data that break a rule, or if no training came to its end.
        KeyboardInterrupt: If interrupted; the next call goes on.
    """
    processes = current()
    say = echo if echo is not None and processes.is_first else _silent
    if jobs is not None and positive_int("`jobs`", jobs) > 1 and processes.size > 1:
        raise InputError(f"`jobs` is {jobs}, but all {processes.size} processes share each training; leave it out.")
    if not isinstance(config, Config):
        config = load_config(config)
    config = as_compared(config)
    check_alike(processes, config)
    variants = expand(config)
    with processes.one_voice():
        tables = read_data(config)
        check_parts(config, tables)
        fingerprint = data_fingerprint(tables)
        processes.check_same("data", fingerprint)
        if not processes.is_first:
            Together(processes, Workspace(config, tables, processes), Path()).follow()
            return _shared(processes, None)
    say(f"{describe_data(config, tables)}\n  data fingerprint {fingerprint[:16]}")
    if config.data.checks:
        Workspace(config, tables).warn()
    store = open_store(config, tables, fingerprint)
    trainers: Pool | Together = Pool(resolve(config), fingerprint, store.runs, jobs)
    if processes.size > 1:
        trainers = Together(processes, Workspace(config, tables, processes), store.runs)
    with locked(store.path, "compares"), trainers as pool:
        runner = Runner(store, fingerprint, pool, say, retry_failed)
        choices = train_all(config, variants, runner)
    if chosen := describe_choices(choices):
        say(chosen)
    results = collect(config, choices, runner, tables)
    try:
        results.save(store.path)
        write_report(results, store, store.path)
    except OSError as error:
        raise InputError(
            f"The results cannot be written into `{store.path}`: {error.strerror or error}. The runs are kept: once "
            f"that is mended, the same command writes them without training."
        ) from error
    say(describe_comparison(results, store.path))
    return _shared(processes, Comparison(store.path, results))


def train_all(config: Config, variants: Sequence[Variant], runner: Runner) -> list[Choice]:
    """Trains whatever is needed to choose the setting of each variant, and the chosen ones with all seeds."""
    selection, seeds = Selection(config, runner), config.training.all_seeds
    ready = [variant for variant in variants if len(variant.settings) == 1 and variant.role != "tuned_fixed"]
    open_ones = [variant for variant in variants if len(variant.settings) > 1 and variant.role != "tuned_fixed"]
    finals = [Request(each.name, each.settings[0].config, seed) for each in ready for seed in seeds]
    tries = [request for each in open_ones for request in selection.requests(each, each.settings)]
    runner.train([*tries, *finals])
    searched = {
        each.name: selection.with_proposals(each, [other for other in variants if each.name in other.references])
        for each in variants
        if each.role == "tuned_fixed"
    }
    choices = [selection.choice(searched.get(variant.name, variant)) for variant in variants]
    runner.train(Request(each.variant.name, each.setting.config, seed) for each in choices for seed in seeds)
    return choices


def _shared(processes: Processes, found: Comparison | None) -> Comparison:
    """What the first process has found, in all."""
    told = processes.gather(None if found is None else [str(found.folder), asdict(found.results)])[0]
    return found or Comparison(Path(told[0]), build(Results, told[1], "the comparison"))


def _silent(text: str) -> None:
    """Says nothing."""
