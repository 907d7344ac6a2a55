"""A training must not wait for the device: `fit` and `evaluate` as a whole, with every way to wait counted.

The fake device of test_waiting.py has no values, which a whole training needs at the end of an epoch. So this one runs
on the CPU in the way of a GPU, and counts the calls that would wait there; they are as many for any number of steps.
"""

import warnings
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nextrec_like import DenseFeature, MMoE, SequenceFeature, SparseFeature, Task
from nextrec_like.optim import TableRows
from nextrec_like.training import evaluation, trainer
from nextrec_like.training.step import Stepper

METHODS = {"item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__array__"}
"""What asks a tensor for its values."""
OPERATORS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim"}
"""What does so within torch; the size of their results, too, is a value."""


class CalledMethods(TorchFunctionMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, arguments=(), options=None):
        name = getattr(function, "__name__", "")
        self.found[name] += name in METHODS
        return function(*arguments, **(options or {}))


class CalledOperators(TorchDispatchMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        masks = name in {"index", "index_put", "index_put_"} and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1]
        )
        self.found[name] += name in OPERATORS or masks
        return function(*arguments, **(options or {}))


def waits_of(function, *arguments, **options):
    """How often each way to wait was taken."""
    found = Counter()
    with CalledMethods(found), CalledOperators(found):
        function(*arguments, **options)
    return +found


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Nothing ends early, and rows of tables may repeat."""

    class Unwaiting(Stepper):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.waits = False

    def repeating(self, rows):
        number, place = torch.arange(len(rows)), torch.empty(len(self.weight), dtype=torch.int64)
        return rows, place.scatter_(0, rows, number).index_select(0, rows), True

    monkeypatch.setattr(trainer, "Stepper", Unwaiting)
    monkeypatch.setattr(TableRows, "_distinct", repeating)


def make_rows(count):
    random = np.random.default_rng(0)
    click = random.integers(0, 2, count)
    return {
        "age": random.normal(size=count),
        "user": random.integers(1, 60, count),
        "clicked": random.integers(0, 60, (count, 3)),
        "click": click,
        "conversion": click * random.integers(0, 2, count),
    }


def make_model(**compiled):
    model = MMoE(
        [DenseFeature("age")],
        [SparseFeature("user", 60, 4)],
        [SequenceFeature("clicked", 60, 3, 4)],
        target=[Task("click"), Task("conversion", parent="click")],
        num_experts=2,
        expert_params={"dims": [8]},
        tower_params={"dims": [4]},
    )
    model.compile(**compiled)
    return model


OPTIONS = {
    "plain": {},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "rows": {"embedding_optimizer": "lazy_adam", "clip_norm": 1.0},
    "rows, row-wise, bf16": {"embedding_optimizer": "rowwise_adagrad", "precision": "bf16"},
    "in parts": {"accumulate_steps": 2, "embedding_optimizer": "adagrad"},
    "entire space": {"objective": "entire_space"},
    "schedule": {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0.9}, "scheduler_interval": "step"},
    "grad_norm": {"loss_weights": "grad_norm"},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_fit_waits_as_often_for_100_steps_as_for_20(options, as_on_a_gpu):
    rows = make_rows(1000)
    fit = {"batch_size": 50, "log_every": 10**6, "device": "cpu", "verbose": 0}
    few = waits_of(make_model(**OPTIONS[options]).fit, rows, rows, **fit)
    many = waits_of(make_model(**OPTIONS[options]).fit, rows, rows, **{**fit, "batch_size": 10})
    assert many == few
    assert few.total() > 0  # losses and metrics are read once an epoch, so the count sees something


def test_fit_waits_for_the_device_at_each_logging_interval(as_on_a_gpu):
    fit = {"batch_size": 10, "device": "cpu", "verbose": 0}
    never = waits_of(make_model().fit, make_rows(1000), **fit, log_every=10**6)
    twice = waits_of(make_model().fit, make_rows(1000), **fit, log_every=50)
    often = waits_of(make_model().fit, make_rows(1000), **fit, log_every=25)
    assert often.total() - never.total() == 2 * (twice.total() - never.total()) > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_evaluate_waits_once_per_output_and_not_per_batch(precision, monkeypatch):
    model, rows = make_model(precision=precision), make_rows(1000)
    model.fit(rows, device="cpu", verbose=0)
    counts = []
    for batch_size in (1000, 10):
        predict = partial(evaluation.predict_packed, batch_size=batch_size)
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "predict_packed", predict)
            counts.append(waits_of(model.evaluate, rows, device="cpu"))
    assert counts[0] == counts[1]
    assert counts[0]["cpu"] == 3  # click, conversion, conversion given click


@pytest.mark.parametrize("wait", [lambda x: x.item(), lambda x: bool(x > 0), lambda x: x[x > 0], lambda x: x.tolist()])
def test_every_way_to_wait_is_counted(wait):
    assert waits_of(wait, torch.ones(1)).total() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", OPTIONS)
def test_fit_on_a_gpu_waits_as_often_for_100_steps_as_for_20(options):
    rows, counts = make_rows(1000), []
    make_model(**OPTIONS[options]).fit(rows, rows, device="cuda", verbose=0)  # libraries are loaded
    for batch_size in (50, 10):
        model = make_model(**OPTIONS[options])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                model.fit(rows, rows, batch_size=batch_size, log_every=10**6, device="cuda", verbose=0)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchronizing" in str(each.message) for each in caught))
    assert counts[0] == counts[1] > 0
