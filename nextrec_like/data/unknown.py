"""A warning of tables that have little to do with the training rows."""

import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.data.columns import Column, NumericColumn, SequenceColumn
from nextrec_like.data.ids import MISSING
from nextrec_like.data.sequences import raw_ids
from nextrec_like.errors import warn

SUSPICIOUS = 100
"""So many values of a column, all unknown, are hardly new ones by chance."""


def warn_if_unknown(column: Column, raw: pa.ChunkedArray, encoded: pa.ChunkedArray) -> None:
    """Warns if a column of ids has many values and none of them is known.

    The text names no value: the same text for all blocks of a table is shown once.
    """
    if isinstance(column, NumericColumn):
        return
    ids = pc.list_flatten(encoded) if isinstance(column, SequenceColumn) else encoded
    if pc.max(ids).as_py() != MISSING:
        return
    values = raw_ids(column, raw)
    if len(values) - values.null_count >= SUSPICIOUS:
        warn(
            f"No value of column `{column.name}` is known from the training rows; "
            "is the table encoded already, or of another log?"
        )
