"""Any table that a user may have, as one Arrow table."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from nextrec_like.errors import InputError, did_you_mean

TableLike: TypeAlias = pd.DataFrame | Mapping[str, object] | pa.Table | str | os.PathLike[str] | Sequence[str | Path]

ENCODED = b"nextrec_like.encoded"
"""Key of the schema metadata in which a processor marks the tables that it has encoded."""

EXTENSIONS = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv"}


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
    wanted = None if columns is None else list(columns)
    table = _to_table(data, wanted, frozenset(text))
    _check_unique(table.column_names)
    if wanted is not None:
        check_columns(table.column_names, wanted)
        table = table.select(wanted)
    if table.num_rows == 0:
        raise InputError("The table has no rows; give at least one row, and check filters applied before.")
    return _without_pandas_index(table)


def column(table: pa.Table, name: str, what: str = "column") -> pa.ChunkedArray:
    """One column of a table.

    Args:
        table: Where to look.
        name: Column name.
        what: What the column is to the user, such as ``feature`` or ``label of task `click```; for the error.

    Raises:
        InputError: If there is no such column; names the closest one.
    """
    check_columns(table.column_names, [name], what)
    return table.column(name)


def check_columns(present: Sequence[str], wanted: Iterable[str], what: str = "column") -> None:
    """Raises for the first wanted name that is not present.

    Raises:
        InputError: Names the column, the closest one and the present ones.
    """
    known = set(present)
    for name in wanted:
        if name not in known:
            listed = ", ".join(map(str, present[:30])) + (", ..." if len(present) > 30 else "")
            raise InputError(
                f"The table has no column `{name}`{_role(what)}.{did_you_mean(name, present)} "
                f"Columns: {listed or 'none'}."
            )


def decoded(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """The array with dictionaries, which is how categoricals arrive, and views replaced by plain values."""
    if str(array.type) == "string_view":  # older versions of pyarrow do not know the type
        return array.cast(pa.large_string())
    if not pa.types.is_dictionary(array.type):
        return array
    return pa.chunked_array([chunk.dictionary_decode() for chunk in array.chunks], type=array.type.value_type)


def first_missing(array: pa.ChunkedArray) -> int | None:
    """Position of the first null or NaN, or None."""
    position = pc.index(pc.is_null(array, nan_is_null=True), True).as_py()
    return None if position < 0 else position


def _role(what: str) -> str:
    if what == "column":
        return ""
    # A table has many features, but one column for each other purpose.
    return f", which is {'a' if what == 'feature' else 'the'} {what.removesuffix(':')}"


def _to_table(data: object, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pd.DataFrame):
        _check_unique([str(name) for name in data.columns])
        return _from_columns({str(name): data.iloc[:, i] for i, name in enumerate(data.columns)}, wanted)
    if isinstance(data, Mapping):
        _check_unique([str(name) for name in data])
        return _from_columns({str(name): values for name, values in data.items()}, wanted)
    if isinstance(data, str | os.PathLike):
        return _from_files(_files(Path(data)), wanted, text)
    if isinstance(data, list | tuple) and all(isinstance(path, str | os.PathLike) for path in data):
        return _from_files([file for path in data for file in _files(Path(path))], wanted, text)
    raise InputError(
        "A table should be a DataFrame, a dict of arrays, a pyarrow Table, a path, or a list of paths. "
        f"Received {type(data).__name__}."
    )


def _check_unique(names: Sequence[str]) -> None:
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise InputError(f"The table has more than one column `{duplicates[0]}`; rename or drop one of them.")


def _without_pandas_index(table: pa.Table) -> pa.Table:
    # Left in place, the note would make `to_pandas` restore an index and types that no longer hold.
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
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
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


def _extension(path: Path) -> str | None:
    return next((extension for extension in EXTENSIONS if path.name.lower().endswith(extension)), None)


def _files(path: Path) -> list[Path]:
    path = path.expanduser()
    if not path.exists():
        raise InputError(f"There is no file or folder `{path}` (current folder: `{Path.cwd()}`); check the path.")
    if path.is_dir():
        return _files_in(path)
    if _extension(path) is None:
        raise InputError(f"File `{path}` has an unknown extension; readable are {', '.join(EXTENSIONS)}.")
    return [path]


def _files_in(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and _extension(file))
    formats = {EXTENSIONS[_extension(file) or ""] for file in files}
    if not formats:
        raise InputError(f"Folder `{folder}` has no file with extension {', '.join(EXTENSIONS)}.")
    if len(formats) > 1:
        raise InputError(f"Folder `{folder}` has both .csv and .parquet files; give a list of the files to read.")
    return files


def _from_files(files: list[Path], wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    if not files:
        raise InputError("The list of files is empty; give at least one path.")
    tables = [_read_file(file, wanted, text) for file in files]
    _check_unique(tables[0].column_names)
    for file, table in zip(files[1:], tables[1:]):
        _check_unique(table.column_names)
        _check_alike(files[0], tables[0], file, table)
    names = tables[0].column_names
    # A CSV column of nothing but words such as `NA` is taken for missing. It is read again as text, which it is unless
    # another file has values of another type.
    blank = [name for name in names if name not in text and _may_be_text([table.field(name).type for table in tables])]
    tables = [_with_words(file, table, blank).select(names) for file, table in zip(files, tables)]
    return pa.concat_tables(tables, promote_options="permissive")


def _may_be_text(types: Sequence[pa.DataType]) -> bool:
    return all(pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in types)


def _with_words(file: Path, table: pa.Table, names: Sequence[str]) -> pa.Table:
    blank = [name for name in names if pa.types.is_null(table.field(name).type)]
    if not blank or EXTENSIONS[_extension(file) or ""] != "csv":
        return table
    words = _read_file(file, blank, frozenset(blank))
    for name in blank:
        table = table.set_column(table.schema.get_field_index(name), name, words.column(name))
    return table


def _read_file(file: Path, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    read = {"parquet": _read_parquet, "csv": _read_csv}[EXTENSIONS[_extension(file) or ""]]
    try:
        return read(file, wanted, text)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"File `{file}` could not be read: {error}. Check that it is complete.") from error


def _read_parquet(file: Path, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    with pyarrow.parquet.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        if wanted is not None:
            check_columns(names, wanted)
        # Names are matched by prefix up to a dot, so `a` brings along a column `a.b`: hence the selection.
        table = parquet.read(columns=wanted)
    return table if wanted is None else table.select(wanted)


def _read_csv(file: Path, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string()))
    table = pyarrow.csv.read_csv(file, convert_options=options)
    arrays = [_blank_to_null(array) for array in table.columns]
    arrays = [_without_zeros(array) if name in text else array for name, array in zip(table.column_names, arrays)]
    table = pa.table(arrays, names=table.column_names)
    if wanted is not None:
        check_columns(table.column_names, wanted)
    return table if wanted is None else table.select(wanted)


def _blank_to_null(array: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(array.type):
        return array
    array = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
    return pa.chunked_array([pa.nulls(len(array))]) if array.null_count == len(array) else array


def _without_zeros(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids such as 12.0 as 12, where all are so: pandas writes integers with missing values in that way."""
    if not pa.types.is_string(array.type) or not pc.all(pc.match_substring_regex(array, r"^-?\d+\.0$")).as_py():
        return array
    return pc.replace_substring_regex(array, r"\.0$", "")


def _check_alike(first_file: Path, first: pa.Table, file: Path, table: pa.Table) -> None:
    """Raises unless both tables have the same names, types that go together, and the same mark of a processor."""
    for name in first.column_names:
        if name not in table.column_names:
            raise InputError(
                f"File `{file}` has no column `{name}`, which `{first_file}` has; files need equal columns."
            )
    for name in table.column_names:
        if name not in first.column_names:
            raise InputError(
                f"File `{file}` has a column `{name}`, which `{first_file}` lacks; files need equal columns."
            )
        _check_types(name, first_file, first.field(name), file, table.field(name))
    marks = [(each.schema.metadata or {}).get(ENCODED) for each in (first, table)]
    if marks[0] != marks[1]:
        raise InputError(
            f"Files `{first_file}` and `{file}` were not encoded by the same processor; encode both alike."
        )


def _check_types(name: str, first_file: Path, first: pa.Field, file: Path, field: pa.Field) -> None:
    try:
        pa.unify_schemas([pa.schema([first]), pa.schema([field])], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"Column `{name}` holds {first.type} in `{first_file}` and {field.type} in `{file}`; "
            "write it with one type in all files."
        ) from error
