"""The groups of rows that GAUC ranks within."""

import numpy as np
import pandas as pd
import pyarrow as pa

from nextrec_like.data.arrow import column, decoded, first_missing
from nextrec_like.data.processor import DataProcessor, is_encoded
from nextrec_like.errors import InputError, warn


def check_group_id(group_id: object) -> str:
    """The name of the column with the groups.

    Raises:
        InputError: If it is not given, or no name.
    """
    if group_id is None:
        raise InputError("The metric `gauc` needs the group of each row, usually the user; pass `group_id='user_id'`.")
    if not isinstance(group_id, str):
        raise InputError(f"`group_id` should be the name of a column. Received {group_id!r}.")
    return group_id


def group_of(table: pa.Table, group_id: str | None, processor: DataProcessor | None) -> np.ndarray:
    """The group of each row for GAUC as integers, int64, shape ``(N,)``, from the raw column where there is one.

    An integer is its own group, and any other value the group of its 64-bit hash: equal values of different tables are
    the same group. That two of a million different values share one has a probability of 3e-8.

    Raises:
        InputError: If the column is not given, missing, or has a row without a value.
    """
    name = check_group_id(group_id)
    if is_encoded(table) and processor is not None and name in [spec.name for spec in processor.columns]:
        warn(f"`group_id` column `{name}` is encoded, so all unknown values count as one group; pass the raw table.")
    values = column(table, name, "group_id")
    if pa.types.is_nested(values.type):
        raise InputError(f"`group_id` column `{name}` holds {values.type}; it needs one value per row.")
    row = first_missing(values)
    if row is not None:
        raise InputError(f"`group_id` column `{name}` has no value in row {row}; fill it, or drop the row.")
    return _codes(decoded(values))


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_integer(values.type):
        return values.to_numpy().astype(np.int64, copy=False)
    encoded = values.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False))
    return hashes.view(np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
