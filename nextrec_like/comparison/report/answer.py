"""The answer first: what is better and what is worse, in a few sentences per output."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_high

from nextrec_like.comparison.analysis.statistics import EFFECT, LEVEL
from nextrec_like.comparison.report.content import Content
from nextrec_like.comparison.report.wording import estimate, names, number
from nextrec_like.comparison.results import Difference, Estimate, Output


@dataclass(frozen=True)
class Sentence:
    """A sentence of the answer.

    Args:
        tone: ``better``, ``worse``, ``uncertain``, ``none`` or ``undefined``, for its colour.
        head: Its first words, which say the verdict.
        text: The rest.
    """

    tone: str
    head: str
    text: str


@dataclass(frozen=True)
class Answer:
    """The answer for one output.

    Args:
        title: Output and metric.
        sentences: One per reference.
        remarks: Best value, floors.
    """

    title: str
    sentences: list[Sentence]
    remarks: list[str]


def answers(content: Content) -> list[Answer]:
    """The answer for each output; outputs that could not be judged say why."""
    found = []
    for output in content.results.outputs:
        metric = content.main_metrics.get(output.name)
        if metric is None:
            found.append(Answer(output.name, [_not_judged(content, output)], []))
            continue
        groups = [(reference, content.differences(reference, output.name, metric)) for reference in content.references]
        sentences = [_against(content, reference, group) for reference, group in groups if group]
        title = f"{output.name} ({metric})"
        found.append(Answer(title, sentences, [*_best(content, output, metric), *_floors(content, output, metric)]))
    return found


def _not_judged(content: Content, output: Output) -> Sentence:
    reasons = [each.reason for each in content.results.estimates if each.output == output.name and each.reason]
    return Sentence(
        "undefined",
        "Not judged.",
        reasons[0] if reasons else "No metric with a direction has a value on the test rows.",
    )


def _against(content: Content, reference: str, group: Sequence[Difference]) -> Sentence:
    by_verdict = {
        verdict: [each for each in group if each.verdict == verdict]
        for verdict in ("better", "worse", "uncertain", "none", "undefined")
    }
    better = by_verdict["better"]
    if len(by_verdict["undefined"]) == len(group):
        return Sentence("undefined", f"Against {reference}: no verdict.", _why_undefined(content, group))
    count = f"{len(better)} of {len(group)} {'are' if len(better) != 1 else 'is'} better"
    head = f"{count} than {reference}: {_with_values(better)}." if better else f"Nothing beats {reference}."
    parts = []
    if by_verdict["worse"]:
        parts.append(f"Worse: {_with_values(by_verdict['worse'])}.")
    if by_verdict["uncertain"]:
        parts.append(f"Differ over seeds, but the test rows are too few: {_with_values(by_verdict['uncertain'])}.")
    removed = [each for each in by_verdict["none"] if each.p_value is not None and each.p_value < LEVEL]
    unseen = [each for each in by_verdict["none"] if each not in removed]
    if removed:
        tested = sum(each.p_value is not None for each in group)
        parts.append(f"Not beyond chance once corrected for {tested} comparisons: {_with_values(removed)}.")
    if unseen:
        parts.append(f"No difference seen: {names([each.variant for each in unseen])}.")
        parts.append(_seeds(content, unseen))
    if by_verdict["undefined"]:
        parts.append(f"No verdict: {names([each.variant for each in by_verdict['undefined']])}.")
    tone = "better" if better else "worse" if len(by_verdict["worse"]) == len(group) else "none"
    return Sentence(tone, head, " ".join(part for part in parts if part))


def _why_undefined(content: Content, group: Sequence[Difference]) -> str:
    if len(content.results.seeds) == 1:
        return (
            f"With one seed no interval over seeds can be given. Seen: {_with_values(_sorted(content, group))}. "
            "Give at least three seeds to learn whether that is more than chance."
        )
    return group[0].sentence


def _with_values(group: Sequence[Difference]) -> str:
    return names([f"{each.variant} ({number(each.mean, True)})" for each in group])


def _sorted(content: Content, group: Sequence[Difference]) -> list[Difference]:
    sign = -1 if content.directions[group[0].metric] else 1
    return sorted((each for each in group if each.mean is not None), key=lambda each: sign * (each.mean or 0.0))


def _seeds(content: Content, group: Sequence[Difference]) -> str:
    """What a usual variant would need, and the one that needs by far the most."""
    needed = {each.variant: each.seeds_needed for each in group if each.seeds_needed is not None}
    if not needed:
        return ""
    usual, largest = median_high(needed.values()), max(needed, key=needed.__getitem__)
    outlier = f" ({largest}: {needed[largest]:,})" if needed[largest] > 2 * usual else ""
    seeds = len(content.results.seeds)
    return (
        f"A paired test of one variant would need about {usual:,} seeds to see {EFFECT:g}{outlier}; these are {seeds}."
    )


def _best(content: Content, output: Output, metric: str) -> list[str]:
    found = [each for variant in content.variants if (each := content.main_estimate(variant.name, output.name))]
    known = [each for each in found if each.mean is not None]
    if not known:
        return []
    higher = bool(content.directions[metric])
    best = (max if higher else min)(known, key=lambda each: each.mean or 0.0)
    bases = [each for each in known if content.roles[each.variant] in ("equal", "tuned_fixed") and each is not best]
    rest = "; ".join(_value(each) for each in bases[:3])
    return [f"{'Highest' if higher else 'Lowest'} mean: {_value(best)}{'; ' + rest if rest else ''}."]


def _value(each: Estimate) -> str:
    return f"{each.variant} {estimate(each.mean, each.deviation)}"


def _floors(content: Content, output: Output, metric: str) -> list[str]:
    remarks = []
    for floor in content.results.floors:
        value = floor["values"].get(output.name)
        if value is None or floor["metric"] != metric:
            continue
        below = [
            each.variant
            for variant in content.variants
            if (each := content.main_estimate(variant.name, output.name))
            and each.mean is not None
            and (each.mean < value) == bool(content.directions[metric])
            and each.mean != value
        ]
        rest = f"; not better than it: {names(below)}" if below else ""
        remarks.append(f"Floor, {floor['name']}: {number(value)}{rest}.")
    return remarks
