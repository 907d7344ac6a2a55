"""Packed rows on disk, so that only the first epoch decodes parquet."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nextrec_like.data.blocks import BLOCK_ROWS, identity
from nextrec_like.data.packed import PackedData, from_arrays
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import window_rows
from nextrec_like.errors import InputError, warn

FORMAT = 1
FILE = "cache.json"


class CachedRows:
    """The rows of a `ParquetRows` in uncompressed ``.npy`` files, of which pieces are mapped into memory.

    The rows, their groups and hence every order of them are those of the parquet files.

    Args:
        folder: What `cached` has written.

    Raises:
        InputError: If a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content = _description(folder)
        self.identity: str = content["identity"]
        self.sizes: list[int] = content["sizes"]
        self._names: list[str] = content["arrays"]
        self._starts = np.cumsum([0, *self.sizes]).tolist()
        for name in self._names:
            if len(self._array(name)) != self._starts[-1]:
                raise _damaged(folder / f"{name}.npy", "its length is wrong")

    def read(self, group: int, start: int, piece_rows: int, full: bool = False) -> Iterator[PackedData]:
        """As `ParquetRows.read`."""
        end = self._starts[group + 1]
        for first in range(self._starts[group] + start, end, piece_rows):
            yield self._piece(first, min(first + piece_rows, end), full)

    def labels(self, piece_rows: int) -> Iterator[np.ndarray]:
        """As `ParquetRows.labels`."""
        for start in range(0, self._starts[-1], piece_rows):
            yield self._array("labels")[start : start + piece_rows].astype(np.float64)

    def _piece(self, start: int, stop: int, full: bool) -> PackedData:
        def part(name: str, dtype: type[np.generic]) -> np.ndarray | None:
            return self._array(name)[start:stop].astype(dtype) if name in self._names else None

        rows = [part("ids", np.int64), part("dense", np.float32), part("labels", np.float32)]
        return from_arrays([*rows, *((part("labels", np.float64), part("group", np.int64)) if full else (None, None))])

    def _array(self, name: str) -> np.ndarray:
        # Mapped anew for each piece, so that what was read before does not count as memory of the process.
        file = self.folder / f"{name}.npy"
        try:
            return np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(file, str(error)) from error


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
    if (folder / FILE).exists():
        try:
            found = CachedRows(folder)
        except InputError as error:
            warn(f"{error} The cache is written again.")
        else:
            if found.identity == wanted:
                return found
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"`cache_dir` '{folder}' holds something else than a cache; give a new folder.")
    try:
        _replace(source, wanted, folder)
    except OSError as error:
        raise InputError(f"`cache_dir` '{folder}' cannot be written: {error}.") from error
    return CachedRows(folder)


def _replace(source: ParquetRows, identity: str, folder: Path) -> None:
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        names = _write(source, part)
        content = {"format": FORMAT, "identity": identity, "sizes": source.sizes, "arrays": names}
        (part / FILE).write_text(json.dumps(content), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def _description(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(file, "it is of another version")
    if not {"identity", "sizes", "arrays"} <= content.keys():
        raise _damaged(file, "it is not complete")
    return content


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"File `{file}` of the cache is damaged ({why}); remove its folder.")
