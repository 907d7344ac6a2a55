"""The command ``nextrec-like``: compare, train, evaluate, predict."""

import argparse
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

import nextrec_like
from nextrec_like.config import load_config, open_data
from nextrec_like.config.data import Part, is_streamed, num_rows
from nextrec_like.data.tables import read_table
from nextrec_like.distributed.job import cause, exit_if_several
from nextrec_like.distributed.join import current, is_heard
from nextrec_like.errors import InputError, InputWarning, unknown
from nextrec_like.loading import load_model
from nextrec_like.models import Model
from nextrec_like.printable import printable, write_lines
from nextrec_like.runs import (
    Result,
    describe_results,
    open_run,
    saved_models,
    summarize,
    train,
)
from nextrec_like.storage.atomic import part_of, whole, write_json
from nextrec_like.storage.paths import named_path
from nextrec_like.storage.tables import TABLE_WRITERS
from nextrec_like.training.evaluation import output_names
from nextrec_like.training.interrupts import Interrupted, ended_by_sigterm
from nextrec_like.training.prediction_file import checked_keep, kept_name
from nextrec_like.training.reading import files_to_stream
from nextrec_like.training.same_training import MAY_CHANGE

EXAMPLES = """examples:
  nextrec-like compare configs/quickstart.yaml
  nextrec-like train configs/quickstart.yaml
  nextrec-like train configs/quickstart.yaml --set training.epochs=1 --set model.num_experts=8
  nextrec-like evaluate runs/quickstart-001
  nextrec-like predict runs/quickstart-001 --data new.parquet --output scores.parquet --keep user_id,item_id
  torchrun --nproc-per-node 4 -m nextrec_like train configs/quickstart.yaml
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Of several processes that torchrun has started, the first one speaks and writes.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        The exit status: 0, 2 if the input breaks a rule, 130 if interrupted, 143 if asked to end by SIGTERM.
    """
    try:
        with _plain_warnings(), ended_by_sigterm():
            arguments = _arguments(argv)
            current()  # so that the processes of a job know each other before one of them fails
            arguments.run(arguments)
    except (InputError, KeyboardInterrupt) as error:
        status = _end(error)
        exit_if_several(status, error)
        return status
    return 0


def run_train(arguments: argparse.Namespace) -> None:
    """Trains what a configuration says."""
    if arguments.change and not arguments.resume:
        raise InputError("`--change` is for a run that goes on; pass `--resume`, too, or leave it out.")
    config = load_config(arguments.config, arguments.set)
    train(config, resume=arguments.resume, may_change=arguments.change, echo=_say)


