"""How T losses become one gradient: one file per method."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nextrec_like.weighting.adatask import AdaTask
from nextrec_like.weighting.aligned_mtl import AlignedMTL
from nextrec_like.weighting.balancer import Balancer
from nextrec_like.weighting.base import LabelStatistics, TaskStats, Weighting
from nextrec_like.weighting.build import WeightingSpec, build_weighting
from nextrec_like.weighting.cagrad import CAGrad
from nextrec_like.weighting.config import ConFIG
from nextrec_like.weighting.db_mtl import DBMTL
from nextrec_like.weighting.dualproj import DualProj
from nextrec_like.weighting.dwa import DWA
from nextrec_like.weighting.equal import Equal
from nextrec_like.weighting.excess_mtl import ExcessMTL
from nextrec_like.weighting.fairgrad import FairGrad
from nextrec_like.weighting.famo import FAMO
from nextrec_like.weighting.fixed import Fixed
from nextrec_like.weighting.generalized_mean import GeneralizedMean
from nextrec_like.weighting.go4align import GO4Align
from nextrec_like.weighting.grad_norm import GradNorm
from nextrec_like.weighting.gradcraft import GradCraft
from nextrec_like.weighting.graddrop import GradDrop
from nextrec_like.weighting.gradvac import GradVac
from nextrec_like.weighting.imtl import IMTL
from nextrec_like.weighting.imtl_g import IMTLG
from nextrec_like.weighting.imtl_l import IMTLL
from nextrec_like.weighting.initial_inverse import InitialInverse
from nextrec_like.weighting.metabalance import MetaBalance
from nextrec_like.weighting.mgda import MGDA
from nextrec_like.weighting.moco import MoCo
from nextrec_like.weighting.modo import MoDo
from nextrec_like.weighting.nash_mtl import NashMTL
from nextrec_like.weighting.options import BalancerOptions
from nextrec_like.weighting.pareto import Pareto
from nextrec_like.weighting.pcgrad import PCGrad
from nextrec_like.weighting.prior_inverse import PriorInverse
from nextrec_like.weighting.probe import cosines
from nextrec_like.weighting.realtime_inverse import RealtimeInverse
from nextrec_like.weighting.rlw import RLW
from nextrec_like.weighting.sdmgrad import SDMGrad
from nextrec_like.weighting.stateless import solve_once
from nextrec_like.weighting.stch import STCH
from nextrec_like.weighting.step import Step
from nextrec_like.weighting.uncertainty import Uncertainty
from nextrec_like.weighting.unit_gradient import UnitGradient
from nextrec_like.weighting.upgrad import UPGrad

WEIGHTINGS: dict[str, type[Weighting]] = {
    # from losses
    "equal": Equal,
    "fixed": Fixed,
    "initial_inverse": InitialInverse,
    "prior_inverse": PriorInverse,
    "realtime_inverse": RealtimeInverse,
    "generalized_mean": GeneralizedMean,
    "uncertainty": Uncertainty,
    "dwa": DWA,
    "rlw": RLW,
    "imtl_l": IMTLL,
    "famo": FAMO,
    "stch": STCH,
    "go4align": GO4Align,
    # from gradient norms
    "grad_norm": GradNorm,
    "unit_gradient": UnitGradient,
    # from the Gramian
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "mgda": MGDA,
    "pareto": Pareto,
    "cagrad": CAGrad,
    "imtl_g": IMTLG,
    "imtl": IMTL,
    "nash_mtl": NashMTL,
    "fairgrad": FairGrad,
    "aligned_mtl": AlignedMTL,
    "upgrad": UPGrad,
    "dualproj": DualProj,
    "config": ConFIG,
    "gradcraft": GradCraft,
    # from gradients
    "db_mtl": DBMTL,
    "excess_mtl": ExcessMTL,
    "graddrop": GradDrop,
    "metabalance": MetaBalance,
    "moco": MoCo,
    "modo": MoDo,
    "sdmgrad": SDMGrad,
    "adatask": AdaTask,
}


def task_weights(
    method: str,
    *,
    gradients: ArrayLike | None = None,
    losses: ArrayLike | None = None,
    **params: Any,  # noqa: ANN401
) -> NDArray[np.float64]:
    """Weights of one stateless solve, as the method's paper scales them.

    Args:
        method: A key of `WEIGHTINGS`.
        gradients: Gradient of each task on the shared parameters, shape ``(K, M)``.
        losses: Loss of each task, shape ``(K,)``.
        params: Options of the method, such as ``c`` or ``alpha``.

    Returns:
        One weight per task, shape ``(K,)``; ``weights @ gradients`` is what replaces the shared gradient.

    Raises:
        InputError: For an unknown method or option, arrays that do not fit, or a method without a stateless form;
            it is a ValueError.
    """
    return solve_once(method, gradients, losses, params, WEIGHTINGS)


__all__ = [
    "DBMTL",
    "DWA",
    "FAMO",
    "IMTL",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "RLW",
    "STCH",
    "WEIGHTINGS",
    "AdaTask",
    "AlignedMTL",
    "Balancer",
    "BalancerOptions",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "Equal",
    "ExcessMTL",
    "FairGrad",
    "Fixed",
    "GO4Align",
    "GeneralizedMean",
    "GradCraft",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "InitialInverse",
    "LabelStatistics",
    "MetaBalance",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "Pareto",
    "PriorInverse",
    "RealtimeInverse",
    "SDMGrad",
    "Step",
    "TaskStats",
    "UPGrad",
    "Uncertainty",
    "UnitGradient",
    "Weighting",
    "WeightingSpec",
    "build_weighting",
    "cosines",
    "task_weights",
]
