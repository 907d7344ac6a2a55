"""Exact metrics of one task: functions of label and prediction, and a registry to name them."""

from nextrec_like.metrics._checks import UndefinedMetricError
from nextrec_like.metrics.accumulate import MetricsAccumulator
from nextrec_like.metrics.auc import auc, expected_auc
from nextrec_like.metrics.bootstrap import gauc_difference_interval
from nextrec_like.metrics.calibration import ece, pcoc
from nextrec_like.metrics.delong import auc_difference_interval, auc_interval, placements
from nextrec_like.metrics.evaluate import TaskMetrics, check_metrics, compute_metrics
from nextrec_like.metrics.gauc import gauc, gauc_groups
from nextrec_like.metrics.interval import Interval
from nextrec_like.metrics.logloss import logloss
from nextrec_like.metrics.pr_auc import pr_auc
from nextrec_like.metrics.registry import METRICS, Metric
from nextrec_like.metrics.regression import mae, rmse

__all__ = [
    "METRICS",
    "Interval",
    "Metric",
    "MetricsAccumulator",
    "TaskMetrics",
    "UndefinedMetricError",
    "auc",
    "auc_difference_interval",
    "auc_interval",
    "check_metrics",
    "compute_metrics",
    "ece",
    "expected_auc",
    "gauc",
    "gauc_difference_interval",
    "gauc_groups",
    "logloss",
    "mae",
    "pcoc",
    "placements",
    "pr_auc",
    "rmse",
]
