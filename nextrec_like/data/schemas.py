"""The columns of several files as those of one table."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pyarrow as pa

from nextrec_like.data.arrow import ENCODED, check_unique
from nextrec_like.errors import InputError


def joined_schema(files: Sequence[Path], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all files, with types that the types of each file go into.

    Raises:
        InputError: For columns that differ between files, types that do not go together, or unlike marks of processors.
    """
    for file, schema in zip(files, schemas):
        check_unique(schema.names)
        _check_alike(files[0], schemas[0], file, schema)
    try:
        return pa.unify_schemas(list(schemas), promote_options="permissive")
    except pa.ArrowException:  # two files go with the first, which has nothing but nulls, but not with each other
        for (file, schema), (other_file, other) in combinations(zip(files, schemas), 2):
            _check_alike(file, schema, other_file, other)
        raise


def as_joined(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows of a file in the columns and types of `joined_schema`.

    Raises:
        InputError: For a value that the type cannot hold, such as an integer above 2**53 as a double.
    """
    return pa.Table.from_arrays([_converted(table.column(field.name), field) for field in schema], schema=schema)


def _converted(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        return values.cast(field.type)
    except pa.ArrowException as error:
        raise InputError(
            f"Column `{field.name}` holds {values.type}, and all files together are read as {field.type}, which "
            f"cannot hold it ({' '.join(str(error).split())}); write it with one type in all files."
        ) from error


def _check_alike(first_file: Path, first: pa.Schema, file: Path, schema: pa.Schema) -> None:
    """Raises unless both files have the same columns, types that go together, and the same mark of a processor."""
    for name in first.names:
        if name not in schema.names:
            raise InputError(
                f"File `{file}` has no column `{name}`, which `{first_file}` has; files need equal columns."
            )
    for name in schema.names:
        if name not in first.names:
            raise InputError(
                f"File `{file}` has a column `{name}`, which `{first_file}` lacks; files need equal columns."
            )
        _check_types(name, first_file, first.field(name), file, schema.field(name))
    marks = [(each.metadata or {}).get(ENCODED) for each in (first, schema)]
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
