"""Training, evaluation and prediction of rows that stay in parquet files."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from nextrec_like import DataProcessor, DenseFeature, IdColumn, InputError, NumericColumn, SequenceColumn, Task
from nextrec_like.data import streaming
from nextrec_like.data.packed import pack
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import StreamedData
from nextrec_like.data.tables import read_table
from nextrec_like.features import FeatureSet
from nextrec_like.models import MMoE
from nextrec_like.training import label_statistics, predictor, reading
from nextrec_like.training.callbacks import Callback

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(streaming, "PIECE_ROWS", 16)


def write(folder, columns, files=2, group_rows=50):
    folder.mkdir(exist_ok=True)
    table = read_table(columns)
    for number, part in enumerate(np.array_split(np.arange(table.num_rows), files)):
        pq.write_table(table.take(part), folder / f"{number}.parquet", row_group_size=group_rows)
    return folder


@pytest.fixture
def folder(tmp_path, table):
    """The rows of `table` in two files of three row groups each."""
    return write(tmp_path / "train", {**table, "number": np.arange(240)})


def assert_same_weights(model, other):
    for (name, value), (_, expected) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(value, expected), name


def order_of_epochs(paths, features, seed, epochs):
    """Row numbers in the order in which a streamed training with this seed reads them, by an id column."""
    rows = StreamedData(ParquetRows(paths, features))
    generator = torch.Generator().manual_seed(seed)
    return [torch.cat([b.dense for b in rows.batches(50, CPU, generator)]).flatten().long() for _ in range(epochs)]


class Rows(Callback):
    """Replaces the training rows at the end of each epoch."""

    def __init__(self, epochs):
        self.epochs = iter(epochs)

    def on_epoch_end(self, trainer):
        trainer.train_data = next(self.epochs, trainer.train_data)


@pytest.mark.parametrize("weighting", [None, "grad_norm", "prior_inverse"])
def test_streamed_training_in_order_gives_the_weights_of_training_in_memory(folder, table, train, weighting):
    options = {"epochs": 2, "shuffle": False, "compiled": {"loss_weights": weighting}}
    in_memory, _ = train(**options)
    streamed, history = train(data=folder, streaming=True, **options)
    assert_same_weights(streamed, in_memory)
    assert len(history.epochs) == 2


def test_shuffled_training_gives_the_weights_of_training_in_memory_in_that_order(folder, table, build, train):
    epochs = order_of_epochs(sorted(folder.iterdir()), FeatureSet([DenseFeature("number")]), seed=5, epochs=2)
    assert sorted(epochs[0].tolist()) == list(range(240))
    assert epochs[0].tolist() != epochs[1].tolist()
    streamed, _ = train(data=folder, streaming=True, epochs=2, seed=5)
    model = build()
    first, second = (pack(read_table(table).take(order.numpy()), model.features, model.tasks) for order in epochs)
    in_memory, _ = train(model=model, data=first, epochs=2, seed=5, shuffle=False, callbacks=[Rows([second])])
    assert_same_weights(streamed, in_memory)


def test_streamed_validation_gives_the_metrics_of_validation_in_memory(folder, tmp_path, other_table, table, train):
    valid = write(tmp_path / "valid", other_table, files=3)
    options = {"epochs": 3, "shuffle": False, "metrics": ["auc", "gauc", "logloss", "ece"], "group_id": "user"}
    streamed, history = train(data=folder, valid_data=valid, streaming=True, **options)
    in_memory, expected = train(valid_data=other_table, **options)
    assert [epoch.valid for epoch in history.epochs] == [epoch.valid for epoch in expected.epochs]
    assert history.best_epoch == expected.best_epoch
    assert_same_weights(streamed, in_memory)


def test_resumed_streamed_training_is_that_of_an_uninterrupted_one(folder, tmp_path, train):
    whole, _ = train(data=folder, streaming=True, epochs=4)
    options = {"data": folder, "streaming": True, "checkpoint_dir": tmp_path / "checkpoint"}
    train(epochs=2, **options)
    resumed, _ = train(epochs=4, resume=["epochs"], **options)
    assert_same_weights(resumed, whole)


@pytest.mark.parametrize(("weighting", "shuffle"), [(None, True), ("modo", True), ("modo", False)])
def test_streamed_training_resumes_within_an_epoch(folder, tmp_path, train, weighting, shuffle):
    class Interrupt(Callback):
        def on_step_end(self, trainer):
            if len(trainer.history.epochs) == 1 and trainer.totals.steps == 9:
                raise KeyboardInterrupt

    options = {"data": folder, "streaming": True, "epochs": 2, "batch_size": 16, "shuffle": shuffle}
    options["compiled"] = {"loss_weights": weighting}
    whole, _ = train(**options)
    saved = {"checkpoint_dir": tmp_path / "checkpoint", "checkpoint_params": {"every_steps": 4}}
    with pytest.raises(KeyboardInterrupt):
        train(**options, **saved, callbacks=[Interrupt()])
    assert (saved["checkpoint_dir"] / "LATEST").read_text() == "epoch-0001-step-000008"
    resumed, _ = train(**options, **saved, resume=True)
    assert_same_weights(resumed, whole)


def test_resuming_in_another_order_of_rows_is_refused(folder, table, tmp_path, train, refused):
    saved = {"checkpoint_dir": tmp_path / "checkpoint"}
    train(data=folder, streaming=True, epochs=1, **saved)
    with refused("order of rows was streamed in windows of", "now over all rows in memory"):
        train(data=folder, streaming=False, epochs=1, resume=True, **saved)
    write(folder, table, group_rows=40)
    with refused("order of rows was streamed"):
        train(data=folder, streaming=True, epochs=1, resume=True, **saved)


def test_resuming_on_files_of_other_values_is_refused(folder, table, tmp_path, train, refused):
    saved = {"checkpoint_dir": tmp_path / "checkpoint"}
    train(data=folder, streaming=True, epochs=1, **saved)
    write(folder, {**table, "age": table["age"] * 2})
    with refused("differs", "training files was"):
        train(data=folder, streaming=True, epochs=1, resume=True, **saved)


def test_streamed_training_resumes_from_a_checkpoint_of_rows_in_memory(folder, table, tmp_path, train):
    options = {"shuffle": False, "checkpoint_dir": tmp_path / "checkpoint"}
    whole, _ = train(epochs=2, shuffle=False)
    train(epochs=1, **options)
    resumed, _ = train(data=folder, streaming=True, epochs=2, resume=["epochs"], **options)
    assert_same_weights(resumed, whole)


def test_weighting_that_draws_rows_of_its_own_draws_them_from_the_window(folder, train):
    (first, _), (second, _) = (
        train(data=folder, streaming=True, epochs=2, compiled={"loss_weights": "modo"}) for _ in range(2)
    )
    assert_same_weights(first, second)


def test_cached_training_gives_the_weights_of_streamed_training(folder, tmp_path, other_table, train):
    valid = write(tmp_path / "valid", other_table)
    options = {"data": folder, "valid_data": valid, "streaming": True, "epochs": 2}
    streamed, _ = train(**options)
    for _ in range(2):
        from_cache, _ = train(**options, cache_dir=tmp_path / "cache")
        assert_same_weights(from_cache, streamed)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["train", "valid"]


def raw_model(processor):
    model = MMoE(**processor.features(), target=[Task("click")], processor=processor, num_experts=2)
    model.compile(optimizer_params={"lr": 0.01})
    return model


def test_raw_files_are_encoded_by_the_processor_of_the_model(tmp_path, table):
    raw = {**table, "user": [f"user {user}" for user in table["user"]]}
    folder = write(tmp_path / "raw", raw)
    processor = DataProcessor([NumericColumn("age"), IdColumn("user"), SequenceColumn("hist")]).fit(raw)
    options = {"batch_size": 32, "shuffle": False, "verbose": 0, "device": "cpu"}
    streamed, in_memory = raw_model(processor), raw_model(processor)
    streamed.fit(folder, streaming=True, **options)
    in_memory.fit(raw, **options)
    assert_same_weights(streamed, in_memory)
    options = {"metrics": ["auc", "gauc"], "group_id": "user", "device": "cpu"}
    assert streamed.evaluate(folder, streaming=True, **options) == in_memory.evaluate(raw, **options)


def test_evaluation_and_prediction_are_those_in_memory(folder, table, train):
    model, _ = train()
    metrics = {"metrics": ["auc", "gauc", "pr_auc", "logloss", "pcoc"], "group_id": "item", "device": "cpu"}
    assert model.evaluate(folder, streaming=True, **metrics) == model.evaluate(table, **metrics)
    streamed, in_memory = model.predict(folder, streaming=True, device="cpu"), model.predict(table, device="cpu")
    pd.testing.assert_frame_equal(streamed, in_memory, check_exact=True)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_predictions_in_a_file_are_those_in_memory(folder, table, train, tmp_path, is_streamed):
    model, _ = train()
    output = tmp_path / "scores.parquet"
    options = {"output": output, "keep": ["number", "click"], "device": "cpu"}
    data = folder if is_streamed else {**table, "number": np.arange(240)}
    assert model.predict(data, streaming="auto" if not is_streamed else True, **options) == output
    written = pd.read_parquet(output)
    assert written.columns.tolist() == ["number", "click_label", "click", "conversion", "conversion_given_click"]
    assert written["number"].tolist() == list(range(240))
    assert written["click_label"].tolist() == table["click"].tolist()
    pd.testing.assert_frame_equal(written.iloc[:, 2:], model.predict(table, device="cpu"), check_exact=True)


def test_blocks_of_a_prediction_file_keep_rows_together(folder, table, train, tmp_path, monkeypatch):
    model, _ = train()
    for module in (streaming, predictor):
        monkeypatch.setattr(module, "BLOCK_ROWS", 37)
    output = model.predict(folder, streaming=True, output=tmp_path / "s.parquet", keep=["number"], device="cpu")
    written = pd.read_parquet(output)
    assert pq.ParquetFile(output).num_row_groups == 7
    assert written["number"].tolist() == list(range(240))
    np.testing.assert_allclose(written["click"], model.predict(table, device="cpu")["click"], rtol=1e-5)


def test_prediction_file_is_whole_or_not_there(folder, train, tmp_path, refused, own_threads):
    model, _ = train()
    (folder / "1.parquet").write_bytes((folder / "1.parquet").read_bytes()[:-9])
    with refused("1.parquet` could not be read"):
        model.predict(folder, streaming=True, output=tmp_path / "scores.parquet", device="cpu")
    assert not list(tmp_path.glob("*scores*"))
    assert own_threads() == 0


@pytest.mark.parametrize("streaming", [True, False])
def test_predictions_never_replace_or_join_the_data(folder, train, refused, streaming, monkeypatch):
    model, _ = train()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.chdir(folder)
    for data, output in [("0.parquet", folder / "0.parquet"), (folder, "scores.parquet"), (["0.parquet"], "0.parquet")]:
        with refused("is where the data are; give another file or folder"):
            model.predict(data, streaming=streaming, output=output, device="cpu")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_kept_column_is_written_once(folder, table, train, tmp_path):
    model, _ = train()
    for name, data in {"a": folder, "b": table}.items():
        output = model.predict(data, output=tmp_path / f"{name}.parquet", keep=["age", "age"], device="cpu")
        assert list(pd.read_parquet(output))[:2] == ["age", "click"]


def test_failed_writing_leaves_no_thread_while_its_error_is_held(folder, train, tmp_path, monkeypatch, own_threads):
    model, _ = train()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(InputError, match="cannot be written") as held:
        model.predict(folder, streaming=True, output=tmp_path / "scores.parquet", device="cpu")
    assert own_threads() == 0
    assert "No space left" in str(held.value)


def test_fault_of_validation_rows_is_said_to_be_there(folder, tmp_path, table, train, refused):
    users = np.asarray(table["user"]).copy()
    users[70] = 99
    valid = write(tmp_path / "valid", {**table, "user": users})
    with refused("In the validation data: In row group 1 of", "Feature `user` has value 99"):
        train(data=folder, valid_data=valid, streaming=True)


def test_what_cannot_be_written_is_an_error(table, train, tmp_path, refused):
    model, _ = train()
    with refused("`output` should be a .parquet file", "scores.csv"):
        model.predict(table, output=tmp_path / "scores.csv")
    with refused("there is no folder", "make it first"):
        model.predict(table, output=tmp_path / "none" / "scores.parquet")
    with refused("`keep` needs an `output`"):
        model.predict(table, keep=["user"])
    with refused("`keep` should be a list of column names", "'user'"):
        model.predict(table, output=tmp_path / "scores.parquet", keep="user")
    with refused("The table has no column `usr`", "Did you mean `user`?"):
        model.predict(table, output=tmp_path / "scores.parquet", keep=["usr"], device="cpu")
    with refused("`keep` has `click`, which would be written as `click_label`, and that is there already"):
        model.predict(table, output=tmp_path / "scores.parquet", keep=["click", "click_label"])
    with refused("`keep` should be a list of column names", "None"):
        model.predict(table, output=tmp_path / "scores.parquet", keep=None)
    with refused("`output` should be a path. Received 3."):
        model.predict(table, output=3)
    packed = pack(read_table(table), model.features)
    with refused("`keep` needs the table"):
        model.predict(packed, output=tmp_path / "scores.parquet", keep=["user"])


def test_rows_are_streamed_where_they_would_fill_a_third_of_the_memory(folder, build, monkeypatch):
    model = build()
    size = 240 * (8 * 6 + 4 * 3 + 12 * 2)  # ids user, item and four of hist; age and pair; two labels
    for memory, expected in ((3 * size - 3, True), (3 * size + 3, False)):
        monkeypatch.setattr(reading, "memory_of_process", lambda memory=memory: memory)
        files = reading.files_to_stream(folder, "auto", model.features, model.tasks)
        assert (files is not None) is expected
        assert reading.files_to_stream(folder, False, model.features, model.tasks) is None
        assert reading.files_to_stream({"a": [1]}, "auto", model.features, model.tasks) is None


def test_wrong_options_are_errors(folder, table, train, tmp_path, refused):
    with refused("Only parquet files are streamed", "Received dict"):
        train(streaming=True)
    with refused("In the validation data: Only parquet files are streamed"):
        train(data=folder, valid_data=table, streaming=True)
    with refused("`streaming` should be 'auto', True or False. Received 'yes'"):
        train(data=folder, streaming="yes")
    with refused("`device_data` should be 'auto', True or False. Received 1"):
        train(device_data=1)
    with refused("`valid_split` needs the rows in memory", "give `valid_data`"):
        train(data=folder, streaming=True, valid_split=0.2)
    with refused("`cache_dir` is for streamed rows"):
        train(data=folder, streaming=False, cache_dir=tmp_path / "cache")


def test_file_that_vanishes_within_an_epoch_ends_the_training(folder, train, refused, own_threads):
    class Remove(Callback):
        def on_step_end(self, trainer):
            (folder / "1.parquet").unlink(missing_ok=True)

    with refused("1.parquet` could not be read", "No such file"):
        train(data=folder, streaming=True, shuffle=False, batch_size=8, callbacks=[Remove()])
    assert own_threads() == 0


def test_interrupted_training_leaves_no_thread(folder, train, own_threads):
    class Interrupt(Callback):
        def on_step_end(self, trainer):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data=folder, streaming=True, batch_size=8, callbacks=[Interrupt()])
    assert own_threads() == 0


def test_labels_are_described_alike_in_any_blocks(table, build):
    model = build(target=[Task("click"), Task("conversion", parent="click"), Task("price", kind="regression")])
    labels = np.stack([table["click"], table["conversion"], table["price"]], axis=1)
    labels[:200, 2] = np.nan
    found = label_statistics.label_statistics(np.array_split(labels, 7), model.objective)
    np.testing.assert_allclose(found.mean, np.nanmean(labels, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, np.nanvar(labels, axis=0), rtol=1e-6)
    labels[:, 2] = np.nan
    assert torch.isnan(label_statistics.label_statistics([labels], model.objective).mean[2])
