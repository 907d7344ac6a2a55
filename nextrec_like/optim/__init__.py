"""Optimizers, of whole parameters and of rows of embedding tables, and learning-rate schedules."""

from nextrec_like.optim.embedding import TableGradients, build_optimizers
from nextrec_like.optim.optimizers import OPTIMIZERS, build_optimizer, move_state
from nextrec_like.optim.row_optimizers import ROW_OPTIMIZERS, RowOptimizer
from nextrec_like.optim.schedules import SCHEDULERS, Schedule, build_schedule
from nextrec_like.optim.tables import RowGradient, Table, TableRows

__all__ = [
    "OPTIMIZERS",
    "ROW_OPTIMIZERS",
    "SCHEDULERS",
    "RowGradient",
    "RowOptimizer",
    "Schedule",
    "Table",
    "TableGradients",
    "TableRows",
    "build_optimizer",
    "build_optimizers",
    "build_schedule",
    "move_state",
]
