"""Files that are complete or as they were."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Another name to write under, which the file takes its content from if nothing goes wrong."""
    part = part_of(file)
    try:
        yield part
        part.replace(file.resolve())
    finally:
        part.unlink(missing_ok=True)


def part_of(file: Path) -> Path:
    """The name under which a process writes a file: it ends in the number of the process."""
    target = file.resolve()
    return target.with_name(f".{target.name}.{os.getpid()}")


def write_text(file: Path, text: str) -> None:
    """Writes a whole text."""
    with whole(file) as part:
        part.write_text(text, encoding="utf-8")


def write_json(file: Path, content: object) -> None:
    """Writes readable, strictly valid JSON."""
    file.write_text(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_csv(table: pa.Table, file: Path) -> None:
    frame: pd.DataFrame = table.to_pandas()
    frame.to_csv(file, index=False)


TABLE_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": pyarrow.parquet.write_table,
    ".csv": _write_csv,
}
"""By the end of the name of a file."""
