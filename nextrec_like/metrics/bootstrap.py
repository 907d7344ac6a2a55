"""How much of a difference of two GAUCs is owed to the groups that happen to be in the sample."""

import numpy as np
import numpy.typing as npt

from nextrec_like.errors import InputError
from nextrec_like.metrics._checks import FloatArray, UndefinedMetricError, binary_and_score, check_lengths
from nextrec_like.metrics.gauc import aucs_of_groups
from nextrec_like.metrics.groups import group_codes
from nextrec_like.metrics.interval import Interval, normal_p_value


def gauc_difference_interval(
    label: npt.ArrayLike,
    score: npt.ArrayLike,
    other: npt.ArrayLike,
    group: npt.ArrayLike,
    generator: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """The GAUC of a score minus that of another score of the same rows, with its 95 % interval by a group bootstrap.

    Args:
        label: 0 or 1, shape ``(N,)``.
        score: Any increasing function of the probability, shape ``(N,)``.
        other: The other score, shape ``(N,)``.
        group: Group of each row, usually the user, as integers or strings, shape ``(N,)``.
        generator: Draws the groups.
        resamples: How many times.

    Returns:
        The interval of the difference, and the p-value against none; see `group_interval`.

    Raises:
        InputError: If fewer than two groups have both classes, or a column breaks a rule.
    """
    positive, scores = binary_and_score(label, score)
    _, others = binary_and_score(label, other)
    codes = group_codes(group)
    check_lengths({"label": positive, "score": scores, "other": others, "group": codes})
    aucs, rows = aucs_of_groups(codes, positive, scores)  # (G,) each
    return group_interval(aucs - aucs_of_groups(codes, positive, others)[0], rows, generator, resamples)


def group_interval(
    values: npt.ArrayLike, weights: npt.ArrayLike, generator: np.random.Generator, resamples: int = 2000
) -> Interval:
    """The interval of a weighted mean over groups: whole groups are drawn again, with replacement.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979. With fewer than some 30
    groups it is too narrow.

    Args:
        values: A figure of each group, such as the difference of its AUCs, shape ``(G,)``.
        weights: Weight of each group, shape ``(G,)``.
        generator: Draws the groups.
        resamples: How many times.

    Returns:
        The mean, and the 2.5 % and 97.5 % quantiles of the drawn means. The p-value is that of a normal distribution
        with the deviation of the drawn means: counting them could give none below ``1 / resamples``, too coarse to
        be corrected for many comparisons.

    Raises:
        InputError: For fewer than two groups or resamples.
    """
    weight = np.asarray(weights, dtype=np.float64)
    columns = np.stack([np.asarray(values, dtype=np.float64) * weight, weight])  # (2, G)
    num_groups = columns.shape[1]
    if num_groups < 2:
        raise UndefinedMetricError(f"The group bootstrap needs two groups with both classes: there are {num_groups}.")
    if resamples < 2:
        raise InputError(f"`resamples` should be at least 2, better 2000. Received {resamples}.")
    sums = np.array([_drawn(columns, generator) for _ in range(resamples)])  # (R, 2)
    means = sums[:, 0] / sums[:, 1]
    value = columns[0].sum() / columns[1].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(value), float(low), float(high), normal_p_value(float(value), float(means.std(ddof=1))))


def _drawn(columns: FloatArray, generator: np.random.Generator) -> FloatArray:
    num_groups = columns.shape[1]
    times = np.bincount(generator.integers(0, num_groups, num_groups), minlength=num_groups)
    return columns @ times
