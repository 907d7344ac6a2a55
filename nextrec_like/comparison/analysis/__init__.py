"""What finished runs say: means, paired differences with verdicts in words, and multi-task gains."""

from nextrec_like.comparison.analysis.analyse import analyse
from nextrec_like.comparison.analysis.last_epoch import best_in_last_epoch, too_short

__all__ = ["analyse", "best_in_last_epoch", "too_short"]
