"""What comes from data is shown, and steers no terminal."""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from nextrec_like.cli import main
from nextrec_like.errors import InputWarning
from nextrec_like.printable import printable, write_lines
from nextrec_like.training.progress import format_table

STEERING = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))}
STEERING |= set("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
TASK = "\x1b[2J\x1b]0;title\x07<script>alert(1)</script>&\"'\u202egpj.exe\r\nok"
SHOWN = r"""\x1b[2J\x1b]0;title\x07<script>alert(1)</script>&"'\u202egpj.exe\r\nok"""


def steering(text):
    return sorted(set(text) & STEERING - {"\n"})


@pytest.mark.parametrize("letter", [*sorted(STEERING), "\ud800"], ids=lambda letter: f"U+{ord(letter):04X}")
def test_a_character_that_steers_is_an_escape(letter):
    shown = printable(f"a{letter}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.encode().decode("unicode_escape") == f"a{letter}b"


@pytest.mark.parametrize(
    "text", ["", "käse", "転換率", "שלום", "\U0001f469\u200d\U0001f4bb", "a\u0301", r"\x1b", "<b>&"]
)
def test_other_text_is_shown_as_it_is(text):
    assert printable(text) == text


def test_what_is_kept_is_kept():
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", r"\u8ee2 \xb1 a"), ("latin-1", r"\u8ee2 ± a"), ("utf-8", "転 ± a")]
)
def test_a_stream_that_lacks_a_letter_gets_an_escape(encoding, shown):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    write_lines(stream, "転 ± a")
    assert raw.getvalue() == f"{shown}\n".encode(encoding)


def test_a_table_stays_a_table():
    lines = format_table(["task", "auc"], [["a\nb\x1b[31m", "0.5"], ["c", "0.75"]]).split("\n")
    assert [line.split() for line in lines] == [["task", "auc"], [r"a\nb\x1b[31m", "0.5"], ["c", "0.75"]]
    assert len({len(line) for line in lines}) == 1


@pytest.fixture
def run(capsys):
    """Runs a command; gives its status, output and error output, in which nothing steers the terminal."""

    def run_command(*argv):
        status = main([str(each) for each in argv])
        found = capsys.readouterr()
        assert not steering(found.out)
        assert not steering(found.err)
        return status, found.out, found.err

    return run_command


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a configuration and rows whose columns have hostile names."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x\x1b[31m": rng.normal(size=300), "id\r\u2066": rng.integers(0, 9, 300)})
    rows[TASK] = (rows["x\x1b[31m"] > 0).astype(float)
    rows.to_parquet(tmp_path / "rows.parquet")
    config = {
        "data": {"train": "rows.parquet", "valid": "rows.parquet", "test": "rows.parquet"},
        "features": {"dense": ["x\x1b[31m"], "sparse": ["id\r\u2066"]},
        "tasks": [TASK],
        "model": {"name": "shared_bottom", "bottom_params": {"dims": [4]}, "tower_params": {"dims": []}},
        "training": {"epochs": 1, "batch_size": 64, "device": "cpu"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_commands_show_names_from_data_as_escapes_and_write_them_as_they_are(place, run):
    status, output, _ = run("train", "job.yaml")
    assert status == 0
    assert SHOWN in output
    status, output, _ = run("evaluate", "runs/job-001", "--output", "metrics.json")
    assert status == 0
    assert SHOWN in output
    assert TASK in json.loads((place / "metrics.json").read_text())["test"]
    run("predict", "runs/job-001", "--data", "rows.parquet", "--output", "scores.parquet", "--keep", "id\r\u2066")
    assert pq.read_schema("scores.parquet").names == ["id\r\u2066", TASK]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["x\nerror: all is well", "x\x1b[2K\rwrote", "\u202ex", "x\u2028y"])
def test_an_error_is_one_line_whatever_a_column_is_called(name, place, run):
    config = yaml.safe_load((place / "job.yaml").read_text())
    config["features"]["dense"] = [name]
    (place / "job.yaml").write_text(yaml.safe_dump(config))
    status, _, errors = run("train", "job.yaml")
    last = errors.splitlines()[-1]
    assert status == 2
    assert last.startswith("error: ")
    assert sum(line.startswith("error: ") for line in errors.splitlines()) == 1
    assert name.split("\n")[0].encode("unicode_escape").decode() in last


@pytest.mark.parametrize("name", ["../\x1b[31m.yaml", "a\nb.yaml", "\u202egpj.yaml"])
def test_names_of_files_are_escaped(name, run):
    status, _, errors = run("train", name)
    assert status == 2
    assert len(errors.splitlines()) == 1


def test_a_warning_steers_nothing(place, run, monkeypatch):
    def warned(arguments):
        warnings.warn("a\nb\x1b[31m\u202e", InputWarning, stacklevel=2)

    monkeypatch.setattr("nextrec_like.cli.run_train", warned)
    assert run("train", "job.yaml")[2] == "warning: a\nb\\x1b[31m\\u202e\n"
