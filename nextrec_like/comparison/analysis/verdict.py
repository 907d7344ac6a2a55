"""Verdicts on differences: each is seen beside all others to the same reference."""

from collections.abc import Sequence

from nextrec_like.comparison.analysis.evidence import Corrected, Evidence
from nextrec_like.comparison.analysis.sentences import sentence
from nextrec_like.comparison.analysis.statistics import (
    EFFECT_METRICS,
    LEVEL,
    Paired,
    combined_p_value,
    holm,
    interval_variance,
    paired,
    seeds_needed,
    wins_ties_losses,
)
from nextrec_like.comparison.results import Difference, Verdict


def judge(family: Sequence[Evidence]) -> list[Difference]:
    """The verdicts on the differences to one reference in one metric of one output, corrected for their number."""
    figures = [paired(each.differences) for each in family]
    both = holm([_combined(figure, each) for figure, each in zip(figures, family)])
    seeds = holm([figure.p_value for figure in figures])
    comparisons = sum(figure.p_value is not None for figure in figures)
    return [
        _difference(each, figure, Corrected(p_both, p_seeds, comparisons))
        for each, figure, p_both, p_seeds in zip(family, figures, both, seeds)
    ]


def _combined(figure: Paired, evidence: Evidence) -> float | None:
    if figure.p_value is None:
        return None
    rows = evidence.rows
    return combined_p_value(evidence.differences, interval_variance(rows.low, rows.high) if rows else 0.0)


def _difference(evidence: Evidence, figure: Paired, corrected: Corrected) -> Difference:
    wins, ties, losses = wins_ties_losses(evidence.differences, evidence.higher_is_better)
    rows = evidence.rows
    deviation = figure.deviation if evidence.metric in EFFECT_METRICS else None
    needed = None if deviation is None else seeds_needed(deviation)
    verdict = _verdict(evidence, figure, corrected)
    return Difference(
        variant=evidence.variant,
        reference=evidence.reference,
        output=evidence.output,
        metric=evidence.metric,
        mean=figure.mean,
        low=figure.low,
        high=figure.high,
        p_value=figure.p_value,
        adjusted_p=corrected.both,
        wins=wins,
        ties=ties,
        losses=losses,
        rows_low=rows.low if rows else None,
        rows_high=rows.high if rows else None,
        rows_p_value=rows.p_value if rows else None,
        rows_method=evidence.rows_method if rows else None,
        seeds_needed=needed,
        verdict=verdict,
        sentence=sentence(verdict, evidence, figure, corrected, needed),
    )


def _verdict(evidence: Evidence, figure: Paired, corrected: Corrected) -> Verdict:
    if figure.mean is None or corrected.both is None or corrected.seeds is None:
        return "undefined"
    if corrected.both < LEVEL:
        return "better" if (figure.mean > 0) == evidence.higher_is_better else "worse"
    return "uncertain" if corrected.seeds < LEVEL else "none"
