"""Packed rows on disk, so that only the first epoch decodes parquet."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, Literal

import numpy as np

from nextrec_like.data.blocks import BLOCK_ROWS, identity
from nextrec_like.data.packed import PackedData, from_arrays
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import window_rows
from nextrec_like.errors import InputError, warn
from nextrec_like.storage.atomic import whole_folder
from nextrec_like.storage.reading import is_plain, read_description, read_json
from nextrec_like.storage.records import build

FORMAT = 1
FILE = "cache.json"
ARRAYS = ("ids", "dense", "labels", "group")
TYPES = ("i4", "i8", "f4", "f8")
FIX = "remove its folder"
OLD = 24 * 3600
"""Seconds after which a cache that was never completed is taken for one of a training that was killed."""


@dataclass(frozen=True)
class CacheDescription:
    """The content of ``cache.json``.

    Attributes:
        format: `FORMAT`.
        identity: Digest of all that the rows follow from.
        sizes: Rows of each group.
        arrays: Which of `ARRAYS` there are.
    """

    format: int
    identity: str
    sizes: list[int]
    arrays: list[Literal["ids", "dense", "labels", "group"]]


class CachedRows:
    """The rows of a `ParquetRows` in uncompressed ``.npy`` files, of which pieces are mapped into memory.

    The rows, their groups and hence every order of them are those of the parquet files.

    Args:
        folder: What `cached` has written.
        fingerprint: That of the parquet files.

    Raises:
        InputError: If a file is missing or damaged.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        content = _description(folder)
        self.identity, self.sizes = content.identity, content.sizes
        self._starts = list(accumulate(self.sizes, initial=0))
        # Open as long as this lives: another training may replace the folder, and these rows have to stay.
        self._arrays = {name: _MappedArray(folder / f"{name}.npy", self._starts[-1]) for name in content.arrays}

    def read(self, group: int, start: int, piece_rows: int, full: bool = False) -> Iterator[PackedData]:
        """As `ParquetRows.read`."""
        end = self._starts[group + 1]
        for first in range(self._starts[group] + start, end, piece_rows):
            yield self._piece(first, min(first + piece_rows, end), full)

    def labels(self, piece_rows: int) -> Iterator[np.ndarray]:
        """As `ParquetRows.labels`."""
        for start in range(0, self._starts[-1], piece_rows):
            yield self._arrays["labels"].rows(start, min(start + piece_rows, self._starts[-1])).astype(np.float64)

    def _piece(self, start: int, stop: int, full: bool) -> PackedData:
        def part(name: str, dtype: type[np.generic]) -> np.ndarray | None:
            return self._arrays[name].rows(start, stop).astype(dtype) if name in self._arrays else None

        rows = [part("ids", np.int64), part("dense", np.float32), part("labels", np.float32)]
        return from_arrays([*rows, *((part("labels", np.float64), part("group", np.int64)) if full else (None, None))])


