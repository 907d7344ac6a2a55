"""Tables of every form, with any columns, for models and processors."""

import codecs
import datetime
import decimal
import gzip
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from hypothesis import reject
from hypothesis import strategies as st
from strategies import (
    FEATURES,
    NAMES,
    SMALL,
    TASKS,
    content_of,
    damaged,
    damages,
    dates,
    floats,
    good_rows,
    integers,
    junk,
    names,
    scalars,
    unchanged,
)

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


# Arrow columns


def _bounded(low, high):
    return st.one_of(st.integers(0, min(4, high)), st.integers(low, high), st.sampled_from([low, high]))


TYPES = {
    pa.null(): st.none(),
    pa.bool_(): st.booleans(),
    pa.int8(): _bounded(-(2**7), 2**7 - 1),
    pa.int32(): _bounded(-(2**31), 2**31 - 1),
    pa.int64(): _bounded(-(2**63), 2**63 - 1),
    pa.uint8(): _bounded(0, 2**8 - 1),
    pa.uint64(): _bounded(0, 2**64 - 1),
    pa.float16(): st.floats(width=16).map(np.float16),
    pa.float32(): st.floats(width=32),
    pa.float64(): floats,
    pa.decimal128(10, 2): st.decimals(-1000, 1000, places=2),
    pa.decimal256(40, 3): st.decimals(-1000, 1000, places=3),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time32("s"): st.times().map(lambda time: time.replace(microsecond=0)),
    pa.time64("us"): st.times(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("ns", "Europe/Berlin"): st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
    pa.duration("ms"): st.timedeltas(datetime.timedelta(-99), datetime.timedelta(99)),
    pa.month_day_nano_interval(): st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    pa.string(): names,
    pa.large_string(): st.one_of(names, st.sampled_from(["1|2", "3", "||", "1| x|"])),
    pa.binary(): st.binary(max_size=4),
    pa.large_binary(): st.binary(max_size=4),
    pa.binary(2): st.binary(min_size=2, max_size=2),
    **{getattr(pa, name)(): values for name, values in [("string_view", names), ("binary_view", st.binary(max_size=3))] if hasattr(pa, name)},
}
KEYS = st.one_of(st.sampled_from([pa.int64(), pa.float64(), pa.string(), pa.int8()]), st.sampled_from(list(TYPES)))


@st.composite
def types_and_values(draw):
    """An Arrow type and a strategy of its values."""
    kind = draw(KEYS)
    values = st.one_of(st.none(), TYPES[kind]) if draw(st.booleans()) else TYPES[kind]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        shape = draw(st.sampled_from(["list", "large_list", "fixed", "struct", "map", "view"]))
        if shape == "struct":
            kind, values = pa.struct([("x", kind), ("y", pa.int8())]), st.fixed_dictionaries({"x": values})
        elif shape == "map":
            kind, values = pa.map_(pa.string(), kind), st.lists(st.tuples(names, values), max_size=2)
        elif shape == "fixed":
            size = draw(st.sampled_from([0, 1, 2, 2, 3]))
            kind, values = pa.list_(kind, size), st.lists(values, min_size=size, max_size=size)
        else:
            make = {"list": pa.list_, "large_list": pa.large_list, "view": getattr(pa, "list_view", pa.list_)}[shape]
            kind, values = make(kind), st.lists(values, max_size=4)
        if draw(st.booleans()):
            values = st.one_of(st.none(), values)
    return kind, values


@st.composite
def arrow_columns(draw, num_rows):
    """An Arrow array of any type: whole, in chunks, a slice of a longer one, or encoded."""
    kind, values = draw(types_and_values())
    before = draw(st.sampled_from([0, 0, 0, 3]))
    total = before + num_rows
    try:
        array = pa.array(draw(st.lists(values, min_size=total, max_size=total)), kind, from_pandas=draw(st.booleans()))
        array = draw(st.sampled_from(FORMS))(array)[before:]
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        reject()
    if draw(st.booleans()) and isinstance(array, pa.Array):
        cut = draw(st.integers(0, num_rows))
        array = pa.chunked_array([array[:cut], array[cut:]], array.type)
    return array


def _union(array):
    codes = pa.array([position % 2 for position in range(len(array))], pa.int8())
    return pa.UnionArray.from_sparse(codes, [array, pa.nulls(len(array), pa.int32())])


FORMS = [
    *[lambda array: array] * 8,
    lambda array: array.dictionary_encode(),
    lambda array: pc.run_end_encode(array),
    _union,
    lambda array: pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"] * len(array), pa.binary(16))),
    lambda array: pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"] * len(array))),
    lambda array: pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1] * len(array), pa.int8())),
    lambda array: pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((len(array), 2))),
]

# Columns of Python, numpy, pandas and torch


