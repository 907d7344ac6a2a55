"""The plots of the report, one file per kind of evidence."""

from nextrec_like.comparison.report.content import Content
from nextrec_like.comparison.report.sections.base import Entry, Picture, Section
from nextrec_like.comparison.report.sections.calibration import calibration
from nextrec_like.comparison.report.sections.cost import MEASURES, Cost, cost, costs
from nextrec_like.comparison.report.sections.differences import differences
from nextrec_like.comparison.report.sections.epochs import epochs
from nextrec_like.comparison.report.sections.gates import gates
from nextrec_like.comparison.report.sections.steps import steps
from nextrec_like.comparison.report.sections.tradeoff import tradeoff
from nextrec_like.comparison.report.svg import drawing


def all_sections(content: Content) -> list[Section]:
    """The sections in the order of the page."""
    with drawing():
        return [
            differences(content),
            tradeoff(content),
            *steps(content),
            *epochs(content),
            calibration(content),
            gates(content),
            cost(content),
        ]


__all__ = ["MEASURES", "Cost", "Entry", "Picture", "Section", "all_sections", "costs"]
