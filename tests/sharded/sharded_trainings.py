"""Trainings with tables that are shared out, whole, or nowhere, for one process and for several."""

import os
import warnings

import numpy as np
import torch

from nextrec_like import DenseFeature, InputWarning, MMoE, SequenceFeature, SparseFeature, load_model
from nextrec_like.errors import DivergedError
from nextrec_like.layers import embedding
from nextrec_like.training.callbacks import Callback

WHOLE_SHARE = embedding.WHOLE_SHARE


class Stops(Callback):
    """Ends a training as Ctrl-C would."""

    def __init__(self, after):
        self.left = after

    def on_step_end(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def make_rows(num_rows=360, seed=0):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 40, num_rows), rng.integers(0, 25, num_rows)
    rows = {"age": rng.normal(size=num_rows), "user": user, "item": item, "city": rng.integers(0, 9, num_rows)}
    rows["past"] = [list(rng.integers(1, 25, rng.integers(0, 4))) for _ in range(num_rows)]
    rows["click"] = (user % 3 == 0).astype(float)
    rows["buy"] = np.where(np.arange(num_rows) % 60 >= 30, np.nan, (item % 2 == 0).astype(float))
    return rows


def make_model(*, fits=True, sharding=None, **options):
    """Two widths, and a table that an id and a sequence share; `fits`: whether memory has room for the tables."""
    embedding.WHOLE_SHARE = WHOLE_SHARE if fits else 0
    model = MMoE(
        [DenseFeature("age")],
        [
            SparseFeature("user", 40, embedding_dim=16),
            SparseFeature("item", 25, embedding_dim=16, embedding_name="goods"),
            SparseFeature("city", 9, embedding_dim=4),
        ],
        [SequenceFeature("past", 25, max_len=3, embedding_dim=16, embedding_name="goods")],
        target=["click", "buy"],
        num_experts=2,
        expert_params={"dims": [8]},
        tower_params={"dims": [4]},
    )
    given = {"embedding_optimizer": "adagrad", "embedding_optimizer_params": {"lr": 0.1}, **options}
    model.compile("adam", {"lr": 0.01}, sharding=sharding, **given)
    return model


def trained(batch_size, *, stop_after=None, save=None, fit=None, fits_twice=False, **options):
    """Weights, predictions, AUC and the numbers of tables that the process has; None if stopped."""
    rows = make_rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        model = make_model(**options)
        given = {"epochs": 2, "valid_data": make_rows(100, seed=1), "verbose": 0, "check_data": False, **(fit or {})}
        callbacks = [] if stop_after is None else [Stops(stop_after)]
        try:
            for _ in range(1 + fits_twice):
                model.fit(rows, batch_size=batch_size, device="cpu", callbacks=callbacks, **given)
        except KeyboardInterrupt:
            return None
        if save is not None:
            model.save(save)
        weights = {name: value.numpy() for name, value in model.state_dict().items()}
        weights["predictions"] = model.predict(rows).to_numpy()
        weights["one row"] = model.predict({name: each[:1] for name, each in rows.items()}).to_numpy()
        weights["auc"] = np.array(model.evaluate(rows)["click"]["auc"])
        held = [sum(shard.values.numel() for shard in model._parts.tables.shards())] if options.get("sharding") else []
    return weights, held


class Spoils(Callback):
    """Makes a weight infinite, so that the next loss is NaN."""

    def on_fit_start(self, trainer):
        with torch.no_grad():
            next(trainer.model.experts.parameters()).fill_(float("inf"))


class Leaves(Callback):
    """The second process is killed after a step."""

    def on_step_end(self, trainer):
        if trainer.processes.rank == 1:
            os._exit(1)


def diverged(sharding):
    """What the error says, and after how many steps."""
    model = make_model(sharding=sharding)
    try:
        model.fit(make_rows(), batch_size=30, device="cpu", verbose=0, check_data=False, callbacks=[Spoils()])
    except DivergedError as error:
        return str(error), model._parts.balancer.steps


def left_alone(file):
    """Writes what the error of the process that is left says."""
    model = make_model(sharding="table_wise")
    try:
        model.fit(make_rows(), batch_size=30, device="cpu", verbose=0, check_data=False, callbacks=[Leaves()])
    except Exception as error:
        file.write_text(f"{type(error).__name__}: {error}")


def predicted(folder, *, fits, sharding=None):
    """What a loaded model predicts, and how many rows of each table the process has as a whole."""
    embedding.WHOLE_SHARE = WHOLE_SHARE if fits else 0
    model = load_model(folder)
    if sharding is not None:
        model.compile(sharding=sharding, embedding_optimizer="adagrad")
    return model.predict(make_rows()).to_numpy(), [len(table.weight) for table in model.embedding_tables()]


def difference(one, other):
    """The largest difference of weights and predictions."""
    return max(np.abs(one[0][name] - other[0][name]).max() for name in one[0] if one[0][name].size)
