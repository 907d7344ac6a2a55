"""Runs: what ``nextrec-like train`` does, and finding it again."""

from nextrec_like.runs.describe import describe_data
from nextrec_like.runs.folder import PACKAGES, describe_run, open_run, saved_models
from nextrec_like.runs.history_writer import HistoryWriter
from nextrec_like.runs.results import Result, describe_results, summarize
from nextrec_like.runs.several import check_alike
from nextrec_like.runs.train import train

__all__ = [
    "PACKAGES",
    "HistoryWriter",
    "Result",
    "check_alike",
    "describe_data",
    "describe_results",
    "describe_run",
    "open_run",
    "saved_models",
    "summarize",
    "train",
]
