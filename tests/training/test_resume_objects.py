"""Arguments given as objects are compared by content when a training goes on."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler

from nextrec_like import Callback
from nextrec_like.objectives import Focal, Loss
from nextrec_like.objectives.marginal import Marginal
from nextrec_like.training.plain import MAX_TEXT, plain
from nextrec_like.weighting import WEIGHTINGS, Weighting

MODEL = {"expert_params": {"dims": [8], "norm": "batch", "dropout": 0.3}, "tower_params": {"dims": [4]}}


class Interrupt(Callback):
    """Stops the program in a step of the third epoch, of four steps each."""

    steps = 0

    def on_step_end(self, trainer):
        self.steps += 1
        if self.steps == 10:
            raise KeyboardInterrupt


@dataclass
class Slope:
    """What is nested in a loss."""

    rise: float


class Steep(Loss):
    """A loss of the user's, made of other objects."""

    def __init__(self, rise=1.0, gamma=2.0, class_weight=None):
        self.slope, self.inner = Slope(rise), Focal(gamma)
        self.class_weight = None if class_weight is None else np.asarray(class_weight)

    needs_logit = True

    def __call__(self, score, label):
        return self.slope.rise * self.inner(score, label)


class Tilted(Weighting):
    """A weighting of the user's, for which the first task counts otherwise."""

    def __init__(self, tilt=2.0):
        super().__init__()
        self.tilt = tilt

    def forward(self, stats):
        weights = torch.ones_like(stats.losses)
        weights[0] = self.tilt
        return weights


class OwnMarginal(Marginal):
    """An objective of the user's."""


def adam(model, **options):
    return {"optimizer": Adam(model.parameters(), **options), "optimizer_params": None}


def scheduled(model, kind, *args, **options):
    compiled = adam(model, lr=0.05)
    return {**compiled, "scheduler": kind(compiled["optimizer"], *args, **options)}


def sequence(model, gamma):
    compiled = adam(model, lr=0.05)
    parts = [
        lr_scheduler.LinearLR(compiled["optimizer"], total_iters=2),
        lr_scheduler.ExponentialLR(compiled["optimizer"], gamma),
    ]
    return {**compiled, "scheduler": lr_scheduler.SequentialLR(compiled["optimizer"], parts, [2])}


def two_groups(model, decay):
    own = list(model.parameters())
    groups = [{"params": own[:4]}, {"params": own[4:], "weight_decay": decay}]
    return {"optimizer": Adam(groups, lr=0.05), "optimizer_params": None}


def without_last(model):
    return {"optimizer": Adam(list(model.parameters())[:-1], lr=0.05), "optimizer_params": None}


def freeze(model):
    model.get_parameter(next(name for name, _ in model.named_parameters() if "towers" in name)).requires_grad_(False)
    return {}


