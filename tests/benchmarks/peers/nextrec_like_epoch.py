"""Epochs of the workload by this library, for ../peers.py."""

import sys
import time
from typing import Any

import torch
from child import serve
from loops import Fit
from workload import Workload, make_data

import nextrec_like

workload = Workload.from_json(sys.argv[1])
fit = Fit(make_data(workload), workload)


def epoch() -> dict[str, Any]:
    """The whole call of `fit`, and the epoch in it: the rest is checks and packing."""
    start = time.perf_counter()
    (record,) = fit.epochs(1)
    return {"seconds": time.perf_counter() - start, "epoch_seconds": record.seconds, "loss": list(record.loss.values())}


parameters = sum(parameter.numel() for parameter in fit.model.parameters())
serve({"parameters": parameters, "version": nextrec_like.__version__, "torch": torch.__version__}, epoch)
