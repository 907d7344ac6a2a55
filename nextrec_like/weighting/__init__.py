"""How T losses become one gradient: one file per method."""

from nextrec_like.weighting.balancer import Balancer
from nextrec_like.weighting.base import TaskStats, Weighting
from nextrec_like.weighting.build import WeightingSpec, build_weighting
from nextrec_like.weighting.equal import Equal
from nextrec_like.weighting.fixed import Fixed
from nextrec_like.weighting.grad_norm import GradNorm

WEIGHTINGS: dict[str, type[Weighting]] = {"equal": Equal, "fixed": Fixed, "grad_norm": GradNorm}

__all__ = [
    "WEIGHTINGS",
    "Balancer",
    "Equal",
    "Fixed",
    "GradNorm",
    "TaskStats",
    "Weighting",
    "WeightingSpec",
    "build_weighting",
]
