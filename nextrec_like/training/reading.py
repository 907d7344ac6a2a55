"""Whether rows are read into memory or streamed."""

from dataclasses import dataclass
from pathlib import Path

from nextrec_like.data.blocks import ParquetBlocks, parquet_files
from nextrec_like.data.packed import PackedData
from nextrec_like.data.source import Rows
from nextrec_like.data.streaming import row_bytes
from nextrec_like.errors import InputError
from nextrec_like.features import FeatureSet
from nextrec_like.memory import memory_of_process
from nextrec_like.storage.paths import named_path
from nextrec_like.tasks import TaskSet

MEMORY_SHARE = 1 / 3
"""Share of the available memory that packed rows may take: reading needs about as much again for the table."""


@dataclass(frozen=True)
class Reading:
    """Where rows are kept; see `Estimator.fit` for each.

    Raises:
        InputError: For a value that an option does not have.
    """

    streaming: bool | str = "auto"
    cache_dir: str | Path | None = None
    device_data: bool | str = "auto"

    def __post_init__(self) -> None:
        for name in ("streaming", "device_data"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (isinstance(value, str) and value == "auto"):
                raise InputError(f"`{name}` should be 'auto', True or False. Received {value!r}.")
        if self.cache_dir is not None:
            named_path("`cache_dir`", self.cache_dir)
        if self.cache_dir is not None and self.streaming is False:
            raise InputError("`cache_dir` is for streamed rows; leave it out, or do not set `streaming` to False.")

    def cache(self, part: str) -> Path | None:
        """Folder for the packed rows of a part, `train` or `valid`."""
        return None if self.cache_dir is None else named_path("`cache_dir`", self.cache_dir) / part


def split_rows(rows: Rows, share: float, seed: int) -> tuple[PackedData, PackedData]:
    """`PackedData.split`.

    Raises:
        InputError: If the rows are streamed, or too few.
    """
    if not isinstance(rows, PackedData):
        raise InputError("`valid_split` needs the rows in memory, and these are streamed; give `valid_data` instead.")
    return rows.split(share, seed)


def files_to_stream(
    data: object, streaming: bool | str, features: FeatureSet, tasks: TaskSet | None
) -> list[Path] | None:
    """The parquet files to stream from, or None if the rows are to be read into memory.

    Args:
        data: What the user gave.
        streaming: True, False, or ``auto``: if the packed rows would take over a third of the available memory.
        features: What is packed.
        tasks: Tasks whose labels are packed.

    Raises:
        InputError: If other data than parquet files are to be streamed.
    """
    if streaming is False:
        return None
    files = parquet_files(data)
    if files is None:
        if streaming is True:
            raise InputError(
                f"Only parquet files are streamed: give the path of a file or folder, or a list of paths. Received "
                f"{type(data).__name__ if not isinstance(data, str | Path) else repr(str(data))}."
            )
        return None
    if streaming is True:
        return files
    packed = ParquetBlocks(files, []).num_rows * row_bytes(features, tasks)
    return files if packed > MEMORY_SHARE * memory_of_process() else None
