"""What a few seeds can tell: paired intervals, correction for many comparisons, and how many seeds it would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy import stats

LEVEL = 0.05
EFFECT = 0.001
EFFECT_METRICS = frozenset({"auc", "gauc", "pr_auc", "ece", "logloss"})
"""Metrics on whose scale an effect of 0.001 has a meaning; one in the unit of a label has no such number."""
POWER = 0.8
MOST_SEEDS = 1_000_000
COARSE = 1e-9
"""Relative range below which differences count as the same number, beside the rounding of float64."""


@dataclass(frozen=True)
class Paired:
    """Differences between two variants trained with the same seeds.

    Attributes:
        mean: Their mean; None without a difference.
        low: Lower end of the 95 % interval of the mean; None for fewer than two.
        high: Upper end.
        p_value: Two-sided, of the paired t test; None where the interval is.
        deviation: Standard deviation of the differences; None where the interval is.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    deviation: float | None = None


def paired(differences: Sequence[float]) -> Paired:
    """The paired t interval of the mean difference.

    Args:
        differences: One per seed.

    Returns:
        All None without a difference, the mean only for one. Differences that are all 0 give an interval without
        width and a p-value of 1. Those that are all the same elsewhere give the mean only: that is the coarseness of
        a metric on few rows, and no estimate of how much seeds differ.
    """
    if not differences:
        return Paired()
    mean, count = fmean(differences), len(differences)
    if count == 1:
        return Paired(mean)
    deviation = stdev(differences)
    if mean != 0 and max(differences) - min(differences) <= COARSE * abs(mean):
        return Paired(mean)
    half = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * deviation / sqrt(count)
    return Paired(mean, mean - half, mean + half, combined_p_value(differences, 0.0), deviation)


def combined_p_value(differences: Sequence[float], row_variance: float) -> float:
    """The p-value of the mean difference for new seeds and new test rows at once.

    Seeds and rows err independently of each other, so the variances add. That of the seeds is estimated, with one
    degree of freedom less than seeds; that of the rows comes from so many rows that it counts as known. The sum has the
    degrees of freedom of Welch and Satterthwaite. Welch, "The Generalization of Student's Problem when Several
    Different Population Variances are Involved", Biometrika 1947.

    Deviation: never less than the p-value of the seeds alone. A deviation that a few seeds make small by chance would
    otherwise get many degrees of freedom, and two seeds with no difference a verdict in one of eight comparisons.

    Args:
        differences: One per seed, at least two.
        row_variance: Variance of their mean over draws of the test rows; 0 gives the paired t test.

    Returns:
        Two-sided. Without any variance 1 at a mean of 0, and 0 elsewhere.
    """
    mean, count = fmean(differences), len(differences)
    seed_variance = stdev(differences) ** 2 / count
    error = sqrt(seed_variance + row_variance)
    if error == 0:
        return float(mean == 0)
    if seed_variance == 0:
        return float(2 * stats.norm.sf(abs(mean) / error))
    ratio = 1 + row_variance / seed_variance
    both = 2 * stats.t.sf(abs(mean) / error, (count - 1) * ratio * ratio)
    return float(max(both, 2 * stats.t.sf(abs(mean) / sqrt(seed_variance), count - 1)))


def interval_variance(low: float, high: float) -> float:
    """The variance of a figure that is normal around its true value, from its 95 % interval."""
    return float((high - low) / (2 * stats.norm.ppf(1 - LEVEL / 2))) ** 2


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected for their number: the chance of one false finding among them stays at the level.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.

    Args:
        p_values: None where there was no test; it does not count.

    Returns:
        At least the given values, at most 1, in the same order.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted


def seeds_needed(deviation: float, effect: float = EFFECT, power: float = POWER, level: float = LEVEL) -> int:
    """Seeds with which a paired t test would see a difference.

    The power is that of the noncentral t distribution, without the chance to see it on the wrong side. The test is not
    corrected for many comparisons.

    Args:
        deviation: Standard deviation of the difference over seeds.
        effect: The true mean difference, above 0.
        power: Probability to see it.
        level: Of the two-sided test.

    Returns:
        At least 2, the fewest for which there is a test, and at most a million.
    """
    enough = 2
    while enough < MOST_SEEDS and _power(enough, deviation, effect, level) < power:
        enough = min(2 * enough, MOST_SEEDS)
    too_few = max(1, enough // 2 - 1)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _power(middle, deviation, effect, level) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def wins_ties_losses(differences: Sequence[float], higher_is_better: bool) -> tuple[int, int, int]:
    """In how many seeds the variant is better, equal and worse.

    Args:
        differences: Variant minus reference, one per seed.
        higher_is_better: Direction of the metric.
    """
    above, below = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    ties = len(differences) - above - below
    return (above, ties, below) if higher_is_better else (below, ties, above)


def delta_m(values: Sequence[float], references: Sequence[float], higher_is_better: bool) -> float | None:
    """The multi-task gain of one seed: the mean relative improvement over the tasks, in per cent.

    Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, eq. 1. https://arxiv.org/abs/1904.08918

    Args:
        values: A metric of the variant for each task.
        references: That of the reference, in the same order.
        higher_is_better: Direction of the metric.

    Returns:
        Positive is better; None if a reference is 0, or there is no task.
    """
    if not values or 0 in references:
        return None
    sign = 100 if higher_is_better else -100
    return fmean(sign * (value - reference) / reference for value, reference in zip(values, references))


def _power(count: int, deviation: float, effect: float, level: float) -> float:
    if deviation == 0:
        return 1.0
    critical = stats.t.ppf(1 - level / 2, count - 1)
    return float(stats.nct.sf(critical, count - 1, effect / deviation * sqrt(count)))
