"""What an audit of the data finds, and the table of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from nextrec_like.printable import printable

ADVICE = {  # in the order of the table: what makes a result wrong stands before what only wastes a column
    "label copy": "remove it, unless it is known before the label",
    "leak": "remove it, unless it is known before the label",
    "overlap": "split again, so that no row is in two parts",
    "new ids": "do not rely on it: its embeddings are untrained there",
    "drift": "see how the parts were split and encoded",
    "duplicate": "keep one of them",
    "constant": "remove it",
}
KINDS = list(ADVICE)
MAX_LINES = 20
MAX_NAME = 40
"""Characters of a name in the table."""


@dataclass(frozen=True)
class Finding:
    """One warning.

    Attributes:
        kind: ``label copy``, ``leak``, ``overlap``, ``new ids``, ``drift``, ``duplicate`` or ``constant``.
        about: Features, or the number of a vector, such as ``price`` or ``vector[3]``.
        task: Task that a leak is about, otherwise None.
        part: Part that is compared with the training rows, such as ``valid``, otherwise None.
        value: AUC or absolute rank correlation, share of rows, population stability index, or number of columns.
        found: The value in words.
    """

    kind: str
    about: str
    found: str
    value: float
    task: str | None = None
    part: str | None = None

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.kind]


def describe(findings: Sequence[Finding]) -> str:
    """The findings as one table, the gravest first; an empty text without findings."""
    if not findings:
        return ""
    ordered = sorted(findings, key=lambda finding: (KINDS.index(finding.kind), -finding.value))
    shown = ordered if len(ordered) <= MAX_LINES else ordered[: MAX_LINES - 1]
    cells = [("warning", "about", "task", "found", "advice"), *map(_cells, shown)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([*lines, f"and {len(ordered) - len(shown)} more"] if len(shown) < len(ordered) else lines)


def _cells(finding: Finding) -> tuple[str, ...]:
    about = _short(finding.about) if finding.part is None else f"{_short(finding.about)} in {_short(finding.part)}"
    return finding.kind, about, _short(finding.task or "-"), printable(finding.found), finding.advice


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= MAX_NAME else f"{shown[: MAX_NAME - 3]}..."
