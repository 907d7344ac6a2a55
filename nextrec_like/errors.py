"""One error class for everything that a user can get wrong, and helpers to word it."""

import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from math import inf, nan
from numbers import Integral, Real

PACKAGE = __name__.split(".")[0]
LENGTH = 2_000
"""Characters of a message: a value that is shown may be a whole table."""


class InputError(ValueError):
    """The data, the definitions or an argument break a rule; the message says which and how to fix it, on one line."""

    def __init__(self, message: str) -> None:
        line = re.sub(r"\s*\n\s*", " ", message)
        super().__init__(line if len(line) <= LENGTH else f"{line[: LENGTH - 300]} ... {line[-200:]}")


class StorageError(InputError):
    """A file or folder cannot be written, which may be mended without a change of the input."""


class DivergedError(InputError):
    """A loss is no longer finite; no single argument is to blame."""


class LostProcessError(InputError):
    """Another process of a training is gone or does not answer, so that this one cannot go on."""


class InputWarning(UserWarning):
    """Something legal that is rarely meant, such as a task without a positive label."""


def warn(message: str) -> None:
    """Warns at the line of the user's code that called into the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in (PACKAGE, "contextlib"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, InputWarning, stacklevel=level)


@contextmanager
def within(place: str) -> Iterator[None]:
    """Puts a place, such as ``In the validation data: ``, before the message of an `InputError`."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{place}{error}") from error


def did_you_mean(name: object, options: Iterable[str]) -> str:
    """`` Did you mean `x`?``, with a leading space, or nothing if no option is close."""
    by_lower = {str(option).lower(): option for option in options}
    close = get_close_matches(str(name)[:100].lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean `{by_lower[close[0]]}`?" if close else ""


def unknown(kind: str, name: object, options: Iterable[str]) -> InputError:
    """An error for a name that is not among the options: names it, the closest one, and all of them."""
    options = list(options)
    return InputError(
        f"Unknown {kind} `{name}`.{did_you_mean(name, options)} Known: {', '.join(map(str, options)) or 'none'}."
    )


def one_of(kind: str, name: object, options: Iterable[str]) -> str:
    """The name, if it is one of the options.

    Raises:
        InputError: Names it, the closest one, and all of them.
    """
    options = list(options)
    if not isinstance(name, str) or name not in options:
        raise unknown(kind, name, options)
    return name


def check_keys(kind: str, keys: Iterable[str], allowed: Iterable[str]) -> None:
    """Raises for the first key that is not allowed.

    Raises:
        InputError: Names the key, the closest allowed one, and all allowed ones.
    """
    allowed = list(allowed)
    for key in keys:
        if not isinstance(key, str) or key not in allowed:
            raise unknown(kind, key, allowed)


def positive_int(what: str, value: object) -> int:
    """`integer_in` from 1 on."""
    return integer_in(what, value, 1)


def checked_seed(seed: object) -> int:
    """A seed as an int; raises if it is not a non-negative integer."""
    return integer_in("`seed`", seed)


def integer_in(what: str, value: object, low: int = 0) -> int:
    """The value as an int.

    Args:
        what: What it is, for the message, such as ``"`epochs`"``.
        value: Any integer, also of numpy.
        low: Smallest allowed value, 0 or 1.

    Raises:
        InputError: If it is not an integer from `low` on.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or not low <= int(value) < 2**63:
        below = " below 2**63" if isinstance(value, Integral) and int(value) >= 2**63 else ""
        rule = f"{'positive' if low else 'non-negative'} integer{below}"
        raise InputError(f"{what} should be a {rule}. Received {value!r}.")
    return int(value)


def number_in(what: str, value: object, low: float = 0, high: float = inf, *, above_low: bool = False) -> float:
    """The value as a float.

    Args:
        what: What it is, for the message, such as ``"`lr` of grad_norm"``.
        value: Any real number, also of numpy.
        low: Smallest allowed value.
        high: Smallest value that is too high.
        above_low: Whether `low` itself is too low.

    Raises:
        InputError: If it is not a number in that range.
    """
    number = as_float(value)
    if not low <= number < high or (above_low and number == low):
        bounds = f"{'(' if above_low else '['}{low:g}, {high:g})"
        rule = f"number in {bounds}" if (low, high, above_low) != (0, inf, False) else "finite non-negative number"
        raise InputError(f"{what} should be a {rule}. Received {value!r}.")
    return number


def as_float(value: object) -> float:
    """The value as a float; NaN if it is no number, or too large for one."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    except OverflowError:
        return nan
