"""One error class for everything that a user can get wrong, and helpers to word it."""

from collections.abc import Iterable
from difflib import get_close_matches
from math import inf
from numbers import Integral, Real


class InputError(ValueError):
    """The data, the definitions or an argument break a rule; the message says which and how to fix it."""


class InputWarning(UserWarning):
    """Something legal that is rarely meant, such as a task without a positive label."""


def did_you_mean(name: object, options: Iterable[str]) -> str:
    """`` Did you mean `x`?``, with a leading space, or nothing if no option is close."""
    close = get_close_matches(str(name), list(options), n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""


def unknown(kind: str, name: object, options: Iterable[str]) -> InputError:
    """An error for a name that is not among the options: names it, the closest one, and all of them."""
    options = list(options)
    return InputError(
        f"Unknown {kind} `{name}`.{did_you_mean(name, options)} Known: {', '.join(map(str, options)) or 'none'}."
    )


def check_keys(kind: str, keys: Iterable[str], allowed: Iterable[str]) -> None:
    """Raises for the first key that is not allowed.

    Raises:
        InputError: Names the key, the closest allowed one, and all allowed ones.
    """
    allowed = list(allowed)
    for key in keys:
        if key not in allowed:
            raise unknown(kind, key, allowed)


def positive_int(what: str, value: object) -> int:
    """The value as an int.

    Args:
        what: What it is, for the message, such as ``"`epochs`"``.
        value: Any integer, also of numpy.

    Raises:
        InputError: If it is not a positive integer.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
        raise InputError(f"{what} should be a positive integer. Received {value!r}.")
    return int(value)


def checked_seed(seed: object) -> int:
    """The seed as an int; raises if it is not a non-negative integer."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= int(seed) < 2**63:
        raise InputError(f"`seed` should be a non-negative integer. Received {seed!r}.")
    return int(seed)


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
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= float(value) < high or (above_low and value == low):  # type: ignore[arg-type]
        raise InputError(
            f"{what} should be a number in {'(' if above_low else '['}{low:g}, {high:g}). Received {value!r}."
        )
    return float(value)  # type: ignore[arg-type]
