"""A checkpoint that so many processes wrote goes on in any number of them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from rank_trainings import largest_difference, make_model, make_rows, trained

from nextrec_like import Callback

BATCH, STEPS = 60, 8
ROWS = make_rows(BATCH * STEPS - 7)
SOURCES = ["memory", "streamed"]


class StoppedError(Exception):
    """As if the power failed."""


class Stops(Callback):
    def on_step_end(self, trainer):
        if len(trainer.history.epochs) == 1 and trainer.totals.steps == 5:
            raise StoppedError


def interrupted(rows, folder, **options):
    with pytest.raises(StoppedError):
        trained(
            rows, BATCH, checkpoint_dir=folder, checkpoint_params={"every_steps": 2}, callbacks=[Stops()], **options
        )


def resumed(rows, folder, batch_size, **options):
    options = {"checkpoint_dir": folder, "checkpoint_params": {"every_steps": 2}, "resume": True, **options}
    return trained(rows, BATCH, batch_size=batch_size, **options)


@pytest.fixture(params=SOURCES)
def rows(request, tmp_path):
    if request.param == "memory":
        return ROWS
    pa.parquet.write_table(pa.table(ROWS), tmp_path / "rows.parquet", row_group_size=50)
    return str(tmp_path / "rows.parquet")


def options_of(rows):
    fitted = {"streaming": True} if isinstance(rows, str) else {}
    return {"compiled": {"loss_weights": "grad_norm", "embedding_optimizer": "lazy_adam"}, "epochs": 3, **fitted}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_goes_on_within_an_epoch(ranks, rows, tmp_path, count):
    folder, options = str(tmp_path / "checkpoints"), options_of(rows)
    undisturbed = ranks(2, trained, rows, BATCH, **options)
    ranks(2, interrupted, rows, folder, **options)
    if count == 1:
        results = [resumed(rows, folder, BATCH // 2, **options)]
    else:
        results = ranks(count, resumed, rows, folder, BATCH // 2, **options)
    for one in results:
        if count == 2:
            assert largest_difference(one, undisturbed[0]) == 0
        elif isinstance(rows, str):  # the epoch that was begun is read in its order, the one after in another one
            assert {name: value.shape for name, value in one[0].items()} == shapes(undisturbed[0])
            assert one[2]["epochs"][1]["loss"] == pytest.approx(undisturbed[0][2]["epochs"][1]["loss"], abs=1e-5)
        else:
            assert largest_difference(one, undisturbed[0]) < 2e-6


def shapes(result):
    return {name: value.shape for name, value in result[0].items()}


def test_one_process_goes_on_in_two(ranks, tmp_path):
    folder, options = str(tmp_path / "checkpoints"), options_of(ROWS)
    undisturbed = trained(ROWS, BATCH, **options)
    interrupted(ROWS, folder, **options)
    for one in ranks(2, resumed, ROWS, folder, BATCH, **options):
        assert largest_difference(one, undisturbed) < 2e-6


def test_streamed_rows_in_order_are_those_of_one_process(ranks, tmp_path):
    pa.parquet.write_table(pa.table(ROWS), tmp_path / "rows.parquet", row_group_size=50)
    options = {"streaming": True, "shuffle": False, "compiled": {"loss_weights": "pcgrad"}}
    alone = trained(str(tmp_path / "rows.parquet"), BATCH, **options)
    for one in ranks(3, trained, str(tmp_path / "rows.parquet"), BATCH, **options):
        assert largest_difference(one, alone) < 2e-6


def test_streamed_and_shuffled_all_rows_are_seen_once_an_epoch(ranks, tmp_path):
    pa.parquet.write_table(pa.table(ROWS), tmp_path / "rows.parquet", row_group_size=50)
    options = {"streaming": True, "epochs": 1, "compiled": {"optimizer_params": {"lr": 0.0}}}
    alone = trained(ROWS, BATCH, epochs=1, compiled={"optimizer_params": {"lr": 0.0}})
    for *_, history in ranks(3, trained, str(tmp_path / "rows.parquet"), BATCH, **options):
        assert history["epochs"][0]["loss"] == pytest.approx(alone[2]["epochs"][0]["loss"], rel=1e-6)


def dropped(rows, folder, **options):
    model = make_model(expert_params={"dims": [16, 8], "dropout": 0.5})
    model.compile()
    model.fit(rows, batch_size=BATCH // 2, verbose=0, device="cpu", check_data=False, **options)
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_dropout_goes_on_bitwise(ranks, tmp_path):
    folder = str(tmp_path / "checkpoints")
    saved = {"checkpoint_dir": folder, "checkpoint_params": {"every_steps": 2}, "epochs": 3}
    undisturbed = ranks(2, dropped, ROWS, folder, epochs=3)[0]
    ranks(2, stopped_with_dropout, ROWS, folder, saved)
    for one in ranks(2, dropped, ROWS, folder, resume=True, **saved):
        for name, value in one.items():
            np.testing.assert_array_equal(value, undisturbed[name])


def stopped_with_dropout(rows, folder, saved):
    with pytest.raises(StoppedError):
        dropped(rows, folder, callbacks=[Stops()], **saved)