class _MappedArray:
    """A ``.npy`` file of which pieces are mapped into memory."""

    def __init__(self, path: Path, num_rows: int) -> None:
        self._path = path
        try:
            if not is_plain(path):
                raise ValueError("it is not a plain file")
            self._file = path.open("rb")
            np.lib.format.read_magic(self._file)
            self._shape, by_columns, self._dtype = np.lib.format.read_array_header_1_0(self._file)
        except (OSError, ValueError, EOFError, TokenError) as error:
            raise _damaged(path, str(error)) from error
        if by_columns or self._dtype.str[1:] not in TYPES:  # others might hold addresses in memory
            raise _damaged(path, "its type is wrong")
        self._start = self._file.tell()
        self._row_bytes = self._dtype.itemsize * math.prod(self._shape[1:])
        if (
            not self._shape
            or self._shape[0] != num_rows
            or path.stat().st_size != self._start + num_rows * self._row_bytes
        ):
            raise _damaged(path, "its length is wrong")

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop``, mapped anew, so that what was read before does not count as memory of the process."""
        shape, offset = (stop - start, *self._shape[1:]), self._start + start * self._row_bytes
        if 0 in shape:
            return np.empty(shape, self._dtype)
        try:
            return np.memmap(self._file, self._dtype, "r", offset, shape)
        except (OSError, ValueError) as error:
            raise _damaged(self._path, str(error)) from error


def cached(source: ParquetRows, folder: Path) -> CachedRows:
    """The rows from a cache, which one pass over the parquet files writes if it is not there.

    A cache of other files, features, tasks, groups or another processor is replaced, and so is a damaged one, with a
    warning. Only sizes are checked: what is written into the files by others is not noticed.

    Args:
        source: The rows.
        folder: Where the cache is, or will be.

    Raises:
        InputError: If the folder holds anything else, or cannot be written.
    """
    wanted = _identity(source)
    if folder.exists() and not _is_own(folder):
        raise InputError(f"`cache_dir` '{folder}' holds something else than a cache; give a new folder.")
    if (folder / FILE).exists():
        try:
            found = CachedRows(folder, source.fingerprint)
        except InputError as error:
            warn(f"{error} The cache is written again.")
        else:
            if found.identity == wanted:
                return found
    try:
        _replace(source, wanted, folder)
    except OSError as error:
        raise InputError(f"`cache_dir` '{folder}' cannot be written: {error}.") from error
    return CachedRows(folder, source.fingerprint)


def _is_own(folder: Path) -> bool:
    """Whether a folder is empty, or has nothing but what this module writes."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    if FILE not in names or not names <= {FILE, *(f"{name}.npy" for name in ARRAYS)}:
        return not names
    try:
        content = read_json(folder / FILE, FIX)
    except InputError:
        return True  # a damaged one
    return isinstance(content, dict) and "format" in content


def _replace(source: ParquetRows, identity: str, folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.[0-9]*"):
        if time.time() - left.stat().st_mtime > OLD:
            shutil.rmtree(left, ignore_errors=True)
    with whole_folder(folder) as part:
        names = _write(source, part)
        content = {"format": FORMAT, "identity": identity, "sizes": source.sizes, "arrays": names}
        (part / FILE).write_text(json.dumps(content), encoding="utf-8")


def _write(source: ParquetRows, folder: Path) -> list[str]:
    """Writes one file per array, piece by piece."""
    num_rows, files = sum(source.sizes), dict[str, BinaryIO]()
    piece_rows = min(BLOCK_ROWS, window_rows(source.features, source.tasks))
    with ExitStack() as stack:
        for group in range(len(source.sizes)):
            for packed in source.read(group, 0, piece_rows, full=True):
                for name, array in _arrays(source, packed).items():
                    if name not in files:
                        files[name] = stack.enter_context(open(folder / f"{name}.npy", "wb"))
                        _write_header(files[name], array.dtype, (num_rows, *array.shape[1:]))
                    files[name].write(array.data)
    return list(files)


def _arrays(source: ParquetRows, packed: PackedData) -> dict[str, np.ndarray]:
    """What is written, in the smallest type that holds it exactly."""
    ids, dense, _, labels, group = packed.arrays()
    small = all(feature.vocab_size <= 2**31 for feature in source.features.ids)
    binary = all(task.kind == "binary" for task in source.tasks or ())
    arrays = {
        "ids": (ids, "i4" if small else "i8"),
        "dense": (dense, "f4"),
        "labels": (labels, "f4" if binary else "f8"),
        "group": (group, "i8"),
    }
    return {name: np.ascontiguousarray(each, dtype) for name, (each, dtype) in arrays.items() if each is not None}


def _write_header(file: BinaryIO, dtype: np.dtype, shape: Sequence[int]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _identity(source: ParquetRows) -> str:
    files = [[str(file.resolve()), *identity(file)] for file in source.files]
    fingerprint = None if source.processor is None else source.processor.fingerprint
    features = [repr(feature) for feature in (*source.features.dense, *source.features.ids)]
    tasks = None if source.tasks is None else [repr(task) for task in source.tasks]
    content = [FORMAT, files, features, tasks, fingerprint, source.group_id]
    return blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _description(folder: Path) -> CacheDescription:
    return build(CacheDescription, read_description(folder, FILE, FORMAT, FIX), f"`{folder / FILE}`")


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"File `{file}` of the cache is damaged ({why}); {FIX}.")
