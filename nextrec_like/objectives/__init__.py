"""What a logit means, and how wrong it is: one file per meaning."""

from nextrec_like.objectives.base import Objective, TaskLosses
from nextrec_like.objectives.build import build_losses, build_objective
from nextrec_like.objectives.click_space import ClickSpace
from nextrec_like.objectives.entire_space import EntireSpace
from nextrec_like.objectives.losses import BCE, MAE, MSE, Focal, Huber, Loss
from nextrec_like.objectives.marginal import Marginal

OBJECTIVES: dict[str, type[Objective]] = {
    "marginal": Marginal,
    "click_space": ClickSpace,
    "entire_space": EntireSpace,
}

LOSSES: dict[str, type[Loss]] = {"bce": BCE, "mse": MSE, "mae": MAE, "huber": Huber, "focal": Focal}

__all__ = [
    "BCE",
    "LOSSES",
    "MAE",
    "MSE",
    "OBJECTIVES",
    "ClickSpace",
    "EntireSpace",
    "Focal",
    "Huber",
    "Loss",
    "Marginal",
    "Objective",
    "TaskLosses",
    "build_losses",
    "build_objective",
]
