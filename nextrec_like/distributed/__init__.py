"""Several processes that train one model: who they are, and what they send each other."""

from nextrec_like.distributed.processes import ALONE, Processes, Sum

__all__ = ["ALONE", "Processes", "Sum"]
