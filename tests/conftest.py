"""A tiny learnable data set, and tiny models to go with it."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from nextrec_like import DenseFeature, InputError, SequenceFeature, SparseFeature, Task
from nextrec_like.models import MODELS

torch.set_num_threads(1)

TINY = {
    "single_task": {"tower_params": {"dims": [8]}},
    "shared_bottom": {"bottom_params": {"dims": [16, 8]}, "tower_params": {"dims": [8]}},
    "mmoe": {"num_experts": 3, "expert_params": {"dims": [16, 8]}, "tower_params": {"dims": [8]}},
    "ple": {
        "num_levels": 2,
        "num_shared_experts": 2,
        "num_task_experts": 1,
        "expert_params": {"dims": [8]},
        "tower_params": {"dims": [8]},
    },
    "esmm": {"ctr_params": {"dims": [8]}, "cvr_params": {"dims": [8]}},
}
"""Small hyperparameters; a new model without an entry is built with its own."""


def make_table(num_rows=240, seed=0):
    """Encoded columns whose labels follow from `age` and `user`; a conversion only where there is a click."""
    rng = np.random.default_rng(seed)
    age, user = rng.normal(size=num_rows).astype(np.float32), rng.integers(0, 12, num_rows)
    hist = [rng.integers(1, 15, size=rng.integers(0, 6)).tolist() for _ in range(num_rows)]
    click = (rng.random(num_rows) < 1 / (1 + np.exp(-3 * age))).astype(np.float64)
    conversion = click * (rng.random(num_rows) < np.where(user < 6, 0.8, 0.1))
    return {
        "age": age,
        "pair": rng.normal(size=(num_rows, 2)).astype(np.float32),
        "user": user,
        "item": rng.integers(0, 15, num_rows),
        "hist": hist,
        "click": click,
        "conversion": conversion,
        "like": (rng.random(num_rows) < 1 / (1 + np.exp(2 * age))).astype(np.float64),
        "share": (rng.random(num_rows) < 0.3).astype(np.float64),
        "price": age * 2 + rng.normal(size=num_rows) * 0.1,
    }


@pytest.fixture
def table():
    return make_table()


@pytest.fixture
def other_table():
    return make_table(num_rows=160, seed=1)


@pytest.fixture
def features():
    return {
        "dense_features": [DenseFeature("age"), DenseFeature("pair", dim=2)],
        "sparse_features": [SparseFeature("user", 12, embedding_dim=4), SparseFeature("item", 15, embedding_dim=4)],
        "sequence_features": [SequenceFeature("hist", 15, embedding_dim=4, embedding_name="item", max_len=4)],
    }


@pytest.fixture
def funnel():
    return [Task("click"), Task("conversion", parent="click")]


@pytest.fixture
def build(features, funnel):
    """Builds a tiny model of the registry: ``build("mmoe", target=..., dense_features=..., num_experts=...)``."""

    def make(name="mmoe", **changes):
        return MODELS[name](**{**features, "target": funnel, **TINY.get(name, {}), **changes})

    return make


@pytest.fixture
def train(build, table):
    """Builds, compiles and fits a tiny model; returns it and its history."""

    def run(name="mmoe", *, model=None, compiled=None, data=None, **options):
        model = build(name) if model is None else model
        model.compile(**{"optimizer_params": {"lr": 0.01}, **(compiled or {})})
        defaults = {"batch_size": 60, "device": "cpu", "verbose": 0}
        return model, model.fit(table if data is None else data, **{**defaults, **options})

    return run


@pytest.fixture
def refused():
    """An `InputError` whose message has all the words."""

    @contextmanager
    def check(*words):
        with pytest.raises(InputError) as caught:
            yield
        for word in words:
            assert word in str(caught.value)

    return check


@pytest.fixture
def own_threads():
    """Counts the threads of this library that run; libraries and other tests have threads of their own."""
    return lambda: sum(thread.name.startswith("nextrec_like") for thread in threading.enumerate())
