"""Epochs of the workload by DeepCTR-Torch, for ../peers.py.

Its last layers have no bias. Its losses are sums over the batch, which cost the same. Regularisation is switched off.
"""

import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from child import serve
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models import MMOE
from workload import Workload, make_data

workload = Workload.from_json(sys.argv[1])
data = make_data(workload)
labels = np.stack([data[task] for task in workload.tasks], axis=1)
columns = [SparseFeat(name, workload.vocabulary, workload.width) for name in workload.id_names]
columns += [DenseFeat(name, 1) for name in workload.dense_names]
model = MMOE(
    columns,
    num_experts=workload.num_experts,
    expert_dnn_hidden_units=workload.expert_dims,
    gate_dnn_hidden_units=(),
    tower_dnn_hidden_units=workload.tower_dims,
    l2_reg_linear=0,
    l2_reg_embedding=0,
    task_types=["binary"] * len(workload.tasks),
    task_names=workload.tasks,
)
model.compile(torch.optim.Adam(model.parameters(), lr=1e-3), ["binary_crossentropy"] * len(workload.tasks))
inputs = {name: data[name] for name in [*workload.id_names, *workload.dense_names]}


def epoch() -> dict[str, Any]:
    """One call of `fit` with one epoch."""
    start = time.perf_counter()
    history = model.fit(inputs, labels, batch_size=workload.batch_size, epochs=1, verbose=0)
    return {"seconds": time.perf_counter() - start, "loss": history.history["loss"]}


parameters = sum(parameter.numel() for parameter in model.parameters())
serve({"parameters": parameters, "version": version("deepctr-torch"), "torch": torch.__version__}, epoch)
