"""Saved models, checkpoints, runs and caches: valid ones of which bytes, values and files are changed."""

import contextlib
import copy
import io
import json
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from strategies import FEATURES, SMALL, TASKS, InputChanged, damaged, damages, good_rows
from strategies_tables import encoded_model, raw_model
from strategies_yaml import FUNNEL, run_command, values

from nextrec_like import SharedBottom, cli, load_model
from nextrec_like.models import MODELS

ROWS = good_rows(20)
MODEL = {
    "optimizer_params": {"lr": 0.1},
    "embedding_optimizer": "lazy_adam",
    "loss_weights": "grad_norm",
    "scheduler": "StepLR",
    "scheduler_params": {"step_size": 1},
}


# The valid folders, as bytes by path


def _save_model(folder):
    encoded_model().save(folder / "model")


def _save_raw_model(folder):
    model = raw_model()
    model.fit(ROWS, device="cpu", verbose=0)
    model.save(folder / "model")


def _fit(folder, **options):
    model = SharedBottom(**FEATURES, target=TASKS, **SMALL)
    model.compile(**MODEL)
    checkpoints = {"checkpoint_dir": folder / "checkpoints", "checkpoint_params": {"every_steps": 2}}
    model.fit(ROWS, valid_data=ROWS, device="cpu", verbose=0, batch_size=7, **{**checkpoints, **options})


def _save_run(folder):
    with _inside(folder):
        (folder / "c.yaml").write_text(FUNNEL.replace("epochs: 1", "epochs: 2"))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert cli.main(["train", "c.yaml"]) == 0


@contextlib.contextmanager
def _inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


def _stream(folder, **options):
    if not (folder / "rows.parquet").exists():
        pd.DataFrame(ROWS).to_parquet(folder / "rows.parquet", row_group_size=6)
        os.utime(folder / "rows.parquet", (1e9, 1e9))
    model = SharedBottom(**FEATURES, target=TASKS, **SMALL)
    model.compile()
    model.fit(folder / "rows.parquet", streaming=True, cache_dir=folder / "cache", device="cpu", verbose=0)


SAVERS = {"model": _save_model, "raw model": _save_raw_model, "checkpoints": _fit, "run": _save_run, "cache": _stream}


