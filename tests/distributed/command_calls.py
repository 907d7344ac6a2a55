"""Commands as functions, for processes that stand ready."""

import json
import os
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO

from nextrec_like import InputError
from nextrec_like.cli import main
from nextrec_like.comparison import compare
from nextrec_like.config import load_config
from nextrec_like.distributed.join import current
from nextrec_like.runs import train


def command(folder, arguments):
    """The exit status of a command, and what it prints."""
    os.chdir(folder)
    with redirect_stdout(StringIO()) as out:
        return main(arguments), out.getvalue()


def compare_small(folder, **options):
    """What is said, and the results; or the error."""
    os.chdir(folder)
    lines = []
    try:
        found = compare("small.yaml", echo=lines.append, **options)
    except InputError as error:
        return str(error)
    return lines, asdict(found.results)


def differing_train(folder):
    """The error of a training in which each process has another batch size."""
    os.chdir(folder)
    try:
        train(load_config("small.yaml", [f"training.batch_size={100 + current().rank}"]))
    except InputError as error:
        return str(error)


def train_rows(folder, num_rows):
    """The error, if any, of a training on so few rows, which each process has in a file of its own."""
    own = folder / str(current().rank)
    own.mkdir(exist_ok=True)
    os.chdir(own)
    (own / "rows.csv").write_text("user,click\n" + "".join(f"{row % 2},{row % 2}\n" for row in range(num_rows)))
    (own / "few.yaml").write_text(
        f"output: {folder / 'runs'}\n"
        "data: {train: rows.csv, checks: false}\n"
        "features: {sparse: [user]}\n"
        "tasks: [click]\n"
        "model: {name: shared_bottom, bottom_params: {dims: [4]}, tower_params: {dims: []}}\n"
        "training: {batch_size: 2, device: cpu}\n"
    )
    try:
        train(load_config("few.yaml"))
    except InputError as error:
        return str(error)


def read_of_others(name, folder):
    """The use of gates in all runs of a comparison, whose folders have other names in each."""
    files = (folder / "runs" / f"{name}-compare" / "runs").glob("*/gates.json")
    shares = [[gate["shares"] for gate in json.loads(file.read_text())] for file in files]
    return sorted(share for run in shares for gate in run for share in gate)
