"""What a confused user types, with the words that the answer must have."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from nextrec_like import Callback, DenseFeature

WRONG_FIT = {
    "epochs 0": ({"epochs": 0}, ["`epochs`", "0"]),
    "epochs float": ({"epochs": 1.0}, ["`epochs`", "1.0"]),
    "batch_size -1": ({"batch_size": -1}, ["`batch_size`", "-1"]),
    "batch_size text": ({"batch_size": "64"}, ["`batch_size`", "'64'"]),
    "metric typo": ({"metrics": ["acu"]}, ["metric `acu`", "Did you mean `auc`?"]),
    "gauc without group": ({"metrics": "gauc", "valid_split": 0.2}, ["`gauc`", "`group_id"]),
    "unknown group": ({"metrics": "gauc", "valid_split": 0.2, "group_id": "usr"}, ["`usr`", "Did you mean `user`?"]),
    "monitor typo": ({"monitor": "aucc"}, ["`aucc`", "Did you mean `auc`?"]),
    "monitor not computed": ({"monitor": "rmse"}, ["`rmse`", "auc, logloss"]),
    "monitor without direction": ({"metrics": "pcoc"}, ["`pcoc`", "best at 1"]),
    "monitor task typo": ({"monitor": {"clik": 1}}, ["`clik`", "Did you mean `click`?"]),
    "monitor negative": ({"monitor": {"click": -1}}, ["`click`", "-1"]),
    "monitor reduce": ({"monitor": {"metric": "auc", "reduce": "max"}}, ["`max`", "mean, min"]),
    "monitor key": ({"monitor": {"metric": "auc", "reduc": "min"}}, ["`reduc`", "Did you mean `reduce`?"]),
    "monitor list": ({"monitor": ["click"]}, ["`monitor`", "['click']"]),
    "patience without validation": ({"patience": 2}, ["`patience`", "`valid_data` or `valid_split`"]),
    "patience 0": ({"patience": 0, "valid_split": 0.2}, ["`patience`", "0"]),
    "valid_split 1": ({"valid_split": 1.0}, ["`valid_split`", "1.0"]),
    "valid_split text": ({"valid_split": "0.1"}, ["`valid_split`", "'0.1'"]),
    "device typo": ({"device": "gpu"}, ["`device`", "'gpu'"]),
    "device array": ({"device": np.zeros(2)}, ["`device`", "[0., 0.]"]),
    "metrics array": ({"metrics": [np.zeros(2)]}, ["metric", "[0. 0.]"]),
    "device None": ({"device": None}, ["`device`", "None"]),
    "resume without folder": ({"resume": True}, ["`resume`", "`checkpoint_dir`"]),
    "metrics None": ({"metrics": None}, ["metrics"]),
    "no metrics": ({"metrics": ()}, ["`metrics`", "empty"]),
    "seed text": ({"seed": "x"}, ["`seed`"]),
    "seed None": ({"seed": None}, ["`seed`"]),
    "single callback": ({"callbacks": Callback()}, ["`callbacks`"]),
    "callback class": ({"callbacks": [Callback]}, ["`callbacks`"]),
    "monitor weights": ({"monitor": {"weights": ["click"]}}, ["`monitor`", "weights"]),
    "monitor of zeros": ({"monitor": {"click": 0}}, ["`monitor`", "0"]),
    "min_delta text": ({"min_delta": "x", "valid_split": 0.2}, ["`min_delta`"]),
    "min_delta NaN": ({"min_delta": float("nan"), "valid_split": 0.2}, ["`min_delta`"]),
    "device that torch lacks": ({"device": "mps"}, ["`device`", "mps"]),
}

WRONG_COMPILE = {
    "optimizer typo": ({"optimizer": "adma"}, ["Did you mean `adam`?"]),
    "optimizer option": ({"optimizer_params": {"learning_rate": 1}}, ["`learning_rate`", "lr"]),
    "scheduler typo": ({"scheduler": "StepLr"}, ["Did you mean `StepLR`?"]),
    "objective typo": ({"objective": "click"}, ["objective `click`", "click_space"]),
    "loss typo": ({"loss": "bec"}, ["Did you mean `bce`?"]),
    "loss length": ({"loss": ["bce"]}, ["1 entries", "click, conversion"]),
    "weights length": ({"loss_weights": [1]}, ["1 values", "click, conversion"]),
    "precision list": ({"precision": ["bf16"]}, ["precision", "Known: fp32, bf16, fp16"]),
    "amsgrad number": ({"optimizer_params": {"amsgrad": 0.1}}, ["`optimizer_params.amsgrad`", "True or False", "0.1"]),
    "one beta": ({"optimizer_params": {"betas": [0.9]}}, ["`optimizer_params.betas`", "2 numbers", "[0.9]"]),
    "scheduler params number": ({"scheduler": "StepLR", "scheduler_params": 1}, ["`scheduler_params`", "dict", "1"]),
    "clip 0": ({"clip_norm": 0}, ["`clip_norm`", "0"]),
    "clip NaN": ({"clip_norm": float("nan")}, ["`clip_norm`", "nan"]),
    "clip text": ({"clip_norm": "1"}, ["`clip_norm`", "'1'"]),
}


@pytest.mark.parametrize("case", WRONG_FIT)
def test_wrong_argument_of_fit_is_refused(case, train, refused):
    options, words = WRONG_FIT[case]
    with refused(*words):
        train("mmoe", **options)


@pytest.mark.parametrize("case", WRONG_COMPILE)
def test_wrong_argument_of_compile_is_refused(case, build, refused):
    options, words = WRONG_COMPILE[case]
    with refused(*words):
        build("mmoe").compile(**options)


@pytest.mark.parametrize("options", [{"epochs": np.int64(1)}, {"batch_size": np.int32(60)}], ids=str)
def test_numpy_integers_are_integers(options, train):
    train("mmoe", **options)


def test_numpy_seed_is_a_seed(train):
    train("mmoe", seed=np.int64(3))


def test_fit_before_compile_is_refused(build, table, refused):
    with refused("not compiled", "compile"):
        build("mmoe").fit(table)


def test_both_kinds_of_validation_are_refused(train, table, refused):
    with refused("`valid_data` and `valid_split`"):
        train("mmoe", valid_data=table, valid_split=0.1)


def test_plateau_scheduler_needs_validation(train, refused):
    with refused("ReduceLROnPlateau", "`valid_data` or `valid_split`"):
        train("mmoe", compiled={"scheduler": "ReduceLROnPlateau"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")], ids=str)
def test_gpu_that_does_not_exist_is_refused(device, train, build, table, refused):
    with refused("`device`", "cuda", "'cpu'"):
        train("mmoe", device=device)
    with warnings.catch_warnings(), refused("`device`"):
        warnings.simplefilter("ignore")
        build("mmoe").predict(table, device=device)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_missing_feature_column_is_named(method, build, table, refused):
    model = build("mmoe")
    model.compile()
    table["usr"] = table.pop("user")
    with refused("`user`, which is a feature", "Did you mean `usr`?"):
        getattr(model, method)(table)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_missing_label_column_is_named(method, build, table, refused):
    model = build("mmoe")
    model.compile()
    table.pop("conversion")
    with refused("label of task `conversion`"):
        getattr(model, method)(table)


@pytest.mark.parametrize("data", [None, 3, [{"age": 1.0}], np.zeros((3, 2))], ids=type)
def test_what_is_no_table_is_refused(data, build, refused):
    with refused("table should be"):
        build("mmoe").predict(data)


def test_single_feature_in_place_of_a_list_is_refused(build, refused):
    with refused("`dense_features`", "list"):
        build("mmoe", dense_features=DenseFeature("age"))


def test_missing_target_is_refused(build, refused):
    with refused("`target`"):
        build("mmoe", target=None)


@pytest.mark.parametrize("kind", [pd.Index, np.array])
def test_columns_of_a_frame_are_targets(kind, build):
    assert build("mmoe", target=kind(["click", "like"])).task_names == ["click", "like"]


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 10_000])
def test_few_rows_and_any_batch_size_train(rows, batch_size, train, table):
    few = {name: values[:rows] for name, values in table.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, history = train("mmoe", data=few, batch_size=batch_size)
    assert history.epochs[0].loss["click"] > 0


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 10), (5, 1)])
def test_batch_normalisation_of_one_row_is_refused(rows, batch_size, build, train, table, refused):
    few = {name: values[:rows] for name, values in table.items()}
    with warnings.catch_warnings(), refused("norm", "row"):
        warnings.simplefilter("ignore")
        train(model=build("mmoe", expert_params={"dims": [4], "norm": "batch"}), data=few, batch_size=batch_size)


def test_huge_numbers_do_not_poison_the_weights(train, table):
    huge = {**table, "age": table["age"] * 1e10}
    model, _ = train("esmm", compiled={"loss_weights": "grad_norm", "clip_norm": 1.0}, data=huge, epochs=3)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert np.isfinite(model.predict(huge, device="cpu")).all(axis=None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shuffle": "no"}, ["`shuffle`", "True or False"]),
        ({"restore_best": 1}, ["`restore_best`"]),
        ({"verbose": "yes"}, ["`verbose`"]),
        ({"verbose": None}, ["`verbose`"]),
    ],
    ids=str,
)
def test_switches_are_switches(options, words, train, refused):
    with refused(*words):
        train("mmoe", **options)


def test_misspelt_kind_of_task_is_a_warning(build):
    with pytest.warns(UserWarning, match=r"`bianry`.*Did you mean `binary`"):
        build("mmoe", target=["click", "conversion"], task=["bianry", "binary"])
