"""Every weighting, objective and option sees all processes' rows."""

import numpy as np
import pytest
import torch
from rank_trainings import largest_difference, make_model, make_rows, trained, without_labels

from nextrec_like import Task
from nextrec_like.weighting import WEIGHTINGS

BATCH = 60
NEEDED = {"pareto": {"c": [0.1, 0.1, 0.1]}}
TOLERANCE = {"famo": 3e-5}  # it learns from the difference of two losses that are nearly equal
ROWS = without_labels(make_rows(BATCH * 8), BATCH)


def check_equal(ranks, size, rows, tolerance=2e-6, **options):
    alone = trained(rows, BATCH, **options)
    for one in ranks(size, trained, rows, BATCH, **options):
        assert largest_difference(one, alone) < tolerance
    return alone


@pytest.mark.parametrize("name", sorted(set(WEIGHTINGS) - {"fixed"}))
def test_method_gives_what_it_gives_in_one_process(ranks, name):
    spec = {"method": name, **NEEDED.get(name, {})}
    tolerance = TOLERANCE.get(name, 2e-6)
    alone = check_equal(ranks, 2, ROWS, tolerance, compiled={"loss_weights": spec}, shuffle=False)
    assert len(alone[1]) == 8


@pytest.mark.parametrize("site", ["last_shared", "shared", "representation"])
@pytest.mark.parametrize("name", ["grad_norm", "pcgrad"])
def test_site(ranks, name, site):
    check_equal(ranks, 2, ROWS, compiled={"loss_weights": {"method": name, "site": site}}, shuffle=False)


@pytest.mark.parametrize(
    "compiled",
    [
        {"clip_norm": 0.01},
        {"accumulate_steps": 3, "loss_weights": "uncertainty"},
        {"loss_weights": {"method": "imtl_g", "every": 3, "warmup_steps": 2}},
        {"optimizer": "sgd", "embedding_optimizer": "rowwise_adagrad"},
        {"optimizer": "adagrad", "embedding_optimizer": "adagrad"},
        {"scheduler": "CosineAnnealingLR", "scheduler_params": {"T_max": 8}, "scheduler_interval": "step"},
    ],
    ids=lambda compiled: "-".join(map(str, compiled)),
)
def test_option(ranks, compiled):
    check_equal(ranks, 3, ROWS, compiled=compiled, shuffle=False)


def test_shuffled_rows_are_those_of_one_process(ranks):
    check_equal(ranks, 4, make_rows(433), epochs=2, shuffle=True)


@pytest.mark.parametrize("objective", ["click_space", "entire_space"])
def test_objective(ranks, objective):
    rows = make_rows(300)
    rows["like"] = rows["like"] * rows["click"]
    tasks = [Task("click"), Task("like", parent="click"), Task("share")]
    options = {"compiled": {"objective": objective, "loss_weights": "pcgrad"}, "target": tasks, "shuffle": False}
    check_equal(ranks, 2, rows, **options)


def test_last_step_may_have_fewer_rows_than_processes(ranks):
    check_equal(ranks, 4, make_rows(BATCH * 3 + 2), shuffle=False)


def test_validation_is_over_all_rows(ranks):
    rows, valid = make_rows(300), make_rows(211, seed=1)
    options = {"metrics": ["auc", "gauc", "logloss"], "group_id": "user", "valid_data": valid, "epochs": 3}
    *_, alone = trained(rows, BATCH, **options)
    for *_, together in ranks(3, trained, rows, BATCH, **options):
        for one, other in zip(together["epochs"], alone["epochs"]):
            for task in ("click", "like", "share"):
                for metric in ("auc", "gauc", "logloss", "gauc_groups"):
                    assert one["valid"][task][metric] == pytest.approx(other["valid"][task][metric], abs=1e-4)
            assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert together["best_epoch"] == alone["best_epoch"]


def predicted(rows):
    model = make_model()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    evaluated = model.evaluate(rows, metrics=["auc", "gauc"], group_id="user", device="cpu")
    return model.predict(rows, device="cpu"), {task: values["gauc"] for task, values in evaluated.items()}


def test_predictions_are_whole_and_in_order_in_all_processes(ranks):
    rows = make_rows(101)
    results = ranks(2, predicted, rows)
    frame, metrics = predicted(rows)
    for each, evaluated in results:
        np.testing.assert_allclose(each.to_numpy(), frame.to_numpy(), atol=1e-6)
        assert evaluated == pytest.approx(metrics, abs=1e-6)
