"""What finished runs say: means, paired differences with verdicts in words, and multi-task gains."""

from nextrec_like.comparison.analysis.analyse import analyse

__all__ = ["analyse"]
