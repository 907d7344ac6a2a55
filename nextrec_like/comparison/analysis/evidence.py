"""What is known of a difference before there is a verdict."""

from dataclasses import dataclass

from nextrec_like.metrics import Interval


@dataclass(frozen=True)
class Evidence:
    """What is known of a difference, before it is seen beside others.

    Attributes:
        variant: Name of the variant.
        reference: Name of the variant that is subtracted.
        output: Name of the output.
        metric: Name of the metric.
        higher_is_better: Direction of the metric.
        differences: Variant minus reference, for each seed that both have.
        num_seeds: Seeds that were asked for.
        rows: The interval from the test rows for the same seeds; None if not available.
        rows_method: How it was found.
        reason: Why values are missing; None if none is.
    """

    variant: str
    reference: str
    output: str
    metric: str
    higher_is_better: bool
    differences: list[float]
    num_seeds: int
    rows: Interval | None = None
    rows_method: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Corrected:
    """P-values of a difference after Holm's correction.

    Attributes:
        both: Of the test for new seeds and new rows at once; None for fewer than two seeds.
        seeds: Of the p-value over seeds alone.
        comparisons: For how many comparisons they were corrected.
    """

    both: float | None
    seeds: float | None
    comparisons: int