@cache
def valid_folder(kind):
    """The files of a folder as it was written: bytes by path."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SAVERS[kind](folder)
        return {
            str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
        }


# Who reads them


def _read_model(folder):
    model = load_model(folder / "model")
    model.predict(ROWS, device="cpu")
    model.evaluate(ROWS, device="cpu")
    model.summary()


def _evaluate_run(folder):
    run_command(["evaluate", "runs/c-001", "--device", "cpu"])


READERS = {
    "model": [_read_model],
    "raw model": [_read_model],
    "checkpoints": [lambda folder: _fit(folder, resume=["epochs"], epochs=2), lambda folder: _fit(folder, resume=True)],
    "run": [
        _evaluate_run,
        lambda folder: run_command(["train", "c.yaml", "--resume"]),
        lambda folder: run_command(["evaluate", "runs/c-001/model", "--data", "c.yaml"]),
    ],
    "cache": [_stream],
}
WRITES = ("checkpoints", "run", "cache")
"""Kinds whose readers may go on writing into the folder."""


# What happens to a file


@dataclass(frozen=True)
class Bytes:
    """The bytes are damaged."""

    damage: tuple[Any, ...]

    def apply(self, file):
        file.write_bytes(damaged(file.read_bytes(), self.damage))


@dataclass(frozen=True)
class Json:
    """A value of a JSON file, or of the header of a file of tensors, is another one, or not there.

    Attributes:
        place: Which of the values, as a share of their number.
        value: The new value; `DROP` for none.
    """

    place: float
    value: Any

    def apply(self, file):
        head, text, rest = _json_in(file.read_bytes())
        lines = text.split(b"\n") if file.suffix == ".jsonl" else [text]
        try:
            data = json.loads(lines[0])
        except (ValueError, RecursionError):
            return  # by the change before
        text = b"\n".join([json.dumps(self._changed(data)).encode(), *lines[1:]])
        file.write_bytes((len(text).to_bytes(8, "little") if head else b"") + text + rest)

    def _changed(self, data):
        paths = list(_paths(data))
        path = paths[min(int(self.place * len(paths)), len(paths) - 1)]
        if not path:
            return None if self.value == DROP else self.value
        node = data
        for key in path[:-1]:
            node = node[key]
        if self.value == DROP:
            del node[path[-1]]
        else:
            node[path[-1]] = copy.deepcopy(self.value)
        return data


DROP = "<drop>"


def _json_in(content):
    """What stands before the JSON, the JSON, and what stands after it."""
    if content[:1] in (b"{", b"["):
        return b"", content, b""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[:8], content[8:end], content[end:]


def _paths(node, path=()):
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _paths(value, (*path, key))


@dataclass(frozen=True)
class Replaced:
    """Another thing stands in the place of the file."""

    by: str

    def apply(self, file):
        before = file.read_bytes()
        file.unlink()
        REPLACEMENTS[self.by](file, before)


def _beside(file, before):
    """A link to a copy within the folder."""
    other = file.with_name("copy" + file.suffix)
    other.write_bytes(before)
    file.symlink_to(other.name)


def _outside(file, before):
    """Never to a file of the system: a library that follows the link when it writes would destroy it."""
    target = file.parent.parent / f"outside_{file.name}"
    target.write_bytes(before)
    file.symlink_to(target)


REPLACEMENTS = {
    "nothing": lambda file, before: None,
    "empty": lambda file, before: file.write_bytes(b""),
    "folder": lambda file, before: file.mkdir(),
    "fifo": lambda file, before: os.mkfifo(file),
    "outside": lambda file, before: _outside(file, before),
    "dangling": lambda file, before: file.symlink_to("nowhere"),
    "loop": lambda file, before: file.symlink_to(file.name),
    "beside": _beside,
    "deep": lambda file, before: file.write_bytes(b'{"format": ' + b"[" * 100_000),
    "unreadable text": lambda file, before: file.write_bytes(b'{"format": "\xff\xfe"}'),
    "huge number": lambda file, before: file.write_bytes(re.sub(rb": \d+", b": 1" + b"0" * 400, before)),
    "numbers as text": lambda file, before: file.write_bytes(re.sub(rb": (\d+)", rb': "\1"', before)),
    "NaN": lambda file, before: file.write_bytes(re.sub(rb": \d+", b": NaN", before)),
    "twice": lambda file, before: file.write_bytes(before + before),
    "sparse": lambda file, before: _sparse(file),
    "other tensors": lambda file, before: file.write_bytes(b"\x02\0\0\0\0\0\0\0{}"),
    "other table": lambda file, before: pq.write_table(pa.table({"value": [[1.5], None]}), file),
    "null table": lambda file, before: pq.write_table(pa.table({"value": pa.nulls(3)}), file),
    "numbers": lambda file, before: pq.write_table(pa.table({"value": [3, 3, -1, None]}), file),
    "list": lambda file, before: file.write_bytes(b"[1, 2]"),
    "null": lambda file, before: file.write_bytes(b"null"),
}


def _sparse(file):
    """A file that says to be of 8 TiB, and takes no room."""
    with file.open("wb") as stream:
        stream.write(b'{"format": 1}')
        stream.truncate(2**43)


@dataclass(frozen=True)
class Added:
    """A file that does not belong there."""

    name: str
    content: bytes

    def apply(self, file):
        other = file.with_name(self.name)
        if not other.exists():
            other.write_bytes(self.content)


changes = st.one_of(
    st.builds(Bytes, damages.map(tuple)),
    st.builds(
        Json,
        st.floats(0, 1),
        st.one_of(values, st.sampled_from([DROP, DROP, -1, 0, 1, 2**63, 10**30, [2**40, 2**40], [], {}, *MODELS])),
    ),
    st.builds(
        Json,
        st.floats(0, 1),
        st.one_of(values, st.sampled_from([DROP, DROP, -1, 0, 1, 2**63, 10**30, [2**40, 2**40], [], {}, "F64"])),
    ),
    st.builds(Replaced, st.sampled_from(list(REPLACEMENTS))),
    st.builds(
        Added,
        st.sampled_from(
            [
                ".model.json.part",
                "x.pkl",
                "LATEST",
                "epoch-9999",
                "epoch-0001-step-000001",
                "model-00001.safetensors",
                "é",
            ]
        ),
        st.binary(max_size=4),
    ),
)


@dataclass
class FolderCase:
    """A folder, what happened to it, and who reads it.

    Attributes:
        kind: A key of `SAVERS`.
        changes: For each change the file, as a share of their number, and what happens to it.
        reader: Position among the readers of the kind.
    """

    kind: str
    changes: list[tuple[float, Any]]
    reader: int

    def run(self, folder):
        """Reads the folder."""
        files = [folder / name for name in valid_folder(self.kind)]
        for file, content in zip(files, valid_folder(self.kind).values()):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if self.kind == "cache":
            os.utime(folder / "rows.parquet", (1e9, 1e9))
        for place, change in self.changes:
            file = files[min(int(place * len(files)), len(files) - 1)]
            if _is_small_file(file):  # and no link or folder of the change before
                change.apply(file)
        before = _state(folder)
        try:
            READERS[self.kind][self.reader](folder)
        finally:
            if self.kind not in WRITES and _state(folder) != before:
                raise InputChanged(f"{sorted(_state(folder).items() ^ before.items())!r:.500}")


def _state(folder):
    """The files and links below a folder, without following the links."""
    return {
        str(path): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if _is_small_file(path)
        else path.stat().st_mode
        for path in sorted(folder.rglob("*"))
    }


def _is_small_file(path):
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20


@st.composite
def folders(draw):
    kind = draw(st.sampled_from(["model", "model", "raw model", "raw model", "checkpoints", "run", "cache"]))
    return FolderCase(
        kind,
        draw(st.lists(st.tuples(st.floats(0, 1), changes), min_size=1, max_size=2)),
        draw(st.integers(0, len(READERS[kind]) - 1)),
    )


CASES = folders()
