"""Processes that share out embedding tables train what one process trains."""

import pytest
from ranks import Pool
from sharded_trainings import difference, diverged, left_alone, predicted, trained

BATCH = 60
NUMBERS = 40 * 16 + 25 * 16 + 9 * 4


@pytest.mark.parametrize("weighting", [None, "pcgrad", "famo", "moco"])
@pytest.mark.parametrize("sharding", ["table_wise", "column_wise"])
def test_weights_and_predictions_are_those_of_one_process(sharding_ranks, sharding, weighting):
    options = {"loss_weights": weighting, "warmup_steps": 3}
    alone = trained(BATCH, **options)
    for one in sharding_ranks(2, trained, BATCH // 2, sharding=sharding, **options):
        assert difference(one, alone) < 2e-6


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("sgd", {"lr": 0.5}),
        ("rowwise_adagrad", {"lr": 0.1}),
        ("adagrad", {"lr": 0.1, "eps": 1e-3, "initial_accumulator_value": 0.1}),
    ],
)
def test_fused_optimizers_follow_options_and_schedule(sharding_ranks, kind, params):
    options = {
        "embedding_optimizer": kind,
        "embedding_optimizer_params": params,
        "scheduler": "ExponentialLR",
        "scheduler_params": {"gamma": 0.9},
        "scheduler_interval": "step",
    }
    alone = trained(BATCH, **options)
    for one in sharding_ranks(2, trained, BATCH // 2, sharding="auto", **options):
        assert difference(one, alone) < 2e-6


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"loss_weights": "modo"}], ids=str)
def test_weights_are_those_of_processes_with_whole_tables(sharding_ranks, options):
    whole = sharding_ranks(2, trained, BATCH // 2, **options)
    for one in sharding_ranks(2, trained, BATCH // 2, sharding="table_wise", **options):
        assert difference(one, whole[0]) < 2e-6


@pytest.mark.parametrize("sharding", ["table_wise", "column_wise"])
def test_each_number_of_a_table_is_in_one_process(sharding_ranks, sharding):
    held = [one[1][0] for one in sharding_ranks(2, trained, 30, sharding=sharding)]
    assert sum(held) == 2 * NUMBERS  # with the sums of Adagrad
    assert max(held) < 1.4 * NUMBERS


def test_tables_that_fit_nowhere_are_drawn_trained_and_read_in_parts(sharding_ranks):
    by_table = sharding_ranks(2, trained, 30, sharding="table_wise", fits=False)
    by_column = sharding_ranks(2, trained, 30, sharding="column_wise", fits=False)
    assert all(one[0]["embedding.tables.0.weight"].size == 0 for one in by_table + by_column)
    assert difference(by_table[0], by_table[1]) == 0
    assert difference(by_table[0], by_column[0]) < 1e-6
    assert by_table[0][0]["auc"] > 0.6  # it has learned which users click


def test_a_model_in_parts_is_saved_and_loaded_by_any_number_of_processes(sharding_ranks, tmp_path):
    whole = sharding_ranks(2, trained, 30, sharding="column_wise", fits=False, save=tmp_path / "model")
    expected = whole[0][0]["predictions"]
    alone, rows = predicted(tmp_path / "model", fits=True)
    assert rows == [9, 65]
    assert abs(alone - expected).max() < 1e-6
    for size in (2, 3):
        for found, rows in sharding_ranks(size, predicted, tmp_path / "model", fits=False, sharding="table_wise"):
            assert rows == [0, 0]
            assert abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("fits", [True, False])
def test_a_training_goes_on_in_other_processes_with_other_parts(sharding_ranks, tmp_path, fits):
    expected = sharding_ranks(2, trained, 30, sharding="table_wise", fits=fits, fit={"epochs": 3})
    fit = {"epochs": 3, "checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 2}}
    sharding_ranks(2, trained, 30, sharding="table_wise", fits=fits, fit=fit, stop_after=9)
    fit["resume"] = True
    for one in sharding_ranks(3, trained, 30, sharding="column_wise", fits=fits, fit=fit):
        assert difference(one, expected[0]) < 2e-6


def test_a_training_goes_on_bitwise_in_the_same_processes(sharding_ranks, tmp_path):
    expected = sharding_ranks(2, trained, 30, sharding="column_wise", fits=False)
    fit = {"checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 2}}
    sharding_ranks(2, trained, 30, sharding="column_wise", fits=False, fit=fit, stop_after=9)
    fit["resume"] = True
    found = sharding_ranks(2, trained, 30, sharding="column_wise", fits=False, fit=fit)
    assert difference(found[0], expected[0]) == 0


def test_a_step_that_is_not_finite_ends_the_training_at_once(sharding_ranks):
    for error, steps in sharding_ranks(2, diverged, "table_wise"):
        assert error.startswith("In epoch 1, a step was skipped (the loss of task `click` was nan")
        assert steps == 1


def test_a_process_that_is_gone_is_said_by_the_others(tmp_path):
    pytest.importorskip("torchrec", reason="TorchRec is not installed; see the extra `sharded` in pyproject.toml")
    pool = Pool(2)
    try:
        with pytest.raises(EOFError):
            pool.run(left_alone, tmp_path / "said")
    finally:
        pool.stop()
    assert (tmp_path / "said").read_text().startswith("LostProcessError: Another process of this job has ended")


def test_a_second_training_goes_on_with_the_sums_of_the_first(sharding_ranks):
    alone = trained(BATCH, fits_twice=True)
    for one in sharding_ranks(2, trained, BATCH // 2, sharding="column_wise", fits_twice=True):
        assert difference(one, alone) < 2e-6
