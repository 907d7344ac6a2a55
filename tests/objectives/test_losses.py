"""Element-wise losses against their formulas, and what `compile(loss=...)` makes of its argument."""

import numpy as np
import pytest
import torch

from nextrec_like import Task
from nextrec_like.objectives import BCE, LOSSES, MAE, MSE, Focal, Huber, build_losses
from nextrec_like.tasks import TaskSet

SCORES, LABELS = np.array([-2.0, -0.3, 0.0, 0.7, 3.0]), np.array([1.0, 0.0, 1.0, 1.0, 0.0])
P = 1 / (1 + np.exp(-SCORES))
P_LABEL = np.where(LABELS == 1, P, 1 - P)
CLASS = np.where(LABELS == 1, 3.0, 0.5)
ERROR = SCORES - LABELS


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (BCE(), -np.log(P_LABEL)),
        (BCE(class_weight=[0.5, 3.0]), -CLASS * np.log(P_LABEL)),
        (Focal(), -((1 - P_LABEL) ** 2) * np.log(P_LABEL)),
        (Focal(gamma=0.5), -((1 - P_LABEL) ** 0.5) * np.log(P_LABEL)),
        (Focal(gamma=0), -np.log(P_LABEL)),
        (Focal(gamma=1, class_weight=(0.5, 3)), -CLASS * (1 - P_LABEL) * np.log(P_LABEL)),
        (MSE(), ERROR**2),
        (MAE(), np.abs(ERROR)),
        (Huber(), np.where(np.abs(ERROR) < 1, ERROR**2 / 2, np.abs(ERROR) - 0.5)),
        (Huber(delta=2), np.where(np.abs(ERROR) < 2, ERROR**2 / 2, 2 * (np.abs(ERROR) - 1))),
    ],
)
def test_loss_is_its_formula(loss, expected):
    actual = loss(torch.tensor(SCORES), torch.tensor(LABELS))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
@pytest.mark.parametrize("score", [-300.0, 300.0])
def test_focal_stays_finite_for_huge_logits(gamma, score):
    scores = torch.full((2,), score, requires_grad=True)
    loss = Focal(gamma)(scores, torch.tensor([0.0, 1.0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BCE(class_weight=[1.0]), ["`class_weight`", "two"]),
        (lambda: BCE(class_weight=[-1, 1]), ["`class_weight`", "-1"]),
        (lambda: BCE(class_weight=[0, 0]), ["`class_weight`", "not both 0"]),
        (lambda: BCE(class_weight=[float("nan"), 1]), ["`class_weight`", "nan"]),
        (lambda: BCE(class_weight=["a", 1]), ["`class_weight`", "'a'"]),
        (lambda: Focal(gamma=-1), ["`gamma`", "-1"]),
        (lambda: Focal(gamma="2"), ["`gamma`", "'2'"]),
        (lambda: Huber(delta=0), ["`delta`", "0"]),
        (lambda: Huber(delta=float("inf")), ["`delta`", "inf"]),
    ],
)
def test_wrong_option_is_refused(make, words, refused):
    with refused(*words):
        make()


@pytest.mark.parametrize("given", [3, {0: 1.0, 1: 10.0}, {1.0, 10.0}], ids=["number", "dict", "set"])
def test_class_weight_that_is_no_list_is_refused(given, refused):
    with refused("`class_weight`", "two"):
        BCE(class_weight=given)


TASKS = TaskSet([Task("click"), Task("price", kind="regression")])


def kinds_of(spec, tasks=TASKS):
    return [type(loss) for loss in build_losses(spec, tasks, LOSSES).values()]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, [BCE, MSE]),
        (["focal", "huber"], [Focal, Huber]),
        ("mae", [MAE, MAE]),
        ({"price": "mae", "click": "bce"}, [BCE, MAE]),
        ([{"name": "focal", "gamma": 1}, Huber(2)], [Focal, Huber]),
        ({"name": "huber", "delta": 3}, [Huber, Huber]),
        (MSE(), [MSE, MSE]),
    ],
)
def test_spec_becomes_one_loss_per_task(spec, expected):
    assert kinds_of(spec) == expected


def test_options_reach_the_loss():
    losses = build_losses([{"name": "focal", "gamma": 1.5}, {"name": "huber", "delta": 3}], TASKS, LOSSES)
    assert (losses["click"].gamma, losses["price"].delta) == (1.5, 3)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("bec", ["loss `bec`", "Did you mean `bce`?"]),
        ("bce", ["`bce`", "`price`", "regression", "mse"]),
        (["bce"], ["1 entries", "2 tasks", "click, price"]),
        ([], ["0 entries", "2 tasks"]),
        (["bce", "mse", "mse"], ["3 entries", "2 tasks"]),
        ({"click": "bce"}, ["no loss for task `price`"]),
        ({"clik": "bce", "price": "mse"}, ["`clik`", "Did you mean `click`?"]),
        ([{"name": "focal", "gama": 1}, "mse"], ["option of loss `focal`", "`gama`", "Did you mean `gamma`?"]),
        ([{"gamma": 1}, "mse"], ["`click`", "name"]),
        ([None, "mse"], ["`click`", "None"]),
        ([3, "mse"], ["`click`", "3"]),
    ],
    ids=str,
)
def test_wrong_loss_is_refused(spec, words, refused):
    with refused(*words):
        build_losses(spec, TASKS, LOSSES)


@pytest.mark.parametrize("spec", [3, torch.nn.BCEWithLogitsLoss()], ids=["number", "torch module"])
def test_loss_that_is_neither_name_nor_list_is_refused(spec, refused):
    with refused("loss"):
        build_losses(spec, TASKS, LOSSES)


def test_task_may_be_called_name():
    tasks = TaskSet([Task("name"), Task("other")])
    assert kinds_of({"name": "bce", "other": "focal"}, tasks) == [BCE, Focal]
