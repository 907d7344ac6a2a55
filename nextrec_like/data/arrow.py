"""Small questions to Arrow tables and columns."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.errors import InputError, did_you_mean

ENCODED = b"nextrec_like.encoded"
"""Key of the schema metadata in which a processor marks the tables that it has encoded."""


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


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type has a list per row."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def check_unique(names: Sequence[str]) -> None:
    """Raises if a name stands twice."""
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise InputError(f"The table has more than one column `{duplicates[0]}`; rename or drop one of them.")


def _role(what: str) -> str:
    if what == "column":
        return ""
    # A table has many features, but one column for each other purpose.
    return f", which is {'a' if what == 'feature' else 'the'} {what.removesuffix(':')}"
