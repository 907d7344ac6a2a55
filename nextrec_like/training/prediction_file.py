"""Predictions as a parquet file, written block by block."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextrec_like.data.packed import PackedData
from nextrec_like.errors import InputError
from nextrec_like.storage.atomic import whole
from nextrec_like.storage.paths import named_path

Blocks: TypeAlias = Iterable[tuple[Mapping[str, np.ndarray], pa.Table | None]]


def checked_output(output: str | Path, data: object) -> Path:
    """The file to write.

    Raises:
        InputError: If it is no parquet file, its folder is not there, or it is one of the files of the data or would
            be read as one the next time.
    """
    file = named_path("`output`", output)
    if file.suffix.lower() != ".parquet":
        raise InputError(f"`output` should be a .parquet file. Received '{output}'.")
    if not file.parent.is_dir():
        raise InputError(f"`output` is '{output}', but there is no folder '{file.parent}'; make it first.")
    paths = data if isinstance(data, list | tuple) else [data]
    own = {Path(path).expanduser().resolve() for path in paths if isinstance(path, str | os.PathLike)}
    if own & {file.resolve(), file.resolve().parent}:
        raise InputError(f"`output` '{output}' is where the data are; give another file or folder.")
    return file


def checked_keep(keep: Sequence[str], data: object, names: Sequence[str]) -> list[str]:
    """The names of columns to keep beside predictions.

    Raises:
        InputError: If they are no list of names, two of them would be written under one name, or the data have no such
            columns any more.
    """
    if isinstance(keep, str) or not isinstance(keep, Sequence) or not all(isinstance(name, str) for name in keep):
        raise InputError(f"`keep` should be a list of column names. Received {keep!r}.")
    if keep and isinstance(data, PackedData):
        raise InputError("`keep` needs the table that the rows were packed from; give the table instead.")
    chosen = list(dict.fromkeys(keep))
    for name in chosen:
        written = kept_name(name, names)
        if written != name and written in [*chosen, *names]:
            raise InputError(f"`keep` has `{name}`, which would be written as `{written}`, and that is there already.")
    return chosen


def kept_name(name: str, names: Sequence[str]) -> str:
    """What a column of the data is called beside predictions with these names."""
    return f"{name}_label" if name in names else name


def write_predictions(file: Path, names: Sequence[str], blocks: Blocks) -> None:
    """Writes columns that are kept, then predictions; the file is complete or as it was.

    Args:
        file: What to write.
        names: Names of the predictions; a kept column with one of them is renamed by `kept_name`.
        blocks: Predictions by name, and the kept columns of the same rows, if any.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        with whole(file) as part:
            _write(part, names, blocks)
    except OSError as error:
        raise InputError(f"`output` '{file}' cannot be written: {error}.") from error


def _write(file: Path, names: Sequence[str], blocks: Blocks) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for predictions, kept in blocks:
            table = _joined(names, predictions, kept)
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _joined(names: Sequence[str], predictions: Mapping[str, np.ndarray], kept: pa.Table | None) -> pa.Table:
    table = pa.table({name: predictions[name] for name in names})
    if kept is None:
        return table
    renamed = [kept_name(name, names) for name in kept.column_names]
    fields = [field.with_name(name) for field, name in zip(kept.schema, renamed)]
    return pa.table([*kept.columns, *table.columns], pa.schema([*fields, *table.schema]))
