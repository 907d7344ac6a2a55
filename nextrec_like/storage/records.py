"""Dataclasses from JSON, with values of the types that their fields have."""

import reprlib
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nextrec_like.errors import InputError, check_keys

T = TypeVar("T")


def build(kind: type[T], content: object, place: str) -> T:
    """A dataclass from a JSON object.

    Args:
        kind: The dataclass. Its fields may be texts, numbers, booleans, literals, None, lists, dicts and dataclasses.
        content: Any JSON value.
        place: What it is, for errors, such as ``Task 2``.

    Raises:
        InputError: For an unknown or a missing key, a value of another type, or what the class itself refuses.
    """
    if not isinstance(content, dict):
        raise InputError(f"{place} should be an object. Received {reprlib.repr(content)}.")
    types = get_type_hints(kind)
    check_keys(f"key of {place}", content, types)
    for each in fields(kind):  # type: ignore[arg-type]
        if each.name not in content and each.default is MISSING and each.default_factory is MISSING:
            raise InputError(f"{place} lacks the key `{each.name}`.")
    return kind(**{name: typed(types[name], value, f"`{name}` of {place}") for name, value in content.items()})


def typed(kind: Any, value: Any, place: str) -> Any:  # noqa: ANN401
    """A JSON value as a value of a type.

    Args:
        kind: A type as the fields of dataclasses have it.
        value: Any JSON value.
        place: What it is, for errors.

    Raises:
        InputError: If it has another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kind = next((each for each in inner if _could_be(each, value)), inner[0])
        return typed(kind, value, place)
    if not _could_be(kind, value):
        raise InputError(f"{place} should be {WORDS.get(origin or kind, 'an object')}. Received {reprlib.repr(value)}.")
    if origin is list:
        return [typed(inner[0], each, place) for each in value]
    if origin is dict:
        return {key: typed(inner[1], each, f"`{key}` in {place}") for key, each in value.items()}
    return build(kind, value, place) if isinstance(kind, type) and is_dataclass(kind) else value


def _could_be(kind: Any, value: object) -> bool:  # noqa: ANN401
    """Whether the outermost type is right."""
    if kind is Any:
        return True
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if is_dataclass(kind):
        return isinstance(value, dict)
    if kind is float and type(value) is int:
        return True
    return type(value) is (get_origin(kind) or kind)


WORDS: dict[Any, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    dict: "an object",
    Literal: "one of the known words",
}
