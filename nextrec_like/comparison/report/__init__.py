"""The report of a comparison: one HTML page and its Markdown twin."""

from nextrec_like.comparison.report.page import write_report

__all__ = ["write_report"]
