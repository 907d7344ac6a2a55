"""Commands on parquet files that are streamed, compared with the same files read into memory."""

import json

import numpy as np
import pandas as pd
import pytest

from nextrec_like import InputError, synthetic_funnel
from nextrec_like.cli import main
from nextrec_like.config import load_config, read_data
from nextrec_like.data import tables as tables_module
from nextrec_like.training import reading

TEXT = """\
data:
  train: [day_1.parquet, day_2.parquet]
  valid: valid.parquet
  test: test
  streaming: true
features:
  dense: [price]
  sparse: [user_id, item_id]
  sequence: [{name: history, max_len: 5}]
tasks:
  - click
  - {name: conversion, parent: click}
model: {name: shared_bottom, bottom_params: {dims: [4]}, tower_params: {dims: []}}
training:
  epochs: 2
  batch_size: 128
  shuffle: false
  metrics: [auc, gauc]
  group_id: user_id
  device: cpu
"""


@pytest.fixture(scope="module")
def log():
    return synthetic_funnel(1000, seed=1)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, log):
    """A folder with data, a configuration, and one run that was streamed, `runs/job-001`."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "test").mkdir()
    log[:300].to_parquet(folder / "day_1.parquet", row_group_size=100)
    log[300:600].to_parquet(folder / "day_2.parquet", row_group_size=77)
    log[600:800].to_parquet(folder / "valid.parquet", row_group_size=64)
    log[800:].to_parquet(folder / "test" / "part.parquet")
    (folder / "job.yaml").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(tables_module, "read_files", never_read)
        assert main(["train", "job.yaml"]) == 0
    return folder


@pytest.fixture
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture
def run(here, capsys):
    """Runs a command with a ``--set`` for each override; gives its status, output and error output."""

    def run_command(*argv, overrides=()):
        status = main([*map(str, argv), *(word for text in overrides for word in ("--set", text))])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(reading, "memory_of_process", lambda: 0)


def never_read(*arguments):
    raise AssertionError("The files are read as a whole.")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def newest(folder, name):
    return sorted((folder / "runs").glob(f"{name}-*"))[-1]


def test_training_from_files_is_that_from_memory(here, run):
    status, out, _ = run("train", "job.yaml", overrides=["data.streaming=false", "name=whole"])

    assert status == 0
    assert metrics_of(newest(here, "whole")) == metrics_of(here / "runs" / "job-001")
    assert out.startswith("whole   rows: train 600, valid 200, test 200\n")


def test_data_are_described_from_a_pass_over_the_labels(run, log):
    status, out, _ = run("train", "job.yaml", overrides=["training.epochs=1", "name=described"])

    train = log[:600]
    assert status == 0
    assert out.splitlines()[:3] == [
        "described   rows: train 600, valid 200, test 200",
        f"  click: {train['click'].mean():.2%} positive",
        f"  conversion: {train['conversion'].mean():.2%} positive",
    ]


def test_labels_that_are_not_observed_are_counted_over_all_blocks(here, run, log):
    rows = log[:600].assign(spent=np.where(log[:600]["click"] == 1, log[:600]["price"], np.nan))
    rows.to_parquet("spent.parquet", row_group_size=50)
    overrides = ["data={train: spent.parquet, streaming: true}", "tasks=[click, {name: spent, kind: regression}]"]

    status, out, _ = run("train", "job.yaml", overrides=[*overrides, "training.epochs=1", "name=spent"])

    missing = int(rows["spent"].isna().sum())
    assert status == 0
    assert out.splitlines()[2] == f"  spent: mean {rows['spent'].mean():.4g}, {missing} not observed"


def test_auto_streams_only_what_does_not_fit(here, run, monkeypatch, no_memory):
    monkeypatch.setattr(tables_module, "read_files", never_read)
    overrides = ["data.streaming=auto", "training.epochs=1", "name=auto"]
    assert run("train", "job.yaml", overrides=overrides)[0] == 0

    monkeypatch.setattr(reading, "memory_of_process", lambda: 2**40)
    with pytest.raises(AssertionError, match="read as a whole"):
        run("train", "job.yaml", overrides=overrides)


def test_auto_reads_what_cannot_be_streamed(here, run, log, no_memory):
    log[600:800].to_csv("valid.csv", index=False)
    overrides = ["data={train: day_1.parquet, valid: valid.csv}", "features={sparse: [user_id]}", "name=mixed"]

    assert run("train", "job.yaml", overrides=overrides)[0] == 0


def test_cache_serves_every_seed_and_the_next_run(here, run):
    overrides = ["data.cache_dir=packed", "training.seeds=[0, 1]", "name=cached"]
    assert run("train", "job.yaml", overrides=overrides)[0] == 0
    written = {file: file.stat().st_mtime_ns for file in (here / "packed").rglob("*.npy")}
    assert run("train", "job.yaml", overrides=overrides)[0] == 0

    assert {file.parent.name for file in written} == {"train", "valid"}
    assert {file: file.stat().st_mtime_ns for file in written} == written
    for folder in (here / "runs").glob("cached-*"):
        assert metrics_of(folder)["seeds"]["0"] == metrics_of(here / "runs" / "job-001")["seeds"]["0"]


def test_run_is_evaluated_on_its_streamed_test_rows(here, run, monkeypatch, tmp_path):
    monkeypatch.setattr(tables_module, "read_files", never_read)

    status, out, _ = run("evaluate", "runs/job-001", "--output", tmp_path / "m.json")

    assert status == 0
    assert out.startswith("runs/job-001   200 rows\n")
    assert json.loads((tmp_path / "m.json").read_text())["test"] == metrics_of(here / "runs" / "job-001")["test"]


def test_evaluate_of_files_beyond_memory_is_that_in_memory(here, run, monkeypatch, no_memory, tmp_path):
    command = ["evaluate", "runs/job-001", "--data", "valid.parquet", "--data", "test", "--output", tmp_path / "m.json"]
    monkeypatch.setattr(reading, "memory_of_process", lambda: 2**40)
    in_memory = run(*command), (tmp_path / "m.json").read_text()

    monkeypatch.setattr(reading, "memory_of_process", lambda: 0)
    monkeypatch.setattr(tables_module, "read_files", never_read)
    streamed = run(*command, "--overwrite"), (tmp_path / "m.json").read_text()

    assert streamed == in_memory
    assert streamed[0][0] == 0
    assert "400 rows" in streamed[0][1]


def test_predictions_of_files_beyond_memory_are_those_in_memory(here, run, monkeypatch, tmp_path):
    def command(output):
        keep = "history,click,user_id,user_id"
        return run("predict", "runs/job-001", "--data", "test", "--keep", keep, "--output", tmp_path / output)

    in_memory = command("a.parquet")
    monkeypatch.setattr(reading, "memory_of_process", lambda: 0)
    monkeypatch.setattr(tables_module, "read_files", never_read)
    streamed = command("b.parquet")

    names = ["history", "click_label", "user_id", "click", "conversion", "conversion_given_click"]
    assert (in_memory[0], streamed[0]) == (0, 0)
    assert streamed[1] == f"wrote {tmp_path / 'b.parquet'}   200 rows: {', '.join(names)}\n"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "b.parquet"))
    assert list(pd.read_parquet(tmp_path / "b.parquet")) == names


def test_unknown_column_to_keep_is_one_line(run, no_memory, tmp_path):
    status, _, err = run(
        "predict", "runs/job-001", "--data", "test", "--keep", "user", "--output", tmp_path / "p.parquet"
    )

    assert (status, err.count("\n")) == (2, 1)
    assert "no column `user`. Did you mean `user_id`?" in err
    assert not list(tmp_path.iterdir())


WRONG_DATA = [
    ("{path: day_1.parquet, split: {}, streaming: true}", "`streaming` of `data` is for rows in parquet files"),
    ("{path: day_1.parquet, split: {}, streaming: true}", "those of `split` are made in memory; write the parts to"),
    ("{path: day_1.parquet, split: {}, cache_dir: packed}", "`cache_dir` of `data` is for rows in parquet files"),
    ("{synthetic_funnel: {}, streaming: true}", "those of `synthetic_funnel` are made in memory"),
    ("{train: day_1.parquet, streaming: false, cache_dir: packed}", "`cache_dir` is for streamed rows; leave it out"),
    ("{train: day_1.parquet, streaming: maybe}", "`data.streaming` should be a boolean or 'auto'. Received 'maybe'."),
    ("{train: day_1.parquet, valid: job.csv, streaming: true}", "There is no file or folder `job.csv`"),
    ("{train: day_1.parquet, valid: rows.csv, streaming: true}", "`rows.csv` is no parquet file, so it cannot be"),
    ("{train: day_1.parquet, valid: broken.parquet, streaming: true}", "File `broken.parquet` could not be read"),
    ("{train: day_1.parquet, cache_dir: job.yaml, streaming: true}", "`cache_dir` 'job.yaml/train' cannot be written"),
]


@pytest.mark.parametrize(("data", "expected"), WRONG_DATA)
def test_data_that_cannot_be_streamed_are_one_line_with_the_place(here, run, log, data, expected):
    log[:9].to_csv("rows.csv", index=False)
    (here / "broken.parquet").write_bytes((here / "day_1.parquet").read_bytes()[:-20])
    before = sorted((here / "runs").iterdir())

    status, _, err = run("train", "job.yaml", overrides=[f"data={data}"])

    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: --set data={data}: ")
    assert expected in err
    assert sorted((here / "runs").iterdir()) == before


WRONG_ROWS = [
    # column, the value that row 187 gets, the line of the configuration, what the message says
    ("click", 2, "11:5", "The label `click` of task `click` has value 2.0 in row 87, which is neither 0 nor 1"),
    ("click", 0, "12:24", "Task `conversion` has label 1 in row 87, where its parent `click` has label 0"),
]


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize(("column", "value", "line", "expected"), WRONG_ROWS)
def test_wrong_label_is_found_before_a_run_folder_is_made(here, run, log, part, column, value, line, expected):
    rows = log[:200].assign(click=1, conversion=1)
    rows.loc[187, column] = value
    rows.to_parquet("bad.parquet", row_group_size=100)
    before = sorted((here / "runs").iterdir())

    status, _, err = run("train", "job.yaml", overrides=[f"data.{part}=bad.parquet"])

    words = {"train": "training", "valid": "validation", "test": "test"}[part]
    assert status == 2
    assert err.startswith(f"error: job.yaml:{line}: In the {words} data: In row group 1 of `bad.parquet`: {expected}")
    assert sorted((here / "runs").iterdir()) == before


def test_wrong_number_in_training_rows_is_found_before_a_run_folder_is_made(here, run, log):
    log[:200].assign(price=[*log["price"][:150], *[None] * 50]).to_parquet("bad.parquet", row_group_size=100)
    before = sorted((here / "runs").iterdir())

    status, _, err = run("train", "job.yaml", overrides=["data.train=bad.parquet"])

    assert status == 2
    assert err.startswith("error: job.yaml:7:11: In row group 1 of `bad.parquet`: Column `price`, row 50: value nan")
    assert sorted((here / "runs").iterdir()) == before


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["features.sparse=[user]"], "--set features.sparse=[user]: In the training data: The table has no column `u"),
        (
            ["data.test=no_group.parquet"],
            "In the test data: In row group 0 of `no_group.parquet`: `group_id` column `u",
        ),
        (["training.group_id=user"], "error: --set training.group_id=user: In the training data: The table has no col"),
    ],
)
def test_columns_are_checked_before_a_run_folder_is_made(here, run, log, overrides, expected):
    log[:50].assign(user_id=[None, *log["user_id"][1:50]]).to_parquet("no_group.parquet")
    before = sorted((here / "runs").iterdir())

    status, _, err = run("train", "job.yaml", overrides=overrides)

    assert status == 2
    assert expected in err
    assert sorted((here / "runs").iterdir()) == before


def test_comparison_refuses_to_stream(here):
    with pytest.raises(InputError) as caught:
        read_data(load_config("job.yaml"))

    assert str(caught.value).startswith("job.yaml:5:3: `streaming` is true, but a comparison keeps all rows in memory;")