CASES = {
    "lr": (lambda m: adam(m, lr=0.1), lambda m: adam(m, lr=0.001), ("lr was 0.1, now 0.001",)),
    "betas": (lambda m: adam(m), lambda m: adam(m, betas=(0.5, 0.999)), ("betas.0 was 0.9, now 0.5",)),
    "kind of optimizer": (
        lambda m: adam(m),
        lambda m: {"optimizer": SGD(m.parameters(), lr=1e-3), "optimizer_params": None},
        ("optimizer.class was Adam, now SGD",),
    ),
    "groups": (
        lambda m: two_groups(m, 0.0),
        lambda m: two_groups(m, 0.1),
        ("param_groups.1.weight_decay was 0.0, now",),
    ),
    "scheduler": (
        lambda m: scheduled(m, lr_scheduler.ExponentialLR, 0.5),
        lambda m: scheduled(m, lr_scheduler.ExponentialLR, 0.1),
        ("scheduler.gamma was 0.5, now 0.1",),
    ),
    "plateau": (
        lambda m: scheduled(m, lr_scheduler.ReduceLROnPlateau, patience=0),
        lambda m: scheduled(m, lr_scheduler.ReduceLROnPlateau, patience=1),
        ("scheduler.patience was 0, now 1",),
    ),
    "milestones": (
        lambda m: scheduled(m, lr_scheduler.MultiStepLR, [1, 2]),
        lambda m: scheduled(m, lr_scheduler.MultiStepLR, [1, 3]),
        ("scheduler.milestones.2 was 1, now None",),
    ),
    "one cycle": (
        lambda m: scheduled(m, lr_scheduler.OneCycleLR, 0.1, total_steps=40),
        lambda m: scheduled(m, lr_scheduler.OneCycleLR, 0.2, total_steps=40),
        ("max_lr was 0.1, now 0.2",),
    ),
    "sequence": (
        lambda m: sequence(m, 0.5),
        lambda m: sequence(m, 0.9),
        ("scheduler._schedulers.1.gamma was 0.5, now 0.9",),
    ),
    "loss": (
        lambda m: {"loss": Focal(gamma=0.5)},
        lambda m: {"loss": Focal(gamma=5.0)},
        ("loss.gamma was 0.5, now 5.0",),
    ),
    "losses by task": (
        lambda m: {"loss": {"click": Focal(0.5), "conversion": "bce"}},
        lambda m: {"loss": {"click": Focal(5.0), "conversion": "bce"}},
        ("loss.click.gamma was 0.5, now 5.0",),
    ),
    "loss in a loss": (
        lambda m: {"loss": Steep(gamma=0.5)},
        lambda m: {"loss": Steep(gamma=5.0)},
        ("loss.inner.gamma was 0.5, now 5.0",),
    ),
    "dataclass in a loss": (
        lambda m: {"loss": Steep(rise=1.0)},
        lambda m: {"loss": Steep(rise=3.0)},
        ("loss.slope.rise was 1.0, now 3.0",),
    ),
    "array in a loss": (
        lambda m: {"loss": Steep(class_weight=[1, 2])},
        lambda m: {"loss": Steep(class_weight=[1, 4])},
        ("loss.class_weight.1 was 2, now 4",),
    ),
    "weighting": (
        lambda m: {"loss_weights": WEIGHTINGS["grad_norm"](alpha=0.5)},
        lambda m: {"loss_weights": WEIGHTINGS["grad_norm"](alpha=1.0)},
        ("weighting.alpha was 0.5, now 1.0",),
    ),
    "own weighting": (
        lambda m: {"loss_weights": Tilted(2.0)},
        lambda m: {"loss_weights": Tilted(3.0)},
        ("weighting.tilt was 2.0, now 3.0",),
    ),
    "objective": (
        lambda m: {"objective": Marginal},
        lambda m: {"objective": OwnMarginal},
        ("objective was Marginal, now OwnMarginal",),
    ),
    "frozen": (freeze, lambda m: {}, ("frozen.towers.", "was True, now None")),
    "unfrozen": (lambda m: {}, freeze, ("frozen.towers.", "was None, now True")),
    "not in the optimizer": (lambda m: adam(m, lr=0.05), without_last, ("frozen.", "was None, now True")),
}
"""What `compile` is given before and after, and what the refusal says."""


@pytest.fixture
def run(build, train, other_table, tmp_path):
    def start(compiled, *, saves=True, **options):
        model = build("mmoe", **MODEL)
        where = {"checkpoint_dir": tmp_path} if saves else {}
        return train(model=model, compiled=compiled(model), valid_data=other_table, **where, **options)

    return start


def assert_equal_runs(first, second):
    (model, history), (other, other_history) = first, second
    assert [(r.loss, r.valid, r.lr) for r in history.epochs] == [(r.loss, r.valid, r.lr) for r in other_history.epochs]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("case", CASES)
