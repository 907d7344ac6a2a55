"""Definitions and arguments: each call with good values, of which one or two are replaced by any others."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

from hypothesis import strategies as st
from strategies import FEATURES, NAMES, SMALL, TASKS, good_rows, integers, junk, names, unchanged

from nextrec_like import (
    DataProcessor,
    DenseFeature,
    IdColumn,
    NumericColumn,
    SequenceColumn,
    SequenceFeature,
    SharedBottom,
    SparseFeature,
    Task,
    load_model,
    synthetic_funnel,
)
from nextrec_like.data.tables import read_table
from nextrec_like.models import MODELS
from nextrec_like.objectives import LOSSES, OBJECTIVES
from nextrec_like.optim import OPTIMIZERS
from nextrec_like.optim.schedules import SCHEDULERS
from nextrec_like.weighting import WEIGHTINGS

ROWS = good_rows(20)
PARTS = st.sampled_from(
    [[], [1], [2, 2], {"click": 1, "buy": 2, "price": 3}, {"click": 1}, [1, 2, 3], [0.1, 0, float("nan")]]
)

GOOD = {
    DenseFeature: {"name": st.sampled_from(NAMES), "dim": st.integers(1, 3)},
    SparseFeature: {
        "name": st.sampled_from(NAMES),
        "vocab_size": st.integers(1, 9),
        "embedding_dim": st.sampled_from([None, 1, 4]),
        "embedding_name": st.sampled_from([None, "user", "é"]),
    },
    SequenceFeature: {
        "name": st.sampled_from(NAMES),
        "vocab_size": st.integers(1, 9),
        "max_len": st.integers(1, 4),
        "embedding_dim": st.sampled_from([None, 4]),
        "embedding_name": st.sampled_from([None, "user"]),
        "pooling": st.sampled_from(["mean", "sum", "max", "target_attention"]),
        "query": st.sampled_from([None, "user", "usr"]),
    },
    NumericColumn: {
        "name": st.sampled_from(NAMES),
        "scaling": st.sampled_from(["none", "standard", "min_max", "log1p", "quantile"]),
        "fill_value": st.sampled_from([None, 0, -1.5, "mean", "median"]),
        "num_buckets": st.integers(2, 5),
    },
    IdColumn: {
        "name": st.sampled_from(NAMES),
        "min_count": st.integers(1, 3),
        "hash_size": st.sampled_from([None, 3, 9]),
        "embedding_dim": st.sampled_from([None, 4]),
        "embedding_name": st.sampled_from([None, "user"]),
    },
    SequenceColumn: {
        "name": st.sampled_from(NAMES),
        "max_len": st.integers(1, 4),
        "separator": st.sampled_from([None, "|"]),
        "vocabulary_of": st.sampled_from([None, "user", "hist"]),
        "pooling": st.sampled_from(["mean", "max", "target_attention"]),
        "query": st.sampled_from([None, "user"]),
    },
    Task: {
        "name": st.sampled_from([*NAMES, "click_given_buy", "buy_given_click"]),
        "label": st.sampled_from([None, "click", "buy"]),
        "kind": st.sampled_from(["binary", "regression"]),
        "parent": st.sampled_from([None, "click", "buy", "price"]),
        "source": st.sampled_from([None, "age"]),
    },
}
LAYERS = st.fixed_dictionaries(
    {"dims": st.lists(st.integers(1, 4), max_size=2)},
    optional={
        "activation": st.sampled_from(["relu", "prelu", "tanh"]),
        "dropout": st.sampled_from([0, 0.5]),
        "norm": st.sampled_from([None, "batch", "layer"]),
    },
)
HYPERPARAMETERS = {
    name: LAYERS if name.endswith("_params") else st.integers(1, 3)
    for model in MODELS.values()
    for name in signature(model.__init__).parameters
    if name not in ("self", "dense_features", "sparse_features", "sequence_features", "target", "task", "processor")
}
COMPILE = {
    "optimizer": st.sampled_from(list(OPTIMIZERS)),
    "optimizer_params": st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(
                [
                    "lr",
                    "betas",
                    "eps",
                    "weight_decay",
                    "momentum",
                    "amsgrad",
                    "foreach",
                    "fused",
                    "alpha",
                    "nesterov",
                    "maximize",
                    "capturable",
                    "differentiable",
                    "lr_decay",
                    "dampening",
                    "centered",
                    "decoupled_weight_decay",
                    "initial_accumulator_value",
                ]
            ),
            st.one_of(st.sampled_from([0.1, 0, True, False, (0.9, 0.99), 1e-3]), junk),
            max_size=2,
        ),
    ),
    "embedding_optimizer": st.sampled_from(["auto", "dense", "lazy_adam", "rowwise_adagrad", "adagrad", "sgd"]),
    "embedding_optimizer_params": st.one_of(
        st.none(), st.dictionaries(st.sampled_from(["lr", "betas", "eps"]), st.one_of(st.just(0.1), junk), max_size=2)
    ),
    "loss": st.one_of(
        st.sampled_from([None, *LOSSES]),
        st.fixed_dictionaries(
            {"name": st.sampled_from(list(LOSSES))},
            optional={"class_weight": junk, "gamma": junk, "alpha": junk, "delta": junk},
        ),
        st.lists(st.sampled_from(list(LOSSES)), max_size=3),
        st.dictionaries(st.sampled_from(["click", "buy", "price"]), st.sampled_from(list(LOSSES))),
    ),
    "loss_weights": st.one_of(st.sampled_from([None, 1, 0, -1, 1e30, *WEIGHTINGS]), PARTS),
    "objective": st.sampled_from([None, *OBJECTIVES, *OBJECTIVES.values()]),
    "scheduler": st.sampled_from([None, None, *SCHEDULERS]),
    "scheduler_params": st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(
                sorted({name for kind in SCHEDULERS.values() for name in signature(kind).parameters} - {"optimizer"})
            ),
            st.one_of(st.sampled_from([0, 1, 2, 0.5, [1, 2], 1e-9, "min", len]), junk),
            max_size=3,
        ),
    ),
    "scheduler_interval": st.sampled_from(["epoch", "step"]),
    "warmup_steps": st.integers(0, 5),
    "clip_norm": st.sampled_from([None, 1.0, 1e-30]),
    "precision": st.sampled_from(["fp32", "fp32", "bf16", "fp16"]),
    "accumulate_steps": st.integers(1, 3),
    "jit": st.just(False),
}
METRICS = ["auc", "gauc", "logloss", "pr_auc", "ece", "pcoc", "rmse", "mae"]
READING = {"device": st.just("cpu"), "streaming": st.sampled_from(["auto", False])}
EVALUATE = {
    "metrics": st.one_of(st.sampled_from(METRICS), st.lists(st.sampled_from(METRICS), max_size=3)),
    "group_id": st.sampled_from([None, "user", "age"]),
    **READING,
}
FIT = {
    **EVALUATE,
    "valid_split": st.sampled_from([None, 0.2, 0.5, 0.999]),
    "epochs": st.integers(1, 2),
    "batch_size": st.integers(1, 30),
    "shuffle": st.booleans(),
    "monitor": st.one_of(
        st.sampled_from([None, "min", "auc", {"click": 1}]),
        st.fixed_dictionaries(
            {},
            optional={
                "metric": st.sampled_from([*METRICS, {"click": "auc"}]),
                "reduce": st.sampled_from(["min", "mean"]),
                "weights": junk,
            },
        ),
    ),
    "patience": st.sampled_from([None, 1]),
    "min_delta": st.sampled_from([0, 0.1]),
    "restore_best": st.booleans(),
    "seed": st.integers(0, 3),
    "callbacks": st.just(()),
    "log_every": st.integers(1, 3),
    "diagnose": st.booleans(),
    "device_data": st.sampled_from(["auto", True, False]),
    "verbose": st.just(0),
    "max_skipped_steps": st.integers(1, 9),
    "check_data": st.booleans(),
    "checkpoint_dir": st.sampled_from([None, "c", "c/d"]),
    "checkpoint_params": st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(["every_steps", "every_seconds", "keep_last"]), st.one_of(st.just(1), junk), max_size=2
        ),
    ),
    "resume": st.sampled_from([False, True, ["epochs"], "epochs"]),
    "cache_dir": st.sampled_from([None, "cache"]),
}
PREDICT = {
    **READING,
    "output": st.sampled_from([None, "p.parquet", "x/p.parquet", "p.csv"]),
    "keep": st.sampled_from([(), ["user"], ["click", "age"]]),
}


@cache
def compiled_model():
    model = SharedBottom(**FEATURES, target=TASKS, **SMALL)
    model.compile()
    model.fit(ROWS, device="cpu", verbose=0)
    return model


def _new(name="shared_bottom", **options):
    options = {"target": TASKS, **FEATURES, **options}
    return MODELS[name](**options)


def _small(model):
    """The options that make a model small."""
    return {
        name: 1 if not name.endswith("_params") else {"dims": [2]}
        for name in signature(MODELS[model].__init__).parameters
        if name in HYPERPARAMETERS
    }


def _train(model, **options):
    model.fit(ROWS, device="cpu", verbose=0, batch_size=7, **options)
    model.predict(ROWS, device="cpu")


def _model(here, model, **options):
    built = _new(model, **{**_small(model), **options})
    built.compile()
    _train(built)
    built.save(here / "model")
    load_model(here / "model")


def _compile(here, **options):
    model = _new(**SMALL)
    model.compile(**options)
    _train(model, valid_split=0.4)


def _weighting(here, **options):
    model = _new("mmoe", num_experts=2, expert_params={"dims": [2]}, tower_params={"dims": [2]})
    model.compile(loss_weights=options)
    _train(model)


def _fit(here, **options):
    model = _new(**SMALL)
    model.compile()
    model.fit(ROWS, **options)


def _predict(here, output, **options):
    output = here / output if isinstance(output, str) else output
    compiled_model().predict(ROWS, output=output, **options)


def _processor(here, columns):
    processor = DataProcessor(columns).fit(ROWS)
    processor.transform(ROWS)
    model = SharedBottom(**processor.features(), target=["click", "buy"], processor=processor, **SMALL)
    model.compile()
    _train(model)
    model.save(here / "model")
    load_model(here / "model").predict(ROWS, device="cpu")


CALLS: dict[str, Callable[..., object]] = {
    "definition": lambda here, define, **options: define(**options),
    "model": _model,
    "compile": _compile,
    "weighting": _weighting,
    "fit": _fit,
    "evaluate": lambda here, **options: compiled_model().evaluate(ROWS, **options),
    "predict": _predict,
    "processor": _processor,
    "read": lambda here, **options: read_table(**options),
    "funnel": lambda here, **options: synthetic_funnel(**options),
    "save": lambda here, **options: compiled_model().save(**options),
    "load": lambda here, **options: load_model(**options),
}


@dataclass
class CallCase:
    """A call of the library.

    Attributes:
        call: A key of `CALLS`.
        arguments: Its arguments.
    """

    call: str
    arguments: dict[str, Any]

    def run(self, folder):
        """Makes the call."""
        watched = {name: value for name, value in self.arguments.items() if not callable(value)}
        with unchanged([ROWS, watched]):
            CALLS[self.call](folder, **self.arguments)


@st.composite
def arguments(draw, good: Mapping[str, Any], fewest=0):
    """Good values for some of the parameters, of which up to two are replaced by any other value."""
    chosen = (
        draw(st.lists(st.sampled_from(list(good)), unique=True, min_size=min(fewest, len(good)), max_size=4))
        if good
        else []
    )
    values = {name: draw(good[name]) for name in chosen}
    for name in draw(st.lists(st.sampled_from(chosen), max_size=2, unique=True)) if chosen else []:
        values[name] = draw(st.one_of(junk, integers))
    return values


@st.composite
def definitions(draw, kind):
    """An object of the schema that its class has taken."""
    values = {
        name: draw(GOOD[kind][name]) for name in GOOD[kind] if name in ("name", "vocab_size") or draw(st.booleans())
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(**values)
    except ValueError:
        return kind("age", 3) if kind in (SparseFeature, SequenceFeature) else kind("age")


def lists_of(*kinds):
    kind = st.one_of([definitions(kind) for kind in kinds])
    different = st.lists(kind, max_size=4, min_size=1, unique_by=lambda each: each.name)
    return st.one_of(different, different, different, st.lists(st.one_of(kind, junk), max_size=3), junk)


@st.composite
def models(draw):
    model = draw(st.sampled_from(list(MODELS)))
    own = {
        name: HYPERPARAMETERS[name] for name in signature(MODELS[model].__init__).parameters if name in HYPERPARAMETERS
    }
    changes = draw(arguments(own))
    schema = {
        "dense_features": lists_of(DenseFeature),
        "sparse_features": lists_of(SparseFeature),
        "sequence_features": lists_of(SequenceFeature),
        "target": st.one_of(lists_of(Task), st.lists(st.sampled_from(["click", "buy", "price"]), max_size=3)),
        "task": st.one_of(
            st.sampled_from([None, "binary"]),
            st.lists(st.sampled_from(["binary", "regression", "a", "buy"]), max_size=3),
            junk,
        ),
        "processor": junk,
    }
    for name in draw(st.lists(st.sampled_from(list(schema)), unique=True, max_size=2)):
        changes[name] = draw(schema[name])
    return CallCase("model", {"model": model, **changes})


@st.composite
def weightings(draw):
    method = draw(st.sampled_from(list(WEIGHTINGS)))
    own = {name: st.sampled_from([0.5, 0, 1, 2, True, "click"]) for name in signature(WEIGHTINGS[method]).parameters}
    common = {
        "base": PARTS,
        "every": st.integers(1, 3),
        "site": st.sampled_from(["last_shared", "shared", "representation"]),
        "warmup_steps": st.integers(0, 2),
        "normalize": st.sampled_from(["none", "sum"]),
        "tune": junk,
    }
    return CallCase("weighting", {"method": method, **draw(arguments({**common, **own}, fewest=1))})


@st.composite
def simple_definitions(draw):
    kind = draw(st.sampled_from(list(GOOD)))
    values = {name: draw(strategy) for name, strategy in GOOD[kind].items()}
    for name in draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=2, unique=True)):
        values[name] = draw(st.one_of(junk, integers, names))
    return CallCase("definition", {"define": kind, **values})


def calls(name, good, **more):
    return arguments({**good, **more}).map(lambda values: CallCase(name, values))


CASES = st.one_of(
    simple_definitions(),
    models(),
    models(),
    arguments(COMPILE, fewest=1).map(lambda values: CallCase("compile", values)),
    weightings(),
    arguments(FIT, fewest=1).map(lambda values: CallCase("fit", {"device": "cpu", "verbose": 0, **values})),
    calls("funnel", {"num_rows": st.integers(1, 60), "seed": st.integers(0, 3)}).filter(
        lambda case: "num_rows" in case.arguments  # the default would take long
    ),
    calls("evaluate", EVALUATE),
    arguments(PREDICT).map(lambda values: CallCase("predict", {"output": None, **values})),
    lists_of(NumericColumn, IdColumn, SequenceColumn).map(lambda columns: CallCase("processor", {"columns": columns})),
    st.one_of(
        st.fixed_dictionaries({"data": junk}), st.fixed_dictionaries({"data": st.just(ROWS), "columns": junk})
    ).map(lambda values: CallCase("read", values)),
    st.fixed_dictionaries({"folder": junk}, optional={"custom": junk}).map(lambda values: CallCase("load", values)),
    st.fixed_dictionaries({"folder": junk}).map(lambda values: CallCase("save", values)),
)
