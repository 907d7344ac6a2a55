"""Epochs of the workload by NextRec, for ../peers.py. It writes logs and checkpoints, here into a temporary folder."""

import os
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

import torch
from child import serve
from nextrec.basic.features import DenseFeature, SparseFeature
from nextrec.data.dataloader import RecDataLoader
from nextrec.models.multitask.mmoe import MMOE
from workload import Workload, make_data

workload = Workload.from_json(sys.argv[1])
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
columns = {
    "dense_features": [DenseFeature(name) for name in workload.dense_names],
    "sparse_features": [
        SparseFeature(name, workload.vocabulary, embedding_dim=workload.width) for name in workload.id_names
    ],
    "target": list(workload.tasks),
}
model = MMOE(
    **columns,
    task=["binary"] * len(workload.tasks),
    num_experts=workload.num_experts,
    expert_mlp_params={"hidden_dims": list(workload.expert_dims)},
    tower_mlp_params_list=[{"hidden_dims": list(workload.tower_dims)} for _ in workload.tasks],
)
model.compile(optimizer="adam", optimizer_params={"lr": 1e-3}, loss=["bce"] * len(workload.tasks))
loader = RecDataLoader(**columns).create_dataloader(make_data(workload), workload.batch_size, shuffle=True)

train_epoch, epoch_seconds = model.train_epoch, []


def timed_epoch(*arguments: object, **options: object) -> object:
    """What `fit` calls for the epoch itself, apart from summaries and checkpoints."""
    start = time.perf_counter()
    result = train_epoch(*arguments, **options)
    epoch_seconds.append(time.perf_counter() - start)
    return result


def epoch() -> dict[str, Any]:
    """One call of `fit` with one epoch, and the epoch in it; its loader reads the rows one by one."""
    start = time.perf_counter()
    model.fit(loader, epochs=1, batch_size=workload.batch_size, metrics=["auc"], use_tensorboard=False)
    return {"seconds": time.perf_counter() - start, "epoch_seconds": epoch_seconds[-1]}


model.train_epoch = timed_epoch
parameters = sum(parameter.numel() for parameter in model.parameters())
serve({"parameters": parameters, "version": version("nextrec"), "torch": torch.__version__}, epoch)
