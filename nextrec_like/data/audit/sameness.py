"""Columns that say nothing: constant ones, and copies of others."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from itertools import groupby

import numpy as np

from nextrec_like.data.audit.columns import Column, codes, numbered
from nextrec_like.data.audit.findings import Finding
from nextrec_like.data.audit.parts import Part
from nextrec_like.data.packed import PackedData


def find_constants(train: Part, columns: Sequence[Column]) -> list[Finding]:
    """Features with one value in all training rows, one finding for all numbers of a vector."""
    findings = []
    for feature, group in groupby(columns, key=lambda column: column.feature):
        of_feature = list(group)
        same = [column for column in of_feature if _is_constant(column, train)]
        if same:
            numbers = f"{len(same)} of {len(of_feature)} numbers have " if len(of_feature) > 1 else ""
            findings.append(Finding("constant", feature, f"{numbers}one value{train.note}", len(same)))
    return findings


def find_duplicates(train: Part, columns: Sequence[Column]) -> list[Finding]:
    """Columns that are equal to an earlier one; ids also up to other numbers for the same ids."""
    alike: dict[Hashable, list[Column]] = defaultdict(list)
    for column in columns:
        mark = _mark(column, column.some(train.sample))
        if mark is not None:
            alike[mark].append(column)
    findings = []
    for first, *others in alike.values():
        for column in others:
            how = _relation(first, column, train.known)
            if how is not None:
                findings.append(Finding("duplicate", column.name, f"{how} {first.name}{train.note}", 1.0))
    return findings


def _is_constant(column: Column, train: Part) -> bool:
    return all((values == values[:1]).all() for values in (column.of(train.sample), column.of(train.known)))


def _mark(column: Column, values: np.ndarray) -> Hashable | None:
    """What columns that are alike have in common; None for a column that is alike to others by chance."""
    if (values == values[:1]).all():
        return None
    pattern: np.ndarray = values + np.float32(0)  # adding zero makes -0.0 the same as 0.0
    if column.vocab_size is not None:
        code, size = codes(column, values)
        pattern = _first_places(code.ravel() + 1, size + 1)
        if (pattern == np.arange(len(pattern))).mean() > 0.5:  # most ids occur once, in any such column
            return None
    kind = column.vocab_size is None, column.padded, values.shape[1]
    return *kind, blake2b(np.ascontiguousarray(pattern).data, digest_size=16).digest()


def _first_places(code: np.ndarray, size: int) -> np.ndarray:
    """For each element the place of the first equal one, which does not depend on the numbers used as codes."""
    first = np.empty(size, np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]  # of equal indices numpy keeps the last
    return first[code]


def _relation(first: Column, second: Column, rows: PackedData) -> str | None:
    """How the second column follows from the first, if it does."""
    one, two = first.of(rows), second.of(rows)
    if np.array_equal(one, two):
        return "equal to"
    if first.vocab_size is None or second.vocab_size is None:
        return None
    (one, num_one), (two, num_two) = numbered(one, first.vocab_size), numbered(two, second.vocab_size)
    renamed = _determine(one, num_one, two) and _determine(two, num_two, one)
    return "other numbers for the ids of" if renamed else None


def _determine(ids: np.ndarray, size: int, others: np.ndarray) -> bool:
    """Whether equal ids always stand beside equal others."""
    image = np.zeros(size, np.int64)
    image[ids] = others
    return np.array_equal(image[ids], others)
