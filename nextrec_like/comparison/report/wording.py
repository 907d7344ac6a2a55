"""Numbers as people read them."""

from collections.abc import Sequence
from unicodedata import east_asian_width

MISSING, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
NAMED = 4
"""So many names are listed before "and 3 more"."""

VERDICT = (
    "Better and worse: one test with both uncertainties, that of the seeds and, where it is known, that of the test "
    "rows, after Holm's correction over all variants with the same reference."
)
GAIN = (
    "Mean, over the tasks that the metric applies to, of the change relative to the single-task models, in per cent; "
    "positive is better. A dash: in no seed all of these tasks have a value for both."
)

VERDICTS = {
    "better": "better",
    "worse": "worse",
    "uncertain": "uncertain",
    "none": "none seen",
    "undefined": "no verdict",
}


def number(value: float | None, signed: bool = False) -> str:
    """A metric or a difference: five decimals for the size of an AUC, fewer for large numbers."""
    if value is None:
        return MISSING
    digits = 5 if abs(value) < 10 else 3 if abs(value) < 1000 else 1
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None) -> str:
    """``[+0.00012, +0.00201]``, or a dash."""
    return MISSING if low is None or high is None else f"[{number(low, True)}, {number(high, True)}]"


def estimate(mean: float | None, deviation: float | None) -> str:
    """``0.83412 ± 0.00041``; without the second part for a single seed."""
    return number(mean) if mean is None or deviation is None else f"{number(mean)} ± {number(deviation)}"


def p_value(value: float | None) -> str:
    """Three decimals; ``<0.001`` below that."""
    return MISSING if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A signed per cent."""
    return MISSING if value is None else f"{value:+.2f} %".replace("-", MINUS)


def seconds(value: float | None) -> str:
    """Seconds with three digits."""
    return MISSING if value is None else f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def megabytes(value: float | None) -> str:
    """Bytes as megabytes of 10^6."""
    return MISSING if value is None else f"{value / 1e6:,.0f} MB"


def ratio(value: float | None) -> str:
    """``1.25 x``."""
    return MISSING if value is None else f"{value:.2f} {TIMES}"


def best_epoch(best: int | None, epochs: int | None) -> str:
    """``2 of 3``; without validation rows only the number of epochs is known."""
    return MISSING if epochs is None else f"{best} of {epochs}" if best is not None else str(epochs)


def plain(value: object) -> str:
    """A fact of the provenance: five digits of a fraction, the items of a list."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return f"{value:.5g}" if isinstance(value, float) else MISSING if value is None else str(value)


def names(texts: Sequence[str]) -> str:
    """A list that stays one line: the first ones, and how many more."""
    more = len(texts) - NAMED
    return ", ".join(texts) if more <= 1 else f"{', '.join(texts[:NAMED])} and {more} more"


def short(text: str, width: int) -> str:
    """A name on one line in at most `width` columns, with an ellipsis where it is cut; control characters are blanks.

    East Asian wide characters take two columns.
    """
    clean = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    widths = [2 if east_asian_width(letter) in "WF" else 1 for letter in clean]
    if sum(widths) <= width:
        return clean
    kept = next(i for i in range(len(clean) + 1) if sum(widths[: i + 1]) > width - 1)
    return clean[:kept] + "…"