@st.composite
def numpy_columns(draw, num_rows):
    kinds = ["f2", "f4", "f8", ">f8", "g", "c16", "i1", "u2", "i8", ">i4", "u8", "?", "S3", "M8[ns]", "M8[D]", "m8[s]", "O", "f4,i4"]
    kind = np.dtype(draw(st.sampled_from(kinds)))
    shape = draw(st.sampled_from([(num_rows,), (num_rows,), (num_rows, 2), (num_rows, 0), (num_rows, 1, 2), (), (num_rows + 1,)]))
    raw = draw(st.binary(min_size=kind.itemsize, max_size=kind.itemsize * 3)) if kind != object else b""
    if kind == object:
        array = np.empty(shape, object)
        array.fill(draw(junk))
    else:
        with np.errstate(all="ignore"):
            array = np.resize(np.frombuffer(raw[: len(raw) // kind.itemsize * kind.itemsize], kind), shape).copy()
    if draw(st.booleans()) and array.ndim:
        array = np.repeat(array, 2, axis=0)[::2]
    array.flags.writeable = draw(st.booleans())
    return np.ma.masked_array(array, mask=draw(st.booleans())) if draw(st.integers(0, 9)) == 0 else array


SERIES = ["Int64", "Float32", "boolean", "string", "category", "object", "float64", "datetime64[ns]", "timedelta64[ns]", "Sparse[float]", "period[D]", "int64[pyarrow]", "string[pyarrow]", "datetime64[ns, UTC]", "UInt8", "interval"]


@st.composite
def pandas_columns(draw, num_rows):
    values = draw(st.one_of(st.lists(st.one_of(st.none(), kind), min_size=num_rows, max_size=num_rows) for kind in (integers, floats, names, dates)))
    index = draw(st.sampled_from([None, range(5, 5 + num_rows), [0] * num_rows]))
    try:
        return pd.Series(values, dtype=draw(st.sampled_from(SERIES)), index=index)
    except Exception:  # noqa: BLE001 whatever pandas says of a type that does not fit
        return pd.Series(values, dtype=object, index=index)


@st.composite
def torch_columns(draw, num_rows):
    kind = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.complex64]))
    shape = draw(st.sampled_from([(num_rows,), (num_rows,), (num_rows, 2), (num_rows, 2, 2), ()]))
    tensor = torch.zeros(shape, dtype=kind).fill_(draw(st.integers(0, 4)))
    form = draw(st.sampled_from(["plain", "plain", "grad", "sparse", "meta"]))
    if form == "grad" and kind.is_floating_point:
        return tensor.requires_grad_()
    return tensor.to_sparse() if form == "sparse" and tensor.ndim else tensor.to("meta") if form == "meta" else tensor


def python_columns(num_rows):
    exact = {"min_size": num_rows, "max_size": num_rows}
    return st.one_of(
        st.lists(st.integers(0, 4), **exact),
        st.lists(integers, **exact),
        st.lists(floats, **exact),
        st.lists(names, **exact),
        st.lists(scalars, **exact),
        st.lists(junk, **exact),
        st.lists(st.lists(st.integers(-1, 5), max_size=3), **exact),
        st.lists(st.lists(scalars, max_size=3), **exact),
        st.lists(st.sampled_from([0.0, 1.0, None, float("nan")]), **exact).map(tuple),
        junk,
    )


def columns(num_rows):
    return st.one_of(make(num_rows) for make in (arrow_columns, arrow_columns, python_columns, numpy_columns, pandas_columns, torch_columns))


# Tables


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
        except Exception:  # noqa: BLE001 the table cannot be written in this form
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
    return [str(file), str(file.with_name("2.parquet"))]


def _csv(columns, folder, damage):
    (folder / "rows").mkdir()
    texts = {"hist": lambda values: ["|".join(map(str, value)) for value in values], "pair": lambda values: [1] * len(values)}
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


def _fit(model, data, case):
    model.fit(data, device="cpu", verbose=0, streaming=case.streaming, batch_size=7)


READERS = {
    "pack": lambda data, case: pack(read_table(data), FeatureSet(*FEATURES.values()), TaskSet(TASKS)),
    "predict": lambda data, case: encoded_model().predict(data, device="cpu", streaming=case.streaming),
    "evaluate": lambda data, case: encoded_model().evaluate(
        data, device="cpu", streaming=case.streaming, metrics=["auc", "gauc", "ece"], group_id="user"
    ),
    "fit": lambda data, case: _fit(_encoded(), data, case),
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
        change = draw(st.sampled_from(["values"] * 12 + ["name", "drop", "twice"]))
        name, values = rows[place]
        rows[place : place + 1] = {
            "values": lambda: [(name, draw(columns(num_rows)))],  # noqa: B023
            "name": lambda: [(draw(st.one_of(names, scalars, st.just(("a", 1)))), values)],  # noqa: B023
            "drop": list,
            "twice": lambda: [(name, values)] * 2,  # noqa: B023
        }[change]() or rows[:0]
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
    st.sampled_from(["", "1", "0", "1.5", "-1", "1e999", "nan", "NA", "null", "true", '"', '""', "'", '"a,b"', '"a\nb"', "1|2", " 1", "01", "0x1F", "2024-01-01", "99999999999999999999", "é", "\x00", "\r", "#", "=1+1", "\t", ";"]),
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
    st.tuples(st.sampled_from(["a.csv", "a.csv.gz", "a.parquet", "A.CSV", "a.txt"]), st.one_of(csv_bytes(), PARQUET, BYTES)),
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
