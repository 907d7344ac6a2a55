"""How tasks share: one file per model."""

from nextrec_like.models.base import Model
from nextrec_like.models.esmm import ESMM
from nextrec_like.models.mmoe import MMoE
from nextrec_like.models.ple import PLE
from nextrec_like.models.shared_bottom import SharedBottom
from nextrec_like.models.single_task import SingleTask

MODELS: dict[str, type[Model]] = {
    "single_task": SingleTask,
    "shared_bottom": SharedBottom,
    "mmoe": MMoE,
    "ple": PLE,
    "esmm": ESMM,
}

__all__ = ["ESMM", "MODELS", "PLE", "MMoE", "Model", "SharedBottom", "SingleTask"]
