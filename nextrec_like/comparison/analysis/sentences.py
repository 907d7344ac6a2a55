"""Verdicts in words, for someone who was not there."""

from collections.abc import Callable, Mapping
from math import floor, log10

from nextrec_like.comparison.analysis.evidence import Corrected, Evidence
from nextrec_like.comparison.analysis.statistics import EFFECT, LEVEL, Paired
from nextrec_like.comparison.results import Verdict
from nextrec_like.metrics import Interval

FEWEST = 5
"""Decimals, as in the tables of the report."""


def sentence(
    verdict: Verdict, evidence: Evidence, figure: Paired, corrected: Corrected, seeds_needed: int | None
) -> str:
    """The verdict in a sentence, without a full stop.

    Args:
        verdict: In one word.
        evidence: What is known of the difference.
        figure: Its interval over seeds.
        corrected: P-values after correction.
        seeds_needed: Seeds with which a difference of 0.001 would be seen; None for fewer than two seeds, and for
            metrics on whose scale 0.001 has no meaning.
    """
    if verdict == "none":
        return _no_difference(evidence, figure, corrected, seeds_needed)
    return _SENTENCES[verdict](evidence, figure)


def _undefined(evidence: Evidence, figure: Paired) -> str:
    if figure.mean is None:
        return f"not defined: {evidence.reason}"
    only = "one seed" if evidence.num_seeds == 1 else f"one seed with both values, of {evidence.num_seeds},"
    if len(evidence.differences) > 1:
        only = f"the same difference with {_seeds(evidence)}"
    rows = f"; the test rows alone leave {_interval(evidence.rows)}" if evidence.rows else ""
    return f"{only} gives no interval: {_value(figure.mean)} with it{rows}"


def _better(evidence: Evidence, figure: Paired) -> str:
    return f"better: {_figures(evidence, figure)}{_unknown_rows(evidence)}"


def _worse(evidence: Evidence, figure: Paired) -> str:
    return f"worse: {_figures(evidence, figure)}{_unknown_rows(evidence)}"


def _uncertain(evidence: Evidence, figure: Paired) -> str:
    word = "better" if (_known(figure.mean) > 0) == evidence.higher_is_better else "worse"
    rows = f" (interval of the rows {_interval(evidence.rows)})" if evidence.rows else ""
    return f"{word} on these test rows ({_figures(evidence, figure)}), but they are too few to say so of new rows{rows}"


_SENTENCES: Mapping[Verdict, Callable[[Evidence, Paired], str]] = {
    "better": _better,
    "worse": _worse,
    "uncertain": _uncertain,
    "undefined": _undefined,
}


def _no_difference(evidence: Evidence, figure: Paired, corrected: Corrected, seeds_needed: int | None) -> str:
    seeds, rows = _seeds(evidence), evidence.rows
    if not any(evidence.differences):
        return f"the same values with {seeds}"
    figures = _figures(evidence, figure)
    if _known(figure.p_value) < LEVEL:
        return f"no difference left after correction for {corrected.comparisons} comparisons: {figures}"
    if seeds_needed is None:
        return f"no difference seen: {figures}"
    if _is_small(_known(figure.low), _known(figure.high)):
        here = "" if rows and _is_small(rows.low, rows.high) else " on these test rows"
        return f"no difference seen with {seeds}; one of {EFFECT:g} or more is unlikely{here}"
    if seeds_needed > len(evidence.differences):
        more_rows = " and more test rows" if rows and rows.high - rows.low > 2 * EFFECT else ""
        return f"no difference seen with {seeds}; about {seeds_needed:,}{more_rows} would be needed to see {EFFECT:g}"
    return f"no difference seen: {figures}"


def _is_small(low: float, high: float) -> bool:
    return low > -EFFECT and high < EFFECT


def _figures(evidence: Evidence, figure: Paired) -> str:
    low, high = _known(figure.low), _known(figure.high)
    decimals = _decimals(high - low)
    return f"{_value(_known(figure.mean), decimals)} {_span(low, high)} over {_seeds(evidence)}"


def _unknown_rows(evidence: Evidence) -> str:
    return "" if evidence.rows else "; how far the test rows bear it is not known"


def _seeds(evidence: Evidence) -> str:
    used = len(evidence.differences)
    return f"{used} seeds" if used == evidence.num_seeds else f"{used} of {evidence.num_seeds} seeds"


def _interval(rows: Interval) -> str:
    return _span(rows.low, rows.high)


def _span(low: float, high: float) -> str:
    decimals = _decimals(high - low)
    return f"[{_value(low, decimals)}, {_value(high, decimals)}]"


def _value(value: float, decimals: int = FEWEST) -> str:
    rounded = round(value, decimals) + 0.0  # adding 0 makes a negative zero positive
    return f"{rounded:+,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _decimals(width: float) -> int:
    """As many as show two digits of the width of an interval, from those of the tables to 8."""
    return FEWEST if width <= 0 else min(max(FEWEST, 1 - floor(log10(width))), 8)


def _known(value: float | None) -> float:
    assert value is not None, "a verdict on two seeds or more has all figures"
    return value
