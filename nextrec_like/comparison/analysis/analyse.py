"""What the runs of a comparison say: means, paired differences with verdicts, and multi-task gains."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import isfinite

from nextrec_like.comparison.analysis.evidence import Evidence
from nextrec_like.comparison.analysis.row_intervals import Found, Pair, RowIntervals
from nextrec_like.comparison.analysis.scores import Scores
from nextrec_like.comparison.analysis.statistics import delta_m, paired
from nextrec_like.comparison.analysis.verdict import judge
from nextrec_like.comparison.results import (
    Difference,
    Estimate,
    Gain,
    MetricRecord,
    Output,
    RunRecord,
    VariantRecord,
)
from nextrec_like.comparison.store import Store


def analyse(
    variants: Sequence[VariantRecord],
    runs: Sequence[RunRecord],
    outputs: Sequence[Output],
    metrics: Sequence[MetricRecord],
    seeds: Sequence[int],
    store: Store,
    jobs: int = 1,
) -> tuple[list[Estimate], list[Difference], list[Gain]]:
    """Compares the variants by their runs on the test rows.

    Args:
        variants: What is compared, and with what.
        runs: A record for each variant and seed.
        outputs: What is judged.
        metrics: By which metrics; those without a direction have means only.
        seeds: With which seeds.
        store: The folder of the comparison.
        jobs: Number of threads.

    Returns:
        Means over seeds, paired differences to each variant's references, and gains against SingleTask.

    Raises:
        InputError: If a file of a finished run is missing or damaged.
    """
    scores = Scores(variants, runs, seeds, store)
    estimates = [
        scores.estimate(variant.name, output.name, metric.name)
        for output in outputs
        for metric in metrics
        if scores.is_judged(output.name, metric.name)
        for variant in variants
    ]
    directed = [metric for metric in metrics if metric.higher_is_better is not None]
    with ThreadPoolExecutor(jobs) as threads:
        intervals = RowIntervals(scores, store, threads)
        differences = [
            difference
            for output in outputs
            for difference in compare_output(output.name, directed, variants, scores, intervals)
        ]
    return estimates, differences, list(gains(outputs, directed, variants, scores))


def compare_output(
    output: str,
    metrics: Sequence[MetricRecord],
    variants: Sequence[VariantRecord],
    scores: Scores,
    intervals: RowIntervals,
) -> Iterator[Difference]:
    """The differences in an output.

    Variants with the same runs count once in the correction for many comparisons.
    """
    judged = [metric for metric in metrics if scores.is_judged(output, metric.name)]
    wanted = [(variant.name, reference) for variant in variants for reference in variant.references]
    same = {pair: (scores.runs_of(pair[0]), scores.runs_of(pair[1])) for pair in wanted}
    distinct = [pair for pair in dict.fromkeys(same.values()) if pair[0] != pair[1]]
    rows = intervals.of_output(output, [metric.name for metric in judged], distinct)
    for metric in judged:
        known = _judged_pairs([_evidence(scores, pair, output, metric, rows) for pair in distinct])
        for pair in wanted:
            yield _renamed(known[same[pair]], pair) if same[pair] in known else _nothing(scores, pair, output, metric)


def gains(
    outputs: Sequence[Output], metrics: Sequence[MetricRecord], variants: Sequence[VariantRecord], scores: Scores
) -> Iterator[Gain]:
    """The multi-task gain of each variant against SingleTask, over the tasks that a metric applies to."""
    references = [variant.name for variant in variants if variant.role == "single_task"]
    for metric in metrics:
        tasks = [each.name for each in outputs if each.name == each.task and scores.is_judged(each.name, metric.name)]
        for reference in references:
            for variant in variants:
                if tasks and variant.name != reference:
                    yield _gain((variant.name, reference), metric, tasks, scores)


def _evidence(scores: Scores, pair: Pair, output: str, metric: MetricRecord, rows: Found) -> Evidence:
    mine, theirs = (scores.values(name, output, metric.name) for name in pair)
    seeds = tuple(seed for seed in scores.seeds if seed in mine and seed in theirs)
    interval, method, of_seeds = rows.get((pair, metric.name), (None, None, ()))
    is_usable = of_seeds == seeds and interval is not None and isfinite(interval.low + interval.high)
    return Evidence(
        *pair,
        output=output,
        metric=metric.name,
        higher_is_better=bool(metric.higher_is_better),
        differences=[mine[seed] - theirs[seed] for seed in seeds],
        num_seeds=len(scores.seeds),
        rows=interval if is_usable else None,
        rows_method=method if is_usable else None,
        reason=_reason(scores, pair, output, metric),
    )


def _reason(scores: Scores, pair: Pair, output: str, metric: MetricRecord) -> str | None:
    """Why values of either are missing: said once where it is the same for both, as with a single class."""
    mine, theirs = (scores.reason(name, output, metric.name) for name in pair)
    if mine == theirs:
        return mine
    return "; ".join(f"`{name}`: {reason}" for name, reason in zip(pair, (mine, theirs)) if reason is not None)


def _judged_pairs(evidence: Sequence[Evidence]) -> dict[Pair, Difference]:
    """Verdicts by pair; each reference has a family of its own."""
    families: dict[str, list[Evidence]] = defaultdict(list)
    for each in evidence:
        families[each.reference].append(each)
    return {(each.variant, each.reference): each for family in families.values() for each in judge(family)}


def _renamed(difference: Difference, pair: Pair) -> Difference:
    """The difference under the names of variants that have the same runs."""
    if pair == (difference.variant, difference.reference):
        return difference
    names = zip(pair, (difference.variant, difference.reference))
    said = ", ".join(f"`{name}` has the runs of `{own}`" for name, own in names if name != own)
    return replace(difference, variant=pair[0], reference=pair[1], sentence=f"{difference.sentence} ({said})")


def _nothing(scores: Scores, pair: Pair, output: str, metric: MetricRecord) -> Difference:
    """The difference of a variant to one that has the same runs."""
    difference = judge([_evidence(scores, pair, output, metric, {})])[0]
    if difference.mean is None:
        return difference
    return replace(difference, verdict="none", sentence=f"the same runs as `{pair[1]}`", adjusted_p=None)


def _gain(pair: Pair, metric: MetricRecord, tasks: Sequence[str], scores: Scores) -> Gain:
    by_seed = [_seed_gain(scores, pair, seed, metric, tasks) for seed in scores.seeds]
    figure = paired([gain for gain in by_seed if gain is not None])
    return Gain(*pair, metric=metric.name, mean=figure.mean, low=figure.low, high=figure.high)


def _seed_gain(scores: Scores, pair: Pair, seed: int, metric: MetricRecord, tasks: Sequence[str]) -> float | None:
    mine, theirs = ([scores.value(name, seed, task, metric.name) for task in tasks] for name in pair)
    known, references = ([value for value in values if value is not None] for values in (mine, theirs))
    if len(known) < len(tasks) or len(references) < len(tasks):
        return None
    return delta_m(known, references, bool(metric.higher_is_better))
