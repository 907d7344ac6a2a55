"""Verdicts on differences: each is seen beside all others to the same reference."""

from collections.abc import Sequence

from nextrec_like.comparison.analysis.evidence import Corrected, Evidence
from nextrec_like.comparison.analysis.sentences import sentence
from nextrec_like.comparison.analysis.statistics import LEVEL, Paired, holm, paired, seeds_needed, wins_ties_losses
from nextrec_like.comparison.results import Difference, Verdict
from nextrec_like.metrics import Interval


def judge(family: Sequence[Evidence]) -> list[Difference]:
    """The verdicts on the differences to one reference in one metric of one output, corrected for their number."""
    figures = [paired(each.differences) for each in family]
    both = holm([_larger(figure.p_value, each.rows) for figure, each in zip(figures, family)])
    seeds = holm([figure.p_value for figure in figures])
    comparisons = sum(figure.p_value is not None for figure in figures)
    return [
        _difference(each, figure, Corrected(p_both, p_seeds, comparisons))
        for each, figure, p_both, p_seeds in zip(family, figures, both, seeds)
    ]


def _larger(p_value: float | None, rows: Interval | None) -> float | None:
    return p_value if p_value is None or rows is None else max(p_value, rows.p_value)


def _difference(evidence: Evidence, figure: Paired, corrected: Corrected) -> Difference:
    wins, ties, losses = wins_ties_losses(evidence.differences, evidence.higher_is_better)
    rows = evidence.rows
    needed = None if figure.deviation is None else seeds_needed(figure.deviation)
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
