"""From a configuration to a run folder: data, processor, model, training, metrics."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from nextrec_like.config import (
    Config,
    build_features,
    build_model,
    checkpoint_arguments,
    fit_arguments,
    fit_processor,
    open_data,
)
from nextrec_like.config.data import PARTS, Part, is_streamed
from nextrec_like.data.packed import PackedData
from nextrec_like.data.streaming import StreamedData
from nextrec_like.distributed import Processes
from nextrec_like.distributed.join import current, restarted
from nextrec_like.errors import within
from nextrec_like.models import Model
from nextrec_like.runs.describe import describe_data, describe_model
from nextrec_like.runs.folder import METRICS, model_folder
from nextrec_like.runs.history_writer import HistoryWriter
from nextrec_like.runs.results import Result, conflict_share, describe_results, summarize
from nextrec_like.runs.resume import DescribesRun, checkpoints_of, run_to_go_on_with
from nextrec_like.runs.several import check_alike, run_folder
from nextrec_like.storage.atomic import write_json, writing
from nextrec_like.training.arguments import warn_of_data
from nextrec_like.training.history import History
from nextrec_like.training.same_training import MAY_CHANGE

Echo: TypeAlias = Callable[[str], None]


def train(config: Config, *, resume: bool = False, may_change: Collection[str] = (), echo: Echo | None = None) -> Path:
    """Trains one model per seed and evaluates each on the validation and test rows.

    In processes that torchrun has started, all make this call and train together; the first one writes. Where torchrun
    has started them again after a fault, they go on with the run that they had begun.

    Args:
        config: What to train, on what.
        resume: Whether to go on with the newest run of this name, if there is one; a run that came to its end is
            evaluated again.
        may_change: With `resume`, keys of ``training`` that may differ from the run's, such as ``epochs``; from then on
            they are the run's.
        echo: Called with each message, in the first process; None is silent.

    Returns:
        The run folder with the resolved configuration, package versions, history, metrics, models and checkpoints.

    Raises:
        InputError: For a configuration or data that break a rule or, with `resume`, differ from the run's.
        KeyboardInterrupt: If interrupted; it names what is kept.
    """
    processes = current()
    with processes.one_voice():
        check_alike(processes, config)
        say = echo if echo is not None and processes.is_first else _silent
        again = restarted(processes)
        old = processes.from_first(lambda: run_to_go_on_with(config, resume, may_change, say, after_restart=again))
        return _train(processes, config, None if old is None else Path(old), say, verbose=echo is not None)


def _train(processes: Processes, config: Config, old: Path | None, say: Echo, *, verbose: bool) -> Path:
    """Trains into the folder of an old run, or of a new one; see `train`."""
    parts = open_data(config)
    processor = fit_processor(config, parts["train"])
    features = build_features(config, processor)
    say(describe_data(config, parts))
    model = build_model(config, features, processor)
    say(describe_model(config, model))
    rows = pack_parts(config, model, parts)
    seeds = config.training.all_seeds
    results: dict[int, Result] = {}
    histories: dict[int, History] = {}
    with run_folder(processes, config, old) as folder:
        for seed in seeds:
            if len(seeds) > 1:
                say(f"\nseed {seed}")
            model = build_model(config, features, processor)
            writer = HistoryWriter(folder, seed, histories)
            # The run's configuration was compared; the checkpoint of a seed may be from before it was changed.
            going_on = False if old is None else MAY_CHANGE
            results[seed] = train_seed(config, model, rows, writer, resume=going_on, verbose=verbose)
            with writing("The run folder", folder):
                model.save(folder / model_folder(seed, seeds))
        if processes.is_first:
            with writing("The run folder", folder):
                write_json(folder / METRICS, {**summarize(results), "conflict_share": conflict_share(histories)})
    say(f"\n{describe_results(results)}\n{folder}")
    return folder


def train_seed(
    config: Config,
    model: Model,
    rows: Mapping[str, PackedData | StreamedData],
    writer: HistoryWriter,
    *,
    resume: bool | Sequence[str] = False,
    verbose: bool = False,
) -> Result:
    """Trains a model and evaluates it; the first process writes history and checkpoints into the run folder."""
    training = config.training
    checkpoints = checkpoints_of(writer.folder, writer.seed)
    with config.blame("training", "tasks", "features", "data"):
        model.fit(
            rows["train"],
            rows.get("valid"),
            **fit_arguments(config),
            check_data=False,
            seed=writer.seed,
            callbacks=[DescribesRun(config, writer.folder), writer] if current().is_first else [],
            **checkpoint_arguments(config, checkpoints, resume),
            verbose=int(verbose),
        )
        return {
            part: model.evaluate(
                rows[part], metrics=training.metrics, group_id=training.group_id, device=training.device
            )
            for part in ("valid", "test")
            if part in rows
        }


def pack_parts(config: Config, model: Model, parts: Mapping[str, Part]) -> dict[str, PackedData | StreamedData]:
    """The rows of all parts as a model reads them; warns of what is odd in them."""
    group_id = config.training.group_id if "gauc" in config.training.metrics else None
    rows = {}
    with config.blame("training", "tasks", "features", "data"):
        for part, source in parts.items():
            cache = Path(config.data.cache_dir) / part if config.data.cache_dir and part != "test" else None
            with within("" if part == "train" else f"In the {PARTS[part]} data: "):
                rows[part] = model.pack(source, group_id=group_id, streaming=is_streamed(source), cache_dir=cache)
    if config.data.checks and current().is_first:
        warn_of_data(model.features, model.tasks, rows, processed=model.processor is not None)
    return rows


def _silent(text: str) -> None:
    """Says nothing."""
