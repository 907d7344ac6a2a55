"""Columns of every library and type, likely and not."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from hypothesis import reject
from hypothesis import strategies as st
from strategies import dates, floats, integers, junk, names, scalars


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
    **{
        getattr(pa, name)(): values
        for name, values in [("string_view", names), ("binary_view", st.binary(max_size=3))]
        if hasattr(pa, name)
    },
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
    lambda array: pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"0123456789abcdef"] * len(array), pa.binary(16))
    ),
    lambda array: pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"] * len(array))),
    lambda array: pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1] * len(array), pa.int8())),
    lambda array: pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((len(array), 2))),
]

# Columns of Python, numpy, pandas and torch


@st.composite
def numpy_columns(draw, num_rows):
    kinds = [
        "f2",
        "f4",
        "f8",
        ">f8",
        "g",
        "c16",
        "i1",
        "u2",
        "i8",
        ">i4",
        "u8",
        "?",
        "S3",
        "M8[ns]",
        "M8[D]",
        "m8[s]",
        "O",
        "f4,i4",
    ]
    kind = np.dtype(draw(st.sampled_from(kinds)))
    shape = draw(
        st.sampled_from([(num_rows,), (num_rows,), (num_rows, 2), (num_rows, 0), (num_rows, 1, 2), (), (num_rows + 1,)])
    )
    if kind.hasobject:
        array = np.empty(shape, object)
        array.fill(draw(junk))
    else:
        bytes_of = st.binary(min_size=kind.itemsize, max_size=kind.itemsize)
        array = np.resize(np.frombuffer(b"".join(draw(st.lists(bytes_of, min_size=1, max_size=3))), kind), shape)
    if draw(st.booleans()) and array.ndim:
        array = np.repeat(array, 2, axis=0)[::2]
    array.flags.writeable = draw(st.booleans())
    return np.ma.masked_array(array, mask=draw(st.booleans())) if draw(st.integers(0, 9)) == 0 else array


SERIES = [
    "Int64",
    "Float32",
    "boolean",
    "string",
    "category",
    "object",
    "float64",
    "datetime64[ns]",
    "timedelta64[ns]",
    "Sparse[float]",
    "period[D]",
    "int64[pyarrow]",
    "string[pyarrow]",
    "datetime64[ns, UTC]",
    "UInt8",
    "interval",
]


@st.composite
def pandas_columns(draw, num_rows):
    values = draw(
        st.one_of(
            st.lists(st.one_of(st.none(), kind), min_size=num_rows, max_size=num_rows)
            for kind in (integers, floats, names, dates)
        )
    )
    index = draw(st.sampled_from([None, range(5, 5 + num_rows), [0] * num_rows]))
    try:
        return pd.Series(values, dtype=draw(st.sampled_from(SERIES)), index=index)
    except Exception:
        return pd.Series(values, dtype=object, index=index)


@st.composite
def torch_columns(draw, num_rows):
    kind = draw(
        st.sampled_from(
            [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.complex64]
        )
    )
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
    return st.one_of(
        make(num_rows)
        for make in (arrow_columns, arrow_columns, python_columns, numpy_columns, pandas_columns, torch_columns)
    )


CASTS = [
    pa.int8(),
    pa.uint64(),
    pa.float16(),
    pa.float32(),
    pa.decimal128(12, 3),
    pa.string(),
    pa.large_string(),
    pa.bool_(),
    pa.list_(pa.int8()),
    pa.large_list(pa.float64()),
    pa.list_(pa.float32(), 2),
    pa.list_(pa.string()),
]
LIKENESSES = [
    *[lambda values, kind=kind: pa.array(values).cast(kind, safe=False) for kind in CASTS],  # type: ignore[misc]
    *[lambda values, kind=kind: pd.Series(values, dtype=kind) for kind in SERIES],  # type: ignore[misc]
    *[
        lambda values, kind=kind: np.array(values, dtype=kind)
        for kind in ("f2", "f4", "i1", "u8", "?", "O", ">f8", "S3")
    ],  # type: ignore[misc]
    lambda values: pa.array(values).dictionary_encode(),
    lambda values: pa.chunked_array([pa.array(values[:3]), pa.array(values[3:])]),
    lambda values: pa.array([*values, *values])[len(values) :],
    lambda values: torch.tensor(values),
    lambda values: torch.tensor(values, dtype=torch.int16),
    lambda values: tuple(values),
    lambda values: [None, *values[1:]],
    lambda values: [*values[:-1], float("nan")],
    lambda values: [*values[:-1], True],
]


@st.composite
def likely_columns(draw, values):
    """The values of a good column in another type, with or without a missing one."""
    try:
        return draw(st.sampled_from(LIKENESSES))(values)
    except Exception:
        reject()
