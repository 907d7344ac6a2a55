"""Which way to train is better on these data, and whether the difference is real."""

from nextrec_like.comparison.compare import Comparison, compare
from nextrec_like.comparison.results import Results, read_results

__all__ = ["Comparison", "Results", "compare", "read_results"]
