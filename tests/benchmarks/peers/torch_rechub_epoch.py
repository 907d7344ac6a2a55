"""Epochs of the workload by torch-rechub, for ../peers.py.

Its layers always have a batch normalisation, the gates too, and that cannot be switched off.
"""

import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from child import serve
from torch.utils.data import DataLoader
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import TorchDataset
from workload import Workload, make_data

workload = Workload.from_json(sys.argv[1])
data = make_data(workload)
labels = np.stack([data[task] for task in workload.tasks], axis=1)
features = [SparseFeature(name, workload.vocabulary, workload.width) for name in workload.id_names]
features += [DenseFeature(name) for name in workload.dense_names]
kinds = ["classification"] * len(workload.tasks)
towers = [{"dims": list(workload.tower_dims)} for _ in workload.tasks]
model = MMOE(features, kinds, workload.num_experts, {"dims": list(workload.expert_dims)}, towers)
trainer = MTLTrainer(model, kinds, optimizer_params={"lr": 1e-3})
inputs = {name: data[name] for name in [*workload.id_names, *workload.dense_names]}
loader = DataLoader(TorchDataset(inputs, labels), batch_size=workload.batch_size, shuffle=True)


def epoch() -> dict[str, Any]:
    """One call of `train_one_epoch`; its loader reads the rows one by one."""
    start = time.perf_counter()
    trainer.train_one_epoch(loader)
    return {"seconds": time.perf_counter() - start}


parameters = sum(parameter.numel() for parameter in model.parameters())
serve({"parameters": parameters, "version": version("torch-rechub"), "torch": torch.__version__}, epoch)
