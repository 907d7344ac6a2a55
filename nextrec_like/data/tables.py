"""Any table that a user may have, as one Arrow table."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from nextrec_like.data.arrow import check_columns, check_unique
from nextrec_like.data.files import files_at, read_files
from nextrec_like.errors import InputError

TableLike: TypeAlias = pd.DataFrame | Mapping[str, object] | pa.Table | str | os.PathLike[str] | Sequence[str | Path]


def read_table(data: TableLike, columns: Iterable[str] | None = None, *, text: Iterable[str] = ()) -> pa.Table:
    """The data as an Arrow table, without copying where the memory layout allows it.

    A missing value is a null in the result, also where the input writes NaN. In CSV files the empty field is
    missing; a word such as ``NA`` is missing in a column of numbers, and is text in a column of text. The types of the
    other columns of a CSV file follow from its values: integers and numbers of several files are joined as numbers, and
    a column without values takes its type from the other files.

    Args:
        data: A DataFrame (its index is ignored), a dict from name to array or list (a 2-D array becomes a column
            of lists), an Arrow table, a path to a ``.parquet``, ``.csv`` or ``.csv.gz`` file, a folder of such files
            of one format, or a list of them. Files are read in order and concatenated.
        columns: Names to keep, in this order; by default all.
        text: Names of columns to read from CSV files as text, such as ids, in which ``00501`` is not ``501``. A name
            that is not there has no effect, and neither has it on other inputs.

    Returns:
        A table with at least one row. The input is never changed.

    Raises:
        InputError: For missing or unreadable files, columns that differ between files or in length, values that
            do not have one type, a name that is not there, and a table without rows.
    """
    wanted = None if columns is None else _names(columns)
    table = _to_table(data, wanted, frozenset(text))
    check_unique(table.column_names)
    if wanted is not None:
        check_columns(table.column_names, wanted)
        table = table.select(wanted)
    if table.num_rows == 0:
        raise InputError("The table has no rows; give at least one row, and check filters applied before.")
    return without_pandas_index(table)


def _names(columns: object) -> list[str]:
    if isinstance(columns, Iterable) and not isinstance(columns, str):
        names = list(columns)
        if all(isinstance(name, str) for name in names):
            return names
    raise InputError(f"`columns` should be a list of column names. Received {columns!r}.")


def _to_table(data: object, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pd.DataFrame):
        check_unique([str(name) for name in data.columns])
        return _from_columns({str(name): data.iloc[:, i] for i, name in enumerate(data.columns)}, wanted)
    if isinstance(data, Mapping):
        check_unique([str(name) for name in data])
        return _from_columns({str(name): values for name, values in data.items()}, wanted)
    if isinstance(data, str | os.PathLike):
        return read_files(files_at(Path(data)), wanted, text)
    if isinstance(data, list | tuple) and all(isinstance(path, str | os.PathLike) for path in data):
        return read_files([file for path in data for file in files_at(Path(path))], wanted, text)
    raise InputError(
        "A table should be a DataFrame, a dict of arrays, a pyarrow Table, a path, or a list of paths. "
        f"Received {type(data).__name__}."
    )


def without_pandas_index(table: pa.Table) -> pa.Table:
    """The table without the note of pandas: left in place, `to_pandas` would restore an index and types of old."""
    metadata = dict(table.schema.metadata or {})
    return table if metadata.pop(b"pandas", None) is None else table.replace_schema_metadata(metadata or None)


def _from_columns(columns: Mapping[str, object], wanted: list[str] | None) -> pa.Table:
    if wanted is not None:
        check_columns(list(columns), wanted)
    arrays = {name: _array(name, columns[name]) for name in (columns if wanted is None else wanted)}
    lengths = {name: len(array) for name, array in arrays.items()}
    for name, length in lengths.items():
        first = next(iter(lengths))
        if length != lengths[first]:
            raise InputError(
                f"Columns `{first}` and `{name}` have {lengths[first]} and {length} rows; "
                "all columns of a table need the same length."
            )
    return pa.table(arrays)


def _array(name: str, values: object) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray | list | tuple):
            return pa.array(values, from_pandas=True)
        values = values.detach().cpu() if hasattr(values, "detach") else values  # a torch tensor
        return _from_numpy(name, np.asarray(values))
    except InputError:
        raise
    except (pa.ArrowException, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(
            f"Column `{name}` does not hold values of one type that a table can hold ({error}); "
            "convert it first, for example with `.astype(str)`."
        ) from error


def _from_numpy(name: str, values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values, from_pandas=True)
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), from_pandas=True), values.shape[1])
    raise InputError(
        f"Column `{name}` should be a list or an array with one or two dimensions. "
        f"Received {values.ndim} dimensions of type {values.dtype}."
    )