def run_compare(arguments: argparse.Namespace) -> None:
    """Compares what a configuration says."""
    try:
        from nextrec_like.comparison import compare  # needs the extra `compare`, which other commands do not
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(nextrec_like.__name__):
            raise
        raise InputError(
            f"`compare` needs the package `{error.name}`; install it with `pip install 'nextrec_like[compare]'`."
        ) from error
    config = load_config(arguments.config, arguments.set)
    try:
        compare(config, jobs=arguments.jobs, retry_failed=arguments.retry_failed, echo=_say)
    except KeyboardInterrupt as interrupt:
        raise Interrupted.of(interrupt, "finished runs are kept; the same command goes on") from interrupt


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Evaluates the models of a run, or one model."""
    processes, output = current(), None
    if arguments.output is not None:
        output = Path(processes.from_first(lambda: str(_output(arguments, [".json"]))))
    models = {seed: load_model(folder) for seed, folder in saved_models(arguments.model).items()}
    metrics, group_id, part = arguments.metrics, arguments.group_id, "data"
    if None not in models:
        config = open_run(arguments.model)
        metrics, group_id = metrics or config.training.metrics, group_id or config.training.group_id
    if arguments.data:
        rows = _rows(next(iter(models.values())), arguments.data)
    elif None in models:
        raise InputError(f"`{arguments.model}` is a model folder, so it has no rows of its own; pass `--data PATH`.")
    else:
        part, rows = "test", _test_rows(arguments.model)
    results: dict[int | None, Result] = {
        seed: {
            part: model.evaluate(
                rows,
                metrics=metrics or ("auc", "logloss"),
                group_id=group_id,
                device=arguments.device,
                streaming=is_streamed(rows),
            )
        }
        for seed, model in models.items()
    }
    _say(f"{arguments.model}   {num_rows(rows):,} rows\n{describe_results(results)}")
    if output is not None and processes.is_first:
        with _write_errors(output), whole(output) as file:
            write_json(file, summarize(results))
        _say(f"wrote {output}")


def run_predict(arguments: argparse.Namespace) -> None:
    """Writes the predictions of a model, one row per row."""
    processes = current()
    output = Path(processes.from_first(lambda: str(_output(arguments, list(TABLE_WRITERS)))))
    model = load_model(_one_model(arguments.model, arguments.seed))
    if output.suffix == ".parquet":
        model.predict(arguments.data, device=arguments.device, output=output, keep=arguments.keep)
        if processes.is_first:
            written = pyarrow.parquet.read_metadata(output)
            _say_written(output, written.num_rows, written.schema.to_arrow_schema().names)
        return
    table = _predictions(model, arguments)
    if processes.is_first:
        with _write_errors(output), whole(output) as file:
            TABLE_WRITERS[output.suffix](table, file)
        _say_written(output, table.num_rows, table.column_names)


def _say_written(output: Path, count: int, names: Sequence[str]) -> None:
    _say(f"wrote {output}   {count:,} rows: {', '.join(names)}")


def _predictions(model: Model, arguments: argparse.Namespace) -> pa.Table:
    """The columns to keep, then the predictions."""
    keep = checked_keep(arguments.keep, arguments.data, output_names(model.tasks))
    table = _read(model, arguments.data)
    kept = read_table(table, keep) if keep else pa.table({})
    predictions = pa.Table.from_pandas(model.predict(table, device=arguments.device), preserve_index=False)
    names = [kept_name(name, predictions.column_names) for name in kept.column_names]
    return pa.table(dict(zip([*names, *predictions.column_names], [*kept.columns, *predictions.columns])))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; what is wrong with them is said once."""
    out, err = (sys.stdout, sys.stderr) if is_heard() else (StringIO(), StringIO())
    with redirect_stdout(out), redirect_stderr(err):
        return _parser().parse_args(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nextrec-like",
        description="Multi-task CTR/CVR recommenders.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nextrec-like {nextrec_like.__version__}")
    commands = parser.add_subparsers(required=True, metavar="compare|train|evaluate|predict")

    command = _command(commands, "compare", run_compare, "Say which way to weight the tasks is better on your data.")
    _add_config(command)
    command.add_argument(
        "--jobs", type=_positive, metavar="N", help="trainings at a time (by default one per GPU or processor)"
    )
    command.add_argument("--retry-failed", action="store_true", help="try trainings again that failed before")

    command = _command(commands, "train", run_train, "Train what a YAML file says, into a new run folder.")
    _add_config(command)
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on with the newest run of this name where it was interrupted, if there is one",
    )
    command.add_argument(
        "--change",
        type=_names,
        default=[],
        metavar="SETTINGS",
        help=f"with --resume, which of {', '.join(MAY_CHANGE)} may differ from the run's",
    )

    command = _command(commands, "evaluate", run_evaluate, "Metrics of a trained model, or of all seeds of a run.")
    command.add_argument("model", metavar="RUN_OR_MODEL", help="run folder, or model folder")
    _add_data(command, "with labels; by default the run's test rows", required=False)
    command.add_argument("--metrics", type=_names, help="such as auc,gauc; by default those of the run")
    command.add_argument("--group-id", metavar="COLUMN", help="column with the group of each row, for gauc")
    command.add_argument("--output", type=Path, metavar="FILE", help="also write the metrics to this .json file")
    _add_common(command)

    command = _command(commands, "predict", run_predict, "Write predictions, one row per input row, in their order.")
    command.add_argument("model", metavar="RUN_OR_MODEL", help="run folder, or model folder")
    _add_data(command, "labels are not needed", required=True)
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help=".parquet or .csv file to write")
    command.add_argument(
        "--keep",
        type=_names,
        default=[],
        metavar="COLUMNS",
        help="input columns to copy, such as user_id,item_id; one with the name of a prediction gets the suffix _label",
    )
    command.add_argument("--seed", type=int, help="which model of a run with several seeds")
    _add_common(command)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], None],
    description: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=description, description=description)
    command.set_defaults(run=run)
    return command


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", metavar="CONFIG", help="YAML file, such as configs/quickstart.yaml")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a value: training.epochs=1, tasks.0=click",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"should be a whole number from 1 on. Received {text!r}.")
    return int(text)


