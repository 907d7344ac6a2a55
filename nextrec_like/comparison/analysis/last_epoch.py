"""Whether the trainings were long enough for what they are compared by."""

from collections.abc import Sequence

from nextrec_like.comparison.results import RunRecord

SHARE = 0.1
"""Up to this share of the runs may be best at their end."""


def best_in_last_epoch(runs: Sequence[RunRecord]) -> tuple[int, int]:
    """How many finished runs were best in the last epoch that they trained, and how many are known at all.

    Variants that have the same runs count once.
    """
    finished = {run.folder: run for run in runs if run.folder is not None and run.reason is None}
    known = [run for run in finished.values() if run.best_epoch is not None and run.epochs is not None]
    return sum(run.best_epoch == run.epochs for run in known), len(known)


def too_short(runs: Sequence[RunRecord]) -> list[str]:
    """A sentence if more than a tenth of the runs might have gone on to improve; otherwise empty."""
    at_end, count = best_in_last_epoch(runs)
    if at_end <= SHARE * count:
        return []
    return [
        f"{at_end} of {count} runs were best in their last epoch: with more epochs the order may change; raise "
        "`training.epochs`."
    ]
