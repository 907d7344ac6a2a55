"""Reading files that anyone may have written: only plain ones, of bounded size and depth, and strictly valid."""

import json
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nextrec_like.errors import InputError

MAX_BYTES = 16 * 2**20
"""Size of a JSON file. Ours are far smaller, and in memory it can take some 25 times as much."""
MAX_DEPTH = 40
"""Lists and objects within each other. Ours have about 10."""
MAX_DIGITS = 20
"""Digits of an integer. Those of 64 bits have at most 19, and a sign."""


def read_json(file: Path, fix: str, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401
    """The content of a JSON file: objects, lists, texts, finite numbers, true, false and null.

    Args:
        file: A plain file.
        fix: What the user can do about a file that is not as it should be, such as ``save it again``.
        max_bytes: Largest size.
        max_depth: How many lists and objects may lie within each other.

    Raises:
        InputError: If the file cannot be read, is larger or deeper, or is not strictly valid: a key given twice, a
            number that is not finite or has too many digits, half a character.
    """
    return parse_json(read_text(file, fix, max_bytes), f"`{file}`", fix, max_depth)


def read_text(file: Path, fix: str, max_bytes: int = MAX_BYTES) -> str:
    """The text in a plain UTF-8 file; see `read_json`.

    Raises:
        InputError: If the file cannot be read, is too large, no plain file, or not UTF-8.
    """
    try:
        if not is_plain(file):
            raise InputError(f"`{file}` is not a plain file; {fix}.")
        with file.open("rb") as opened:
            content = opened.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise InputError(f"`{file}` has more than {max_bytes:,} bytes, which no such file needs; {fix}.")
        return content.decode("utf-8")
    except OSError as error:
        raise InputError(f"`{file}` could not be read: {error.strerror or error}; {fix}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"`{file}` could not be read: it is not UTF-8 at byte {error.start}; {fix}.") from error


def parse_json(text: str, what: str, fix: str, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401
    """The content of a JSON text that is called `what` in errors; see `read_json`."""
    try:
        content = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_number
        )
        _check_depth(content, max_depth)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(content, ensure_ascii=False).encode()  # raises for half of a pair, which no other text can hold
    except RecursionError:
        raise InputError(f"{what} could not be read: it has more than {max_depth} levels; {fix}.") from None
    except ValueError as error:
        raise InputError(f"{what} could not be read: it is not valid JSON ({error}); {fix}.") from error
    return content


def read_description(folder: Path, name: str, version: int, fix: str) -> dict[str, Any]:
    """A JSON object in a folder, which says its format; see `inside`, `read_json` and `check_format`.

    Raises:
        InputError: If there is no such file in the folder, or it is not of the format that this version reads.
    """
    file = inside(folder, name, fix)
    return check_format(read_json(file, fix), version, file, fix)


def check_format(content: Any, version: int, file: Path, fix: str) -> dict[str, Any]:  # noqa: ANN401
    """The content, if it is an object of the format that this version of the library reads.

    Raises:
        InputError: If it is not; says whether a newer or an older version wrote it.
    """
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(content, dict) and type(found) is int:
        if found == version:
            return content
        age, advice = ("a newer", "update the library") if found > version else ("an older", fix)
        why = f"{age} version of the library wrote it; {advice}"
    else:
        why = f"it is not what this library writes; {fix}"
    raise InputError(f"`{file}` has format {found!r}, and this version reads format {version}: {why}.")


def inside(folder: Path, name: str, fix: str) -> Path:
    """A plain file in a folder.

    Args:
        folder: The folder.
        name: Path of the file within it.
        fix: What the user can do about it.

    Raises:
        InputError: If there is no such file, or if the name or a link leads out of the folder.
    """
    file = folder / name
    try:
        is_within, plain = file.resolve().is_relative_to(folder.resolve()), is_plain(file)
    except FileNotFoundError as error:
        raise InputError(f"`{file}` could not be read: it is missing; {fix}.") from error
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character
        raise InputError(f"`{file}` could not be read: {error}; {fix}.") from error
    if not is_within:
        raise InputError(f"`{file}` leads out of the folder `{folder}`, and nothing else is read; {fix}.")
    if not plain:
        raise InputError(f"`{file}` is not a plain file; {fix}.")
    return file


def is_plain(file: Path) -> bool:
    """Whether a path is no folder, and no pipe or device, from which reading might never end.

    Raises:
        OSError: If there is nothing.
    """
    return stat.S_ISREG(file.stat().st_mode)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is given twice")
    return content


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"the number {text[:MAX_DIGITS]} is not finite")
    return value


def _check_depth(content: Any, max_depth: int) -> None:  # noqa: ANN401
    """Level by level, because a function that calls itself may run out of stack."""
    level = _containers([content])
    for _ in range(max_depth):
        level = _containers(inner for each in level for inner in (each.values() if isinstance(each, dict) else each))
    if level:
        raise RecursionError


def _containers(values: Iterable[Any]) -> list[dict[str, Any] | list[Any]]:
    return [each for each in values if isinstance(each, dict | list)]
