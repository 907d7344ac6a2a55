"""Tables of every form, with any columns, for models and processors."""

import codecs
import gzip
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from hypothesis import reject
from hypothesis import strategies as st
from strategies import (
    FEATURES,
    SMALL,
    TASKS,
    damaged,
    damages,
    good_rows,
    names,
    scalars,
    unchanged,
)
from strategies_columns import columns, likely_columns

from nextrec_like import DataProcessor, IdColumn, NumericColumn, SequenceColumn, SharedBottom
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

RAW_COLUMNS = {
    "age": [NumericColumn("age", scaling=kind) for kind in ("none", "standard", "min_max", "log1p")]
    + [NumericColumn("age", fill_value=fill) for fill in (0.0, "mean", "median")]
    + [NumericColumn("age", scaling="quantile", num_buckets=3)],
    "user": [IdColumn("user"), IdColumn("user", min_count=2), IdColumn("user", hash_size=4)],
    "hist": [
        SequenceColumn("hist", max_len=2),
        SequenceColumn("hist", max_len=3, separator="|", pooling="max"),
        SequenceColumn("hist", max_len=2, vocabulary_of="user"),
        SequenceColumn("hist", hash_size=5, pooling="sum"),
    ],
}


@cache
def encoded_model():
    """A fitted model that reads columns as they are."""
    model = SharedBottom(**FEATURES, target=TASKS, **SMALL)
    model.compile()
    model.fit(good_rows(20), device="cpu", verbose=0)
    return model


@cache
def raw_model():
    """A fitted model with a processor."""
    columns = [options[0] for options in RAW_COLUMNS.values()]
    return model_of(DataProcessor(columns).fit(good_rows(20)))


def model_of(processor):
    model = SharedBottom(**processor.features(), target=TASKS, processor=processor, **SMALL)
    model.compile()
    return model


@dataclass
class TableCase:
    """A table, and who reads it.

    Attributes:
        columns: Names and values.
        form: ``dict``, ``frame``, ``arrow``, ``parquet``, ``parquet folder`` or ``csv``.
        reader: A key of `READERS`.
        raw: Columns of the processor, for readers that have one.
        streaming: For files.
        damage: To the bytes of the file.
        labels: Names of the columns of the frame and its index, where they are odd.
    """

    columns: list[tuple[Any, Any]]
    form: str
    reader: str
    raw: list[Any]
    streaming: bool | str = "auto"
    damage: list[Any] = field(default_factory=list)

    def run(self, folder):
        """Reads the table."""
        data = self._data(folder)
        with unchanged(data):
            READERS[self.reader](data, self)

    def _data(self, folder):
        try:
            return BUILDERS[self.form](self.columns, folder, self.damage)
        except Exception:
            reject()


def _frame(columns, folder, damage):
    frame = pd.concat([pd.Series(_as_series(values)).reset_index(drop=True) for _, values in columns], axis=1)
    keys = [name for name, _ in columns]
    frame.columns = pd.MultiIndex.from_tuples([(key, 1) for key in keys]) if damage and damage[0].value < 60 else keys
    return frame


def _as_series(values):
    return values.to_pandas() if isinstance(values, pa.Array | pa.ChunkedArray) else values


def _arrow(columns, folder, damage):
    arrays = [values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values) for _, values in columns]
    return pa.Table.from_arrays(arrays, names=[str(name) for name, _ in columns])


def _parquet(columns, folder, damage):
    (folder / "rows").mkdir()
    pq.write_table(_arrow(columns, folder, damage), folder / "rows" / "1.parquet", row_group_size=7)
    return _damage(folder / "rows" / "1.parquet", damage)


def _two_files(columns, folder, damage):
    file = _parquet(columns, folder, damage)
    pq.write_table(pa.table(good_rows(5)), file.with_name("2.parquet"))
    return [file, file.with_name("2.parquet")]


def _csv(columns, folder, damage):
    (folder / "rows").mkdir()
    texts = {
        "hist": lambda values: ["|".join(map(str, value)) for value in values],
        "pair": lambda values: [1] * len(values),
    }
    frame = _frame([(name, texts.get(name, list)(values)) for name, values in columns], folder, [])
    frame.to_csv(folder / "rows" / "1.csv", index=False)
    return _damage(folder / "rows" / "1.csv", damage)


def _damage(file, damage):
    file.write_bytes(damaged(file.read_bytes(), damage))
    return file


BUILDERS = {
    "dict": lambda columns, folder, damage: dict(columns),
    "frame": _frame,
    "arrow": _arrow,
    "parquet": _parquet,
    "two files": _two_files,
    "csv": _csv,
}


def _fit(model, data, case, **options):
    model.fit(data, device="cpu", verbose=0, streaming=case.streaming, batch_size=7, **options)


READERS = {
    "pack": lambda data, case: pack(read_table(data), FeatureSet(*FEATURES.values()), TaskSet(TASKS)),
    "predict": lambda data, case: encoded_model().predict(data, device="cpu", streaming=case.streaming),
    "evaluate": lambda data, case: encoded_model().evaluate(
        data, device="cpu", streaming=case.streaming, metrics=["auc", "gauc", "ece"], group_id="user"
    ),
    "fit": lambda data, case: _fit(_encoded(), data, case, checkpoint_dir="checkpoints"),
    "fit processor": lambda data, case: DataProcessor(case.raw).fit_transform(data),
    "raw predict": lambda data, case: raw_model().predict(data, device="cpu", streaming=case.streaming),
    "raw evaluate": lambda data, case: raw_model().evaluate(data, device="cpu", streaming=case.streaming),
    "raw fit": lambda data, case: _fit(model_of(DataProcessor(case.raw).fit(data)), data, case),
}
RAW_READERS = [name for name in READERS if name.startswith("raw") or name == "fit processor"]


