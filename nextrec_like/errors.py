"""One error class for everything that a user can get wrong, and helpers to word it."""

from collections.abc import Iterable
from difflib import get_close_matches


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


def check_count(parameter: str, value: object) -> None:
    """Raises if a value is not a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"`{parameter}` should be a positive integer. Received {value!r}.")
