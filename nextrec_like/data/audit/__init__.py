"""Warnings about the data before training: leaks, overlap and drift of the parts, columns that say nothing."""

from collections.abc import Collection, Mapping

from nextrec_like.data.audit.columns import columns_of
from nextrec_like.data.audit.drift import find_drift
from nextrec_like.data.audit.findings import Finding, describe
from nextrec_like.data.audit.leaks import find_leaks
from nextrec_like.data.audit.overlap import find_overlap
from nextrec_like.data.audit.parts import Part
from nextrec_like.data.audit.sameness import find_constants, find_duplicates
from nextrec_like.data.audit.targets import FEWEST
from nextrec_like.data.source import Rows
from nextrec_like.errors import within
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

__all__ = ["Finding", "audit", "describe"]


def audit(
    features: FeatureSet, tasks: TaskSet, train: Rows, others: Mapping[str, Rows], unknown: Collection[str] = ()
) -> list[Finding]:
    """Looks for what makes results wrong or columns useless, in at most 100,000 rows of each part.

    Args:
        features: What the rows hold.
        tasks: Whose labels they hold.
        train: Training rows; without labels leaks are not looked for.
        others: Rows to compare with them by the name of the part, such as ``valid``; labels are not needed.
        unknown: Features whose id 1 stands for unknown values: those of a `DataProcessor`.

    Returns:
        What was found; `describe` makes a table of it. Nothing for parts with fewer than 20 rows.
    """
    if len(train) < FEWEST:
        return []
    columns, known = columns_of(features), Part.of("train", train)
    findings = [
        *find_leaks(known.sample, columns, tasks),
        *find_constants(known, columns),
        *find_duplicates(known, columns),
    ]
    for name, rows in others.items():
        if len(rows) >= FEWEST:
            with within(f"In the {'validation' if name == 'valid' else name} data: "):
                other = Part.of(name, rows)
            findings += [*find_overlap(known, other), *find_drift(known, other, columns, unknown)]
    return findings
