"""Trainings of a comparison: each once, in processes that may die."""

from nextrec_like.comparison.running.pool import Pool
from nextrec_like.comparison.running.runner import Request, Runner
from nextrec_like.comparison.running.together import Together

__all__ = ["Pool", "Request", "Runner", "Together"]