def _encoded():
    model = SharedBottom(**FEATURES, target=TASKS, **SMALL)
    model.compile()
    return model


@st.composite
def tables(draw):
    """Good rows of which some columns are replaced, dropped, doubled or added, in any form, for any reader."""
    num_rows = draw(st.sampled_from([20] * 6 + [2, 1, 0]))
    rows = list(good_rows(num_rows).items())
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        place = draw(st.integers(0, len(rows) - 1))
        change = draw(st.sampled_from(["values"] * 6 + ["type"] * 9 + ["name", "drop", "twice"]))
        name, values = rows[place]
        rows[place : place + 1] = (
            {
                "values": lambda: [(name, draw(columns(num_rows)))],  # noqa: B023
                "type": lambda: [(name, draw(likely_columns(values)))],  # noqa: B023
                "name": lambda: [(draw(st.one_of(names, scalars, st.just(("a", 1)))), values)],  # noqa: B023
                "drop": list,
                "twice": lambda: [(name, values)] * 2,  # noqa: B023
            }[change]()
            or rows[:0]
        )
        if not rows:
            break
    form = draw(st.sampled_from(list(BUILDERS)))
    return TableCase(
        rows,
        form,
        reader=draw(st.sampled_from(RAW_READERS if form == "csv" else list(READERS))),
        raw=[draw(st.sampled_from(options)) for options in RAW_COLUMNS.values()],
        streaming=draw(st.sampled_from([True, False, "auto"])) if form in ("parquet", "two files") else "auto",
        damage=draw(damages) if draw(st.integers(0, 5)) == 0 else [],
    )


# CSV and parquet files from scratch

CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            "1",
            "0",
            "1.5",
            "-1",
            "1e999",
            "nan",
            "NA",
            "null",
            "true",
            '"',
            '""',
            "'",
            '"a,b"',
            '"a\nb"',
            "1|2",
            " 1",
            "01",
            "0x1F",
            "2024-01-01",
            "99999999999999999999",
            "é",
            "\x00",
            "\r",
            "#",
            "=1+1",
            "\t",
            ";",
        ]
    ),
    st.integers(-2, 5).map(str),
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "shift_jis"]


@dataclass
class FileCase:
    """The bytes of a file behind a name, and who reads it."""

    name: str
    content: bytes
    reader: str
    raw: list[Any]
    streaming: bool | str = "auto"

    def run(self, folder):
        """Reads the file."""
        (folder / "rows").mkdir()
        file = folder / "rows" / self.name
        file.write_bytes(self.content)
        with unchanged(file):
            READERS[self.reader](file, self)


@st.composite
def csv_bytes(draw):
    header = ["age", "user", "hist", "click", "buy", "price"]
    if draw(st.integers(0, 3)) == 0:
        header = draw(st.lists(st.one_of(names, CELLS), max_size=6))
    cell = st.one_of(st.sampled_from("0011"), CELLS) if draw(st.booleans()) else st.sampled_from(["0", "1", "", "1.0"])
    rows = draw(st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), min_size=1, max_size=6))
    if draw(st.integers(0, 3)) == 0:
        rows.append(draw(st.lists(CELLS, max_size=8)))
    separator = draw(st.sampled_from([","] * 6 + [";", "\t", "|"]))
    text = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(separator.join(row) for row in [header, *rows])
    content = text.encode(draw(st.sampled_from(["utf-8"] * 5 + ENCODINGS)), errors="replace")
    return content


@cache
def _good_parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(good_rows(20)), sink, row_group_size=8)
    return sink.getvalue().to_pybytes()


PARQUET = st.builds(lambda damage: damaged(_good_parquet(), damage), damages)
BYTES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"PAR1", b"PAR1PAR1", b"\x1f\x8b", codecs.BOM_UTF8, b"\n\n\n", b"a\n", b"{}", b"PK\x03\x04"]),
)
NAMED = st.one_of(
    st.tuples(st.just("a.csv"), csv_bytes()),
    st.tuples(st.just("a.csv"), csv_bytes()),
    st.tuples(st.just("a.csv.gz"), csv_bytes().map(gzip.compress)),
    st.tuples(st.just("a.parquet"), PARQUET),
    st.tuples(
        st.sampled_from(["a.csv", "a.csv.gz", "a.parquet", "A.CSV", "a.txt"]), st.one_of(csv_bytes(), PARQUET, BYTES)
    ),
)


@st.composite
def files(draw):
    """Files of text and bytes behind names of tables."""
    name, content = draw(NAMED)
    is_parquet = name == "a.parquet"
    return FileCase(
        name,
        damaged(content, draw(damages)) if draw(st.integers(0, 3)) == 0 else content,
        reader=draw(st.sampled_from(list(READERS) if is_parquet else RAW_READERS)),
        raw=[draw(st.sampled_from(options)) for options in RAW_COLUMNS.values()],
        streaming=draw(st.sampled_from([True, False, "auto"])) if is_parquet else "auto",
    )


CASES = st.one_of(tables(), tables(), files())
