"""What looks wrong with the data is said before training, once, as one table."""

import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nextrec_like import DenseFeature, InputWarning
from nextrec_like.cli import main

TELLTALE = DenseFeature("told")
CONFIG = """
data:
  train: train.parquet
  valid: valid.parquet
  test: test.parquet
  streaming: {streaming}
features: {{dense: [{{name: age, scaling: none}}, told], sparse: [user], encoded: false}}
tasks: [click, like]
model: {{name: shared_bottom, bottom_params: {{dims: [4]}}, tower_params: {{dims: [4]}}}}
training: {{seeds: [0, 1], device: cpu}}
comparison: {{weightings: [equal], single_task: false, tuned_fixed: false}}
"""


def messages(caught):
    return [str(each.message) for each in caught if "looks wrong" in str(each.message)]


@pytest.fixture
def leaky(build, table, features):
    """A model, and rows in which one of its features is the label."""
    model = build("mmoe", dense_features=[*features["dense_features"], TELLTALE])
    return model, {**table, "told": 2 * table["click"] + 1}


def fit(model, rows, *more, **options):
    model.compile()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(rows, *more, batch_size=60, device="cpu", verbose=0, **options)
    return messages(caught)


def test_a_leak_is_told_once_with_its_task(leaky):
    (message,) = fit(*leaky, epochs=2)
    header, *lines = message.splitlines()[1:]
    assert header.split() == ["warning", "about", "task", "found", "advice"]
    assert [line.split()[:4] for line in lines] == [["label", "copy", "told", "click"]]


def test_validation_rows_are_compared_with_training_rows(leaky):
    model, rows = leaky
    (message,) = fit(model, rows, rows)
    assert "overlap" in message
    assert "all features in valid" in message


def test_the_checks_can_be_switched_off(leaky, refused):
    assert fit(*leaky, check_data=False) == []
    with refused("`check_data` should be True or False"):
        fit(*leaky, check_data="no")


def test_rows_packed_once_train_as_the_table_does(build, table, other_table):
    models = [build("mmoe") for _ in range(2)]
    rows = [models[0].pack(each, group_id="user") for each in (table, other_table)]
    metrics = {"metrics": ["auc", "gauc"], "group_id": "user"}
    fit(models[0], *rows, epochs=2, **metrics)
    fit(models[1], table, other_table, epochs=2, **metrics)
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert models[0].evaluate(rows[1], **metrics) == models[1].evaluate(other_table, **metrics)


def test_streamed_rows_packed_once_train_as_the_files_do(build, table, tmp_path):
    pq.write_table(pa.table({**table, "pair": table["pair"].tolist()}), tmp_path / "rows.parquet", row_group_size=50)
    models = [build("mmoe") for _ in range(2)]
    packed = models[0].pack(tmp_path, streaming=True, cache_dir=tmp_path / "cache")
    fit(models[0], packed, epochs=2)
    fit(models[1], tmp_path, epochs=2, streaming=True)
    states = [model.state_dict() for model in models]
    assert (tmp_path / "cache" / "cache.json").is_file()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("streaming", ["true", "false"])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_commands_look_at_all_parts(command, streaming, tmp_path, monkeypatch, capfd):
    if command == "compare" and streaming == "true":
        pytest.skip("a comparison keeps all rows in memory")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, shift in (("train", 0), ("valid", 0), ("test", 3)):
        age, click = rng.normal(size=400) + shift, rng.integers(0, 2, 400)
        columns = {"age": age, "told": click * 1.0, "user": rng.integers(0, 9, 400), "click": click}
        pq.write_table(pa.table({**columns, "like": rng.integers(0, 2, 400)}), f"{part}.parquet")
    (tmp_path / "job.yaml").write_text(CONFIG.format(streaming=streaming))

    assert main([command, "job.yaml"]) == 0
    err = capfd.readouterr().err
    assert err.count("looks wrong") == 1
    assert [line.split()[:3] for line in err.splitlines() if line.startswith(("label", "drift"))] == [
        ["label", "copy", "told"],
        ["drift", "age", "in"],
    ]
    assert "age in test" in err

    assert main([command, "job.yaml", "--set", "data.checks=false"]) == 0
    assert "looks wrong" not in capfd.readouterr().err


def test_nothing_is_said_of_good_rows(build, table, other_table):
    assert fit(build("mmoe"), table, other_table) == []


def test_warning_is_of_the_kind_that_users_can_filter(leaky):
    model, rows = leaky
    model.compile()
    with pytest.warns(InputWarning, match="Before training"):
        model.fit(rows, batch_size=60, device="cpu", verbose=0)
