"""Groups of rows as integers: numbered without gaps, or hashed so that every chunk of a stream agrees."""

from collections import defaultdict
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nextrec_like.errors import InputError
from nextrec_like.metrics._checks import IntArray, check_lengths

KeyArray: TypeAlias = npt.NDArray[np.uint64]

CODE_UNITS = {"U": np.uint32, "S": np.uint8}
"""What a character of numpy's text and bytes is stored as."""


def group_codes(group: npt.ArrayLike) -> IntArray:
    """The groups numbered from 0 without gaps, shape ``(N,)``.

    Raises:
        InputError: If the group of a row is missing (None or NaN).
    """
    groups: npt.NDArray[Any] = np.asarray(group)
    check_lengths({"group": groups})
    if groups.dtype == object:
        return _object_codes(groups)
    check_groups(groups)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64, copy=False)


def check_groups(groups: npt.NDArray[Any], first_row: int = 0) -> None:
    """Raises if the group of a row is missing.

    Args:
        groups: Shape ``(N,)``.
        first_row: Number of the first of the rows, for the message.
    """
    missing = np.zeros(0, dtype=bool)
    if groups.dtype == object and any(map(_is_missing, set(groups.tolist()))):
        missing = np.array([_is_missing(value) for value in groups])
    if groups.dtype.kind in "fcmM":
        missing = groups != groups
    if missing.any():
        row = int(np.argmax(missing))
        rule = "every row needs a group: name it, or drop the row"
        raise InputError(f"`group` in row {first_row + row} is {groups[row]}; {rule}.")


def group_keys(groups: npt.NDArray[Any]) -> KeyArray:
    """A hash of each group, the same in every chunk and process.

    Integers are permuted, so two of them never share a key. Anything else is hashed as text: FNV-1a over the code
    points (http://www.isthe.com/chongo/tech/comp/fnv/), which merges two of ten million texts once in some 400,000
    such data sets.

    Args:
        groups: int64, or values of which the text names the group, shape ``(N,)``.
    """
    if groups.dtype == np.int64:
        return _mixed(groups.view(np.uint64))
    text = np.ascontiguousarray(groups if groups.dtype.kind in CODE_UNITS else groups.astype(str))
    units = text.view(CODE_UNITS[text.dtype.kind]).reshape(len(text), -1)  # (N, longest text), padded with 0
    key = np.full(len(text), 0xCBF29CE484222325, dtype=np.uint64)
    for unit in units.T:
        key = np.where(unit == 0, key, (key ^ unit) * np.uint64(0x100000001B3))
    return _mixed(key)


def _mixed(key: KeyArray) -> KeyArray:
    """A permutation of 64-bit integers with a random look.

    Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: a step of SplitMix64.
    """
    key = key + np.uint64(0x9E3779B97F4A7C15)  # or 0 would stay 0, and be in every sample
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def _object_codes(groups: npt.NDArray[Any]) -> IntArray:
    # A dictionary, because sorting Python objects is seven times slower and fails on mixed types.
    codes: defaultdict[object, int] = defaultdict()
    codes.default_factory = codes.__len__  # a value not met before gets the next number
    column = np.fromiter(map(codes.__getitem__, groups.tolist()), dtype=np.int64, count=len(groups))
    if any(map(_is_missing, codes)):
        check_groups(groups)
    return column


def _is_missing(value: object) -> bool:
    try:
        return value is None or not bool(value == value)
    except TypeError:  # pandas.NA: its comparisons have no truth value
        return True
