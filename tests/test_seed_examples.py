"""The two programs that must run as they stand."""

import warnings

import numpy as np
import pytest

FIRST = """
from nextrec_like import ESMM, DenseFeature, SparseFeature, SequenceFeature

model = ESMM(
    dense_features=dense_features,
    sparse_features=sparse_features,
    sequence_features=sequence_features,
    ctr_params={"dims": [64, 32], "activation": "relu", "dropout": 0.4},
    cvr_params={"dims": [64, 32], "activation": "relu", "dropout": 0.4},
    target=task_labels,
    task=["click", "conversion"],
)
model.compile(
    optimizer="adam",
    optimizer_params={"lr": 5e-4, "weight_decay": 1e-4},
    loss=["bce", "bce"],
    loss_weights=[0.3, 0.7],
)
"""

SECOND = """
model.compile(
    optimizer="adam",
    optimizer_params={"lr": 5e-4, "weight_decay": 1e-4},
    loss=["bce", "bce"],
    loss_weights={"method": "grad_norm", "alpha": 1.5, "lr": 0.025},   # or simply "grad_norm"
)
"""


def run(program, features, table):
    space = {**features, "task_labels": ["is_click", "is_conversion"]}
    exec(program, space)
    data = {**table, "is_click": table["click"], "is_conversion": table["conversion"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = space["model"].fit(data, epochs=1, batch_size=240, device="cpu", verbose=0)
        return history, space["model"].predict(data, device="cpu")


@pytest.mark.parametrize("program", [FIRST, FIRST + SECOND], ids=["fixed", "grad_norm"])
def test_program_runs_and_predicts_the_funnel(program, features, table):
    history, prediction = run(program, features, table)
    assert list(prediction) == ["click", "conversion", "conversion_given_click"]
    assert len(prediction) == len(table["click"])
    product = prediction["click"] * prediction["conversion_given_click"]
    np.testing.assert_allclose(prediction["conversion"], product, rtol=1e-12)
    assert set(history.epochs[0].loss) == {"click", "conversion"}


def test_fixed_weights_are_those_that_were_given(features, table):
    history, _ = run(FIRST, features, table)
    assert history.epochs[0].weights == pytest.approx({"click": 0.3, "conversion": 0.7})


def test_the_name_alone_means_grad_norm_with_its_defaults(features, table):
    short = SECOND.replace('{"method": "grad_norm", "alpha": 1.5, "lr": 0.025}', '"grad_norm"')
    by_name, _ = run(FIRST + short, features, table)
    by_dict, _ = run(FIRST + SECOND, features, table)
    assert by_name.epochs[0].weights == by_dict.epochs[0].weights
    assert by_name.epochs[0].loss == by_dict.epochs[0].loss
