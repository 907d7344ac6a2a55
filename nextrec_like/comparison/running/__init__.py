"""Trainings of a comparison: each once, in processes that may die."""

from nextrec_like.comparison.running.pool import Pool
from nextrec_like.comparison.running.runner import Request, Runner

__all__ = ["Pool", "Request", "Runner"]