def test_other_content_is_refused(case, run, tmp_path, refused):
    before, after, words = CASES[case]
    run(before)
    with refused("differs from the checkpoint", *words):
        run(after, resume=True)


@pytest.mark.parametrize("case", CASES)
def test_equal_content_resumes_bitwise(case, run):
    compiled, _, _ = CASES[case]
    straight = run(compiled, saves=False, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        run(compiled, epochs=4, callbacks=[Interrupt()])
    assert_equal_runs(straight, run(compiled, epochs=4, resume=True))


def test_the_interrupted_model_resumes_without_another_compile(build, train, table, other_table, tmp_path):
    options = {"valid_data": other_table, "epochs": 4}

    def compiled(model):
        return {**scheduled(model, lr_scheduler.ExponentialLR, 0.5), "loss": Focal(0.5)}

    straight = build("mmoe", **MODEL)
    straight = train(model=straight, compiled=compiled(straight), **options)
    model = build("mmoe", **MODEL)
    with pytest.raises(KeyboardInterrupt):
        train(model=model, compiled=compiled(model), checkpoint_dir=tmp_path, callbacks=[Interrupt()], **options)
    fit = {"batch_size": 60, "device": "cpu", "verbose": 0, "checkpoint_dir": tmp_path, "resume": True}
    assert_equal_runs(straight, (model, model.fit(table, **options, **fit)))


def test_objects_that_a_training_has_moved_are_refused(build, train, tmp_path, refused):
    model = build("mmoe", **MODEL)
    compiled = scheduled(model, lr_scheduler.ExponentialLR, 0.5)
    with pytest.raises(KeyboardInterrupt):
        train(model=model, compiled=compiled, epochs=4, checkpoint_dir=tmp_path, callbacks=[Interrupt()])
    with refused("lr was 0.05, now 0.0125", "scheduler.last_epoch was 0, now 2"):
        train(model=model, compiled=compiled, epochs=4, checkpoint_dir=tmp_path, resume=True)


class Odd(Loss, nn.Module):
    """A loss with attributes that JSON does not have."""

    def __init__(self):
        nn.Module.__init__(self)
        self.numbers = [np.float32(0.5), torch.tensor(3), float("nan"), float("-inf"), np.nan]
        self.kept, self.kind, self.apply_to, self.other = {"b", "a"}, np.float32, len, object()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.table = torch.arange(MAX_TEXT)

    def __call__(self, score, label):
        return (score - label) ** 2


def test_what_json_does_not_have_is_described():
    found = json.loads(json.dumps(plain(Odd()), allow_nan=False))
    assert found["numbers"] == [0.5, 3, "nan", "-inf", "nan"]
    assert (found["kept"], found["kind"], found["apply_to"], found["other"]) == (["a", "b"], "float32", "len", "object")
    assert found["_parameters"] == {"scale": [1.0, 2.0]}
    assert found["table"].startswith("array with digest")
    assert plain(Slope(2.0)) == {"class": "Slope", "rise": 2.0}


def test_long_arrays_differ_by_their_digest():
    assert plain(np.arange(MAX_TEXT)) == plain(torch.arange(MAX_TEXT)) != plain(np.arange(1, MAX_TEXT + 1))


IN_A_PROCESS = """
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, ReduceLROnPlateau
from nextrec_like.objectives import Focal
from nextrec_like.training.plain import plain
def made(kind, *options):
    return kind(Adam([torch.nn.Parameter(torch.ones(2))]), *options)
loss = Focal(0.5)
loss.tags, loss.call, loss.anything = {"one", "two", "three"}, lambda: 1, object()
kinds = [made(CyclicLR, 0.1, 0.2), made(LambdaLR, lambda epoch: 1 / (1 + epoch)), made(ReduceLROnPlateau)]
print(plain([loss, *kinds, kinds[0].optimizer]))
"""


def test_a_description_is_the_same_in_each_process():
    first, second = [
        subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    ]
    assert first == second
    assert "0x" not in first
