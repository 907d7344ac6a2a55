"""What all kinds of cases share: odd values, odd names, damage to bytes, and inputs that must stay as they are."""

import datetime
import decimal
import fractions
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from hypothesis import strategies as st

from nextrec_like import DenseFeature, SequenceFeature, SparseFeature, Task

FEATURES = {
    "dense_features": [DenseFeature("age"), DenseFeature("pair", dim=2)],
    "sparse_features": [SparseFeature("user", 5)],
    "sequence_features": [SequenceFeature("hist", 5, max_len=2)],
}
TASKS = [Task("click"), Task("buy", parent="click"), Task("price", kind="regression")]
NAMES = ["age", "pair", "user", "hist", "click", "buy", "price"]
SMALL = {"bottom_params": {"dims": [2]}, "tower_params": {"dims": []}}


def good_rows(num_rows):
    """Encoded columns without a mistake."""
    rows = range(num_rows)
    return {
        "age": [row % 7 - 3.5 for row in rows],
        "pair": [[float(row), 1.0] for row in rows],
        "user": [row * 3 % 5 for row in rows],
        "hist": [[row % 5] * (row % 4) for row in rows],
        "click": [float(row % 2) for row in rows],
        "buy": [float(row % 4 == 1) for row in rows],
        "price": [row / 3 for row in rows],
    }


names = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(
        ["", " ", "Age", "age ", "0", "nan", "None", "é", "用户", "😀", "a.b", "a`b", "a/b", "..", "{x}", "%s"]
    ),
    st.text(st.characters(categories=["L", "N", "P", "S", "M", "Zs"], exclude_characters="/"), max_size=12),
)
"""Names of columns, features and tasks; control characters are for the terminal's tests."""

integers = st.one_of(
    st.integers(-3, 30),
    st.sampled_from([2**31, 2**31 - 1, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400]),
)
floats = st.one_of(
    st.floats(-10, 10, width=32),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300, -1e39, 5e-324, -0.0, 2.0**63]),
)
dates = st.one_of(
    st.datetimes(datetime.datetime(1600, 1, 1), datetime.datetime(2300, 1, 1)),
    st.dates(),
    st.timedeltas(),
    st.sampled_from([pd.NaT, pd.Timestamp("2024-01-01", tz="Asia/Tokyo"), datetime.time(3, 4)]),
)
others = st.sampled_from(
    [
        pd.NA,
        np.float32("nan"),
        np.int64(3),
        np.bool_(True),
        np.array([1.0, 2.0]),
        np.array(["a", "b"]),
        np.zeros((0, 3)),
        torch.tensor([1.0, 0.0]),
        torch.tensor(2),
        pd.Series([1, 2]),
        pd.DataFrame({"a": [1]}),
        decimal.Decimal("1.5"),
        decimal.Decimal("NaN"),
        fractions.Fraction(1, 3),
        1j,
        b"bytes",
        object,
        len,
        range(3),
        frozenset({1}),
        Path("age"),
        DenseFeature("age"),
        Task("click"),
        "\ud800",
        "x" * 300,
    ]
)
scalars = st.one_of(st.none(), st.booleans(), integers, floats, names, dates)
junk = st.recursive(
    st.one_of(scalars, others),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(names, st.sampled_from([0, None, ("a",)])), inner, max_size=3),
    ),
    max_leaves=5,
)
"""Any value that a user may give for another one."""


@dataclass(frozen=True)
class Damage:
    """What happens to the bytes of a file: a part is cut off, bits are flipped, bytes are put in or taken out.

    Attributes:
        kind: A key of `DAMAGES`.
        place: Where, as a share of the length.
        value: A byte.
    """

    kind: str
    place: float
    value: int

    def apply(self, content):
        """The damaged bytes."""
        return DAMAGES[self.kind](content, int(self.place * len(content)), self.value)


DAMAGES = {
    "cut": lambda content, at, value: content[:at],
    "behead": lambda content, at, value: content[at:],
    "flip": lambda content, at, value: (
        content[:at] + bytes([byte ^ (value or 1) for byte in content[at : at + 1]]) + content[at + 1 :]
    ),
    "insert": lambda content, at, value: content[:at] + bytes([value]) * 3 + content[at:],
    "remove": lambda content, at, value: content[:at] + content[at + 1 + value % 8 :],
    "zeros": lambda content, at, value: content[:at] + bytes(len(content[at : at + value])) + content[at + value :],
    "ones": lambda content, at, value: content[:at] + b"\xff" * len(content[at : at + 8]) + content[at + 8 :],
    "repeat": lambda content, at, value: content + content[at:],
    "nothing": lambda content, at, value: b"",
}
damages = st.lists(
    st.builds(
        Damage,
        kind=st.sampled_from(list(DAMAGES)),
        place=st.one_of(st.floats(0, 1), st.floats(0.97, 1), st.floats(0, 0.03)),
        value=st.integers(0, 255),
    ),
    max_size=3,
)


def damaged(content, all_damage):
    """The bytes after one damage after the other."""
    for damage in all_damage:
        content = damage.apply(content)
    return content


class InputChanged(AssertionError):
    """A call has changed what it was given."""


def content_of(value):
    """All that a call could change, as text."""
    if isinstance(value, Path):
        return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(value.parent.rglob("*"))}
    if isinstance(value, pd.DataFrame):
        series = [(str(dtype), repr(value.iloc[:, i].tolist())) for i, dtype in enumerate(value.dtypes)]
        return series, repr(value.columns.tolist()), repr(value.index.tolist()), repr(value.attrs)
    if isinstance(value, pd.Series | np.ndarray):
        return type(value), str(value.dtype), repr(value.tolist())
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return str(value.type), repr(value.to_pylist())
    if isinstance(value, dict):
        return [(key, content_of(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [content_of(item) for item in value]
    return value.schema if isinstance(value, pa.Table) else repr(value)


@contextmanager
def unchanged(value):
    """Raises if the value is another one at the end, also at the end by an error."""
    before = content_of(value)
    try:
        yield
    finally:
        if content_of(value) != before:
            raise InputChanged(f"The input is now {content_of(value)!r:.500}, and was {before!r:.500}")
