"""Trainings that are the same in one process and in several."""

import warnings

import numpy as np

from nextrec_like import DenseFeature, InputWarning, MMoE, SparseFeature
from nextrec_like.distributed.join import current

TASKS = ["click", "like", "share"]


def make_rows(num_rows=900, seed=0):
    """Rows of which the tasks conflict: what makes a click likely makes a like unlikely."""
    rng = np.random.default_rng(seed)
    age, user = rng.normal(size=num_rows).astype(np.float32), rng.integers(0, 40, num_rows)
    rows = {"age": age, "user": user, "item": rng.integers(0, 25, num_rows)}
    rows["click"] = (rng.random(num_rows) < 1 / (1 + np.exp(-3 * age))).astype(float)
    rows["like"] = (rng.random(num_rows) < 1 / (1 + np.exp(3 * age + (user % 2)))).astype(float)
    rows["share"] = (rng.random(num_rows) < 0.3).astype(float)
    return rows


def without_labels(rows, batch_rows, task="share", part=2):
    """The rows without labels of a task in the last of so many parts of each batch: those of the last process."""
    place = np.arange(len(rows[task])) % batch_rows
    return {**rows, task: np.where(place >= batch_rows * (part - 1) // part, np.nan, rows[task])}


def make_model(**changes):
    """A small model."""
    options = {"target": TASKS, "num_experts": 3, "expert_params": {"dims": [16, 8]}, "tower_params": {"dims": [8]}}
    return MMoE(
        [DenseFeature("age")],
        [SparseFeature("user", 40, embedding_dim=4), SparseFeature("item", 25, embedding_dim=4)],
        **{**options, **changes},
    )


def trained(rows, batch_rows, *, compiled=None, target=TASKS, **fitted):
    """A training with batches of so many rows in all processes: its weights, loss weights and history."""
    model = make_model(target=target)
    model.compile(**(compiled or {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        history = model.fit(
            rows,
            **{
                "batch_size": batch_rows // current().size,
                "verbose": 0,
                "device": "cpu",
                "log_every": 1,
                "check_data": False,
                **fitted,
            },
        )
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    loss_weights = np.array([list(step.weight.values()) for step in history.steps])
    return weights, loss_weights, history.to_dict()


def largest_difference(one, other):
    """Of two trainings, in any weight of the model or of a loss."""
    weights = max(np.abs(one[0][name] - other[0][name]).max() for name in one[0])
    return max(weights, np.nanmax(np.abs(one[1] - other[1])))
