"""A step must not wait for the device.

On the fake device ``meta`` tensors have no values, so that whoever wants to know one gets an error. With a GPU, CUDA
itself says when it is waited for.
"""

import sys

import numpy as np
import pytest
import torch

from nextrec_like import DenseFeature, MMoE, SequenceFeature, SparseFeature, Task
from nextrec_like.batch import Batch
from nextrec_like.training.step import Stepper
from nextrec_like.training.step_log import StepLog
from nextrec_like.training.totals import EpochTotals
from nextrec_like.weighting import WEIGHTINGS, Balancer, LabelStatistics

FEATURES = {
    "dense_features": [DenseFeature("age")],
    "sparse_features": [SparseFeature("user", 50, 4), SparseFeature("item", 30, 4, "items")],
    "sequence_features": [SequenceFeature("clicked", 30, 3, 4, "items")],
}
TASKS = [Task("click"), Task("conversion", parent="click"), Task("spend", kind="regression")]
STEPS = 3

WAITS = {name for name, method in WEIGHTINGS.items() if method.needs == "gramian"}
"""Their solvers run on the CPU."""
SPECIFICATIONS = {
    "fixed": {"method": "fixed", "weights": [1, 2, 3]},
    "pareto": {"method": "pareto", "c": [0.1, 0.1, 0.1]},
}


@pytest.fixture
def fused_on_meta(monkeypatch):
    for name in ("torch.optim.adam", "torch.optim.optimizer"):
        monkeypatch.setattr(sys.modules[name], "_get_fused_kernels_supported_devices", lambda: ["meta"], raising=False)


def make_batch():
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 30, (16, 5)))
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (16, 3)).astype(np.float32))
    return Batch(ids, torch.zeros(16, 1), labels)


def make_steps(device, scaled=False, **compiled):
    model = MMoE(**FEATURES, target=TASKS, num_experts=2, expert_params={"dims": [4]}, tower_params={"dims": [3]})
    model.to(device)
    model.compile(**compiled)
    model._parts.weighting.see_labels(LabelStatistics(torch.full((3,), 0.3), torch.full((3,), 0.2)))
    model._parts.balancer.to(device)
    model._parts.scale.to(device)
    parts, batch = model._parts, make_batch().to(device)
    parts.scale.active = scaled  # there is no autocast on the fake device
    if parts.weighting.needs != "losses":
        parts.balancer.site.attach()
    stepper = Stepper(model, parts, device, lambda: batch)
    totals, log = EpochTotals(3, device), StepLog(model.task_names)

    def step():
        with parts.tables.gathered():
            done = stepper.step(batch)
            totals.add(done)
            log.add(1, 1, done)

    return step, totals, log


OPTIONS = {
    "plain": {},
    "rows": {"embedding_optimizer": "lazy_adam"},
    "rows, row-wise": {"embedding_optimizer": "rowwise_adagrad"},
    "clipped": {"clip_norm": 1.0},
    "in parts": {"accumulate_steps": 2, "embedding_optimizer": "adagrad"},
    "scaled": {"scaled": True},
    "entire space": {"objective": "click_space"},
    "schedule": {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0.9}, "scheduler_interval": "step"},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_step_waits_for_nothing(options, fused_on_meta):
    step, totals, log = make_steps(torch.device("meta"), **OPTIONS[options])
    for _ in range(STEPS):
        step()
    for read in (totals.skipped, totals.mean_total_loss, log.read):  # at the logging interval
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            read()


@pytest.mark.parametrize("method", sorted(set(WEIGHTINGS) - WAITS - {"graddrop"}))  # draws, which ``meta`` cannot
def test_weighting_waits_for_nothing(method, fused_on_meta):
    step, _, _ = make_steps(torch.device("meta"), loss_weights=SPECIFICATIONS.get(method, method))
    for _ in range(STEPS):
        step()


@pytest.mark.parametrize("method", sorted(WAITS - {"imtl", "gradvac", "gradcraft"}))  # these keep state for the solver
def test_weighting_with_a_solver_waits_for_it_and_for_the_signs_of_its_weights(method, fused_on_meta, monkeypatch):
    calls = []

    def solved(stats):
        calls.append(1)
        values = torch.eye(len(stats.losses), dtype=torch.float64)
        return type(stats)(torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.bool), gramian=values)

    monkeypatch.setattr("nextrec_like.weighting.balancer.on_cpu", solved)
    monkeypatch.setattr(Balancer, "_turn_own_layers", lambda *arguments: calls.append(2))
    step, _, _ = make_steps(torch.device("meta"), loss_weights=SPECIFICATIONS.get(method, method))
    for _ in range(STEPS):
        step()
    assert calls == [1, 2] * STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", OPTIONS)
def test_step_waits_for_nothing_on_a_gpu(options):
    step, _, _ = make_steps(torch.device("cuda"), **OPTIONS[options])
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(STEPS):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
