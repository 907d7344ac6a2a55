"""Configurations of a stranger: plain data of bounded size, or an error with its place, soon."""

import os
import signal
from contextlib import contextmanager, suppress
from itertools import pairwise
from threading import Thread

import pytest

from nextrec_like.config import load_config
from nextrec_like.config.document import MAX_BYTES, ConfigError, parse, read_document

DIGITS = "9" * 5_000
FLOOD = MAX_BYTES - 10
LETTERS = "abcdefghijkl"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise(LETTERS)
)
ALIASES = "\n".join(["a0: &a0 x", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 3_000))])


@contextmanager
def seconds(limit):
    """Fails what takes longer, so that a hang is a failure."""

    def stop(*_):
        raise TimeoutError(f"more than {limit} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("[" * FLOOD, "1:51", "more than 50 within each other"),
        ("{a: " * 100_000, "1:", "more than 50 within each other"),
        ("- " * 100_000, "1:101", "more than 50 within each other"),
        ("\n".join(" " * depth + "a:" for depth in range(500)), "50:50", "more than 50 within each other"),
        ("a: [" + "1," * (FLOOD // 2) + "]", "1:", "more than 100,000 values"),
        (LAUGHS, "1:", "more than 100,000 values"),
        (ALIASES, "1:", "more than 50 within each other"),
        ("a: &a [*a]", "1:4", "contains itself"),
        (f"a: {DIGITS}", "1:4", "cannot be read as tag:yaml.org,2002:int"),
        (f"a: {DIGITS[:21]}", "1:4", "cannot be read as tag:yaml.org,2002:int"),
        (f"%YAML {DIGITS}.1\n---\na: 1", "1:1", "not valid YAML"),
        ('a: "\\UFFFFFFFF"', "1:1", "not valid YAML"),
        ('a: "\\ud800"', "1:4", "not valid Unicode"),
        ('a: 1\n"\\ud800": 1', "2:1", "not valid Unicode"),
        ("a: !!python/object/apply:os.system [ls]", "1:4", "the tag `!!python/object/apply:os.system` is not known"),
        ("a:\n  - !!python/name:os.system", "2:5", "the tag `!!python/name:os.system` is not known"),
        ("!!python/object:builtins.dict {a: 1}", "1:1", "the tag `!!python/object:builtins.dict` is not known"),
        ("a: !!python/object/new:os.system [ls]", "1:4", "is not known"),
        ("a: !!python/module:os ''", "1:4", "is not known"),
        ("a: !own {b: 1}", "1:4", "the tag `!own` is not known"),
        ("a: !!set {b}", "1:4", "the tag `!!set` is not known"),
        ("a: !!binary aGk=", "1:4", "the tag `!!binary` is not known"),
        ("a: \x1b", "1:4", "the character 27 is not allowed"),
    ],
    ids=range(23),
)
def test_what_is_no_plain_small_configuration_is_refused_with_its_place(text, place, words, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with seconds(20), pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}:{place}")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    file = tmp_path / "job.yaml"
    with file.open("wb") as opened:
        opened.truncate(2**36)
    with seconds(5), pytest.raises(ConfigError, match=r"job\.yaml:1:1: the file has more than 1,048,576 bytes"):
        load_config(file)


def test_a_pipe_without_an_end_does_not_fill_the_memory(tmp_path):
    os.mkfifo(tmp_path / "job.yaml")

    def flood():
        with suppress(BrokenPipeError), open(tmp_path / "job.yaml", "wb", buffering=0) as pipe:
            while True:
                pipe.write(b"#" * 65_536)

    writer = Thread(target=flood)
    writer.start()
    with seconds(5), pytest.raises(ConfigError, match="more than 1,048,576 bytes"):
        load_config(tmp_path / "job.yaml")
    writer.join(timeout=5)
    assert not writer.is_alive()


@pytest.mark.parametrize(
    "text", ["#" * FLOOD, "\n" * FLOOD, "a: " + "x" * FLOOD, "a: '" + "''" * (FLOOD // 3) + "'"], ids=range(4)
)
def test_a_long_text_ends_soon(text):
    with seconds(20):
        parse(text, "job.yaml")


@pytest.mark.parametrize("value", ["[" * 5_000, DIGITS, "!!python/name:os.system", "&a [*a]", '"\\ud800"'])
def test_a_value_of_the_command_line_has_the_same_limits(value, tmp_path):
    (tmp_path / "job.yaml").write_text("name: job\n")
    with seconds(20), pytest.raises(ConfigError, match="--set name="):
        load_config(tmp_path / "job.yaml", [f"name={value}"])


def test_a_large_but_honest_configuration_is_read(tmp_path):
    columns = "\n".join(
        f"    - {{name: column_{number}, scaling: standard, fill_value: 0.5}}" for number in range(3_000)
    )
    (tmp_path / "job.yaml").write_text(f"features:\n  dense:\n{columns}\n")
    assert len(read_document(tmp_path / "job.yaml").data["features"]["dense"]) == 3_000


def test_anchors_within_reason_are_written_out():
    text = "a: &a {dims: [8]}\nb: *a\nc: [*a, *a]"
    assert parse(text, "job.yaml").data == {"a": {"dims": [8]}, "b": {"dims": [8]}, "c": [{"dims": [8]}, {"dims": [8]}]}
