"""Tables in files, by the end of the name of the file."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet


def _write_csv(table: pa.Table, file: Path) -> None:
    frame: pd.DataFrame = table.to_pandas()
    frame.to_csv(file, index=False)


TABLE_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": pyarrow.parquet.write_table,
    ".csv": _write_csv,
}
"""By the end of the name of a file."""
