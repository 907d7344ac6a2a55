"""Large tables in chunks: CSV files in; train, valid and test parquet files out. Shared by the recipes.

A script finds only what lies in its own folder, so a recipe says ``sys.path.append(str(FOLDER.parent))`` first.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from nextrec_like.data.ids import stable_hash
from nextrec_like.errors import InputError

PARTS = ("train", "valid", "test")
CHUNK_BYTES = 1 << 26
MISSING = ["", "NaN", "nan", "NULL", "null", "\\N"]


class PartFiles:
    """The three parquet files of a data set while they are written, and the counts for their summary.

    Args:
        folder: Where the files are written.
        labels: Columns of 0 and 1.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self.folder, self.labels = folder, labels
        self.rows = dict.fromkeys(PARTS, 0)
        self.positives = {part: dict.fromkeys(labels, 0) for part in PARTS}
        self._writers: dict[str, pq.ParquetWriter] = {}

    def write(self, part: str, table: pa.Table) -> None:
        """Adds rows to a part.

        Raises:
            InputError: If a label is something else than 0 or 1.
        """
        if not len(table):
            return
        for label in self.labels:
            self.positives[part][label] += _count_ones(table[label], label)
        self.rows[part] += len(table)
        if part not in self._writers:
            self._writers[part] = pq.ParquetWriter(self.folder / f"{part}.parquet", table.schema)
        self._writers[part].write_table(table)

    def divide(self, table: pa.Table, part: npt.NDArray[np.int64]) -> None:
        """Adds each row to the part whose position in `PARTS` is given, shape ``(N,)``; to none where it is -1."""
        for position, name in enumerate(PARTS):
            self.write(name, table.filter(pa.array(part == position)))

    def summary(self) -> str:
        """A table of the size of each part and of its rates."""
        widths = {label: max(len(label), 10) for label in self.labels}
        lines = [f"{'part':<6} {'rows':>12} " + " ".join(f"{label:>{widths[label]}}" for label in self.labels)]
        for part in PARTS:
            rates = {label: self.positives[part][label] / self.rows[part] for label in self.labels}
            cells = " ".join(f"{rates[label]:>{widths[label]}.3%}" for label in self.labels)
            lines.append(f"{part:<6} {self.rows[part]:>12,} {cells}")
        return "\n".join(lines)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


@contextmanager
def part_files(folder: Path, labels: Sequence[str]) -> Iterator[PartFiles]:
    """Files to write to, which replace those in ``folder`` only at the end, if there was no error.

    Raises:
        InputError: If a part has no rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="unfinished-") as scratch:
        files = PartFiles(Path(scratch), labels)
        try:
            yield files
        finally:
            files.close()
        for part, rows in files.rows.items():
            if not rows:
                raise InputError(f"There is no row for `{part}`; give more rows, or a larger `--share`.")
        for part in PARTS:
            (files.folder / f"{part}.parquet").replace(folder / f"{part}.parquet")


def find_file(folder: Path, name: str, origin: str) -> Path:
    """The file of this name in a folder or below.

    Raises:
        InputError: If there is no such folder or file, or more than one; ``origin`` says where to get it.
    """
    if not folder.is_dir():
        raise InputError(f"`--source` should be a folder. Received {folder}, which is not one.")
    found = sorted(folder.rglob(name))
    if not found:
        raise InputError(f"{folder} should hold {name}, itself or in a folder below, and does not. It is at {origin}")
    if len(found) > 1:
        raise InputError(f"{folder} holds {name} more than once: {found[0]} and {found[1]}; pass a smaller folder.")
    return found[0]


def read_chunks(path: Path, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """The wanted columns of a CSV file with a header, some 64 MiB at a time.

    Args:
        path: The file.
        types: Type of each wanted column.

    Raises:
        InputError: If a column is missing, a row has another width, or a value another type.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    missing = [name for name in types if name not in header]
    if missing:
        raise InputError(
            f"{path} should have the column `{missing[0]}`, and does not. Columns: {', '.join(header[:30]) or 'none'}."
        )
    rows = 0
    try:
        reader = pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=CHUNK_BYTES),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict(types), include_columns=list(types), null_values=MISSING, strings_can_be_null=True
            ),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])
            rows += len(batch)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is damaged or of another form, somewhere after row {rows:,}: {error}") from error


def whole_numbers(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with columns of floats, where ids with missing values were once written as ``3.0``, as int32.

    Raises:
        InputError: If a number has a fraction.
    """
    for name in columns:
        try:
            numbers = table[name].cast(pa.int32())
        except pa.ArrowInvalid as error:
            raise InputError(f"Column `{name}` should hold whole numbers up to 2**31. {error}.") from error
        table = table.set_column(table.column_names.index(name), name, numbers)
    return table


def require(table: pa.Table, columns: Sequence[str]) -> None:
    """Raises for the first of the columns that has a missing value."""
    for name in columns:
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise InputError(f"Column `{name}` has no value in this row: {table.slice(row, 1).to_pylist()[0]}.")


def draw(values: pa.ChunkedArray, salt: str) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each value, shape ``(N,)``: always the same for the same value and salt."""
    encoded = values.combine_chunks().dictionary_encode()
    hashes = [stable_hash(f"{salt}:{value}") for value in encoded.dictionary.to_pylist()]
    # The upper 53 bits: a quotient of all 64 could be rounded up to 1.
    numbers = np.array([(number >> 11) / 2**53 for number in hashes])
    return numbers[encoded.indices.to_numpy()]


def share(text: str) -> float:
    """A command-line argument that is a share: above 0, at most 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"should be above 0 and at most 1, not {text}")
    return number


def _count_ones(values: pa.ChunkedArray, label: str) -> int:
    wrong = pc.invert(pc.fill_null(pc.is_in(values, pa.array([0, 1], values.type)), False))
    if pc.any(wrong).as_py():
        value = values[pc.index(wrong, True).as_py()].as_py()
        raise InputError(f"Label `{label}` should be 0 or 1 in every row. Received {value}.")
    return int(pc.sum(values).as_py())
