"""Optimizers and learning-rate schedules."""

from nextrec_like.optim.optimizers import OPTIMIZERS, build_optimizer, move_state
from nextrec_like.optim.schedules import SCHEDULERS, Schedule, build_schedule

__all__ = ["OPTIMIZERS", "SCHEDULERS", "Schedule", "build_optimizer", "build_schedule", "move_state"]
