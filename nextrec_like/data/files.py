"""CSV and parquet files, folders and lists of them, as one Arrow table."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from nextrec_like.data.arrow import check_columns, check_unique
from nextrec_like.data.schemas import as_joined, joined_schema
from nextrec_like.errors import InputError, within
from nextrec_like.storage.paths import named_path

EXTENSIONS = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv"}


def _extension(path: Path) -> str | None:
    return next((extension for extension in EXTENSIONS if path.name.lower().endswith(extension)), None)


def files_at(path: Path) -> list[Path]:
    path = named_path("A table", path)
    if not path.exists():
        raise InputError(f"There is no file or folder `{path}` (current folder: `{Path.cwd()}`); check the path.")
    if path.is_dir():
        return _files_in(path)
    if not path.is_file():
        raise InputError(f"`{path}` is no plain file but a pipe or device; write the rows into a file.")
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


def read_files(files: list[Path], wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    if not files:
        raise InputError("The list of files is empty; give at least one path.")
    tables = [_read_file(file, wanted, text) for file in files]
    joined_schema(files, [table.schema for table in tables])  # raises for files that differ
    names = tables[0].column_names
    # A CSV column of nothing but words such as `NA` is taken for missing. It is read again as text, which it is unless
    # another file has values of another type.
    blank = [name for name in names if name not in text and _may_be_text([table.field(name).type for table in tables])]
    tables = [_with_words(file, table, blank).select(names) for file, table in zip(files, tables)]
    schema = joined_schema(files, [table.schema for table in tables])
    return pa.concat_tables([_in_file(file, table, schema) for file, table in zip(files, tables)])


def _in_file(file: Path, table: pa.Table, schema: pa.Schema) -> pa.Table:
    with within(f"In `{file}`: "):
        return as_joined(table, schema)


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
        raise files_error(file, error) from error


def files_error(file: Path, error: Exception) -> InputError:
    """The error for a file that a library could not read."""
    reason = " ".join(str(error).split()).rstrip(" .")
    return InputError(f"File `{file}` could not be read: {reason}. Check that it is complete.")


def _read_parquet(file: Path, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    with pyarrow.parquet.ParquetFile(file, page_checksum_verification=True) as parquet:
        names = parquet.schema_arrow.names
        if wanted is not None:
            check_columns(names, wanted)
        try:
            table = parquet.read(columns=wanted)
        except (pa.ArrowException, OSError):
            _check_row_groups(file, parquet, wanted)
            raise
    # Names are matched by prefix up to a dot, so `a` brings along a column `a.b`: hence the selection.
    return table if wanted is None else table.select(wanted)


def _check_row_groups(file: Path, parquet: pyarrow.parquet.ParquetFile, wanted: list[str] | None) -> None:
    """Raises for the first row group that cannot be read."""
    for group in range(parquet.num_row_groups):
        with within(f"In row group {group}: "):
            try:
                parquet.read_row_group(group, columns=wanted)
            except (pa.ArrowException, OSError) as error:
                raise files_error(file, error) from error


def _read_csv(file: Path, wanted: list[str] | None, text: frozenset[str]) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string()))
    table = pyarrow.csv.read_csv(file, convert_options=options)
    _check_csv(file, table)
    check_unique(table.column_names)
    arrays = [_blank_to_null(array) for array in table.columns]
    arrays = [_without_zeros(array) if name in text else array for name, array in zip(table.column_names, arrays)]
    table = pa.table(arrays, names=table.column_names)
    if wanted is not None:
        check_columns(table.column_names, wanted)
    return table if wanted is None else table.select(wanted)


def _check_csv(file: Path, table: pa.Table) -> None:
    try:
        header = table.column_names[0]
    except UnicodeDecodeError as error:
        raise InputError(f"File `{file}` is not UTF-8 in its first line; convert the file to UTF-8.") from error
    separator = next((mark for mark in ";\t|" if mark in header), None)
    if table.num_columns == 1 and separator is not None:
        raise InputError(f"File `{file}` seems to be separated by {separator!r}; separate its values by commas.")
    for name, kind in zip(table.column_names, table.schema.types):
        if pa.types.is_binary(kind):
            raise InputError(f"File `{file}` is not UTF-8 in column `{name}`; convert the file to UTF-8.")


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