def _add_data(command: argparse.ArgumentParser, note: str, required: bool) -> None:
    command.add_argument(
        "--data",
        action="append",
        default=[],
        required=required,
        metavar="PATH",
        help=f"file or folder of rows, {note}; repeat it for several",
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    command.add_argument("--overwrite", action="store_true", help="replace the output file if it exists")


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _read(model: Model, paths: Sequence[str]) -> pa.Table:
    """Files with all their columns; an id such as ``007`` in a CSV file stays as it is."""
    return read_table(paths) if model.processor is None else model.processor.read(paths)


def _rows(model: Model, paths: Sequence[str]) -> Part:
    """Parquet files as they are if their rows would fill the memory, otherwise as `_read`."""
    return files_to_stream(paths, "auto", model.features, model.tasks) or _read(model, paths)


def _test_rows(run: str) -> Part:
    config = open_run(run)
    try:
        parts = open_data(config)
    except InputError as error:
        raise type(error)(f"{error} To evaluate on other rows, pass `--data PATH`.") from error
    if "test" not in parts:
        raise InputError(f"The run `{run}` has no test rows; pass `--data PATH`.")
    return parts["test"]


def _one_model(folder: str, seed: int | None) -> Path:
    models = saved_models(folder)
    if seed is None and len(models) > 1:
        raise InputError(f"`{folder}` has models of several seeds ({', '.join(map(str, models))}); choose by `--seed`.")
    if seed is not None and seed not in models:
        raise unknown(f"seed of `{folder}`", seed, [str(each) for each in models if each is not None])
    return next(iter(models.values())) if seed is None else models[seed]


def _output(arguments: argparse.Namespace, suffixes: Sequence[str]) -> Path:
    """The output file; that it can be written is known before any data are read."""
    path = named_path("`--output`", arguments.output)
    if path.suffix not in suffixes:
        raise InputError(f"`--output` should end in {' or '.join(suffixes)}. Received `{path}`.")
    with _write_errors(path):
        if path.is_dir():
            raise InputError(f"`--output` `{path}` is a folder; give the name of a file.")
        if path.exists() and any(path.samefile(file) for file in _files(arguments.data) if file.exists()):
            raise InputError(f"`--output` `{path}` is one of the files of `--data`; give another name.")
        if path.exists() and not arguments.overwrite:
            raise InputError(f"File `{path}` exists; pass `--overwrite` to replace it, or another name.")
        with suppress(FileExistsError):  # the parent is a file, which the next line says in better words
            path.parent.mkdir(parents=True, exist_ok=True)
        part_of(path).touch()
        part_of(path).unlink()
    return path


def _files(data: Sequence[str]) -> Iterator[Path]:
    for path in (Path(each).expanduser() for each in data):
        yield from path.iterdir() if path.is_dir() else [path]


@contextmanager
def _write_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"`--output` `{output}` cannot be written: {error.strerror or error}.") from error


def _say(text: str) -> None:
    if is_heard():
        write_lines(sys.stdout, text)


def _end(error: InputError | KeyboardInterrupt) -> int:
    """Says why the command has ended, and gives the exit status."""
    found = cause(error)
    text, status = f"error: {printable(str(found))}", 2
    if isinstance(found, KeyboardInterrupt):
        text, status = f"\n{printable(str(found)) or 'interrupted'}", 128 + getattr(found, "number", signal.SIGINT)
    if is_heard():
        write_lines(sys.stderr, text)
    return status


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows an `InputWarning` without the line of code that it comes from."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_plain(message: Warning | str, category: type[Warning], *rest: object) -> None:
            if not issubclass(category, InputWarning):
                show(message, category, *rest)  # type: ignore[arg-type]
            elif is_heard():
                write_lines(sys.stderr, f"warning: {message}")

        warnings.showwarning = show_plain  # type: ignore[assignment]
        yield
