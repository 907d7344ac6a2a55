import json
import runpy
import signal
import subprocess
import sys
import warnings
from multiprocessing import get_context
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import pytest

import nextrec_like
from nextrec_like import InputError, InputWarning, load_model, synthetic_funnel
from nextrec_like import cli as cli_module
from nextrec_like.cli import main
from nextrec_like.config import load_config, read_data
from nextrec_like.metrics import TaskMetrics
from nextrec_like.runs import HistoryWriter, describe_results, summarize, train
from nextrec_like.storage.tables import TABLE_WRITERS

TEXT = """\
data:
  train: train.parquet
  valid: valid.csv
  test: [test_1.parquet, test_2.parquet]
features:
  dense: [price]
  sparse: [user_id, item_id, category]
tasks:
  - click
  - {name: conversion, parent: click}
model: {name: shared_bottom, bottom_params: {dims: [4]}, tower_params: {dims: []}}
training:
  epochs: 2
  batch_size: 256
  metrics: [auc, gauc, logloss]
  group_id: user_id
  device: cpu
"""


@pytest.fixture(scope="module")
def log():
    return synthetic_funnel(1600, seed=1).drop(columns="history")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, log):
    """A folder with data, a configuration, and one finished run, `runs/job-001`."""
    folder = tmp_path_factory.mktemp("work")
    log[:1000].to_parquet(folder / "train.parquet")
    log[1000:1200].to_csv(folder / "valid.csv", index=False)
    log[1200:1400].to_parquet(folder / "test_1.parquet")
    log[1400:].to_parquet(folder / "test_2.parquet")
    (folder / "job.yaml").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(load_config("job.yaml"))
    return folder


@pytest.fixture
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture
def run(capsys):
    """Runs a command; gives its status, output and error output."""

    def run_command(*argv):
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_command


def read_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def newest(folder, name):
    return sorted(folder.glob(f"{name}-*"))[-1]


def test_run_folder_holds_config_versions_history_metrics_and_model(here):
    folder = here / "runs" / "job-001"

    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        "checkpoints",
        "config.yaml",
        "history.jsonl",
        "metrics.json",
        "model",
        "steps.parquet",
        "versions.json",
    ]
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["epoch"]) for line in history] == [(0, 1), (0, 2)]
    versions = read_json(folder / "versions.json")
    assert versions["nextrec_like"] == nextrec_like.__version__
    assert {"python", "torch", "numpy", "pandas", "pyarrow", "platform", "device", "command"} <= set(versions)


def test_metrics_have_part_task_and_metric(here):
    content = read_json(here / "runs" / "job-001" / "metrics.json")

    assert set(content) == {"valid", "test", "seeds", "reasons", "error_bounds", "conflict_share"}
    assert list(content["test"]) == ["click", "conversion", "conversion_given_click"]
    assert list(content["test"]["click"]) == ["auc", "gauc", "gauc_groups", "logloss"]
    assert content["seeds"] == {"0": {part: content[part] for part in ("valid", "test")}}
    missing = {
        (part, task, metric)
        for part in ("valid", "test")
        for task, values in content[part].items()
        for metric, value in values.items()
        if value is None
    }
    explained = {
        (part, task, metric)
        for part, tasks in content["reasons"].items()
        for task, reasons in tasks.items()
        for metric in reasons
    }
    assert missing == explained


def test_second_run_leaves_the_first_alone(here, run):
    before = {path: path.read_bytes() for path in (here / "runs" / "job-001").rglob("*") if path.is_file()}

    status, out, _ = run("train", "job.yaml", "--set", "training.epochs=1")

    assert status == 0
    assert out.splitlines()[-1] == str(newest(here / "runs", "job").relative_to(here)) != "runs/job-001"
    assert {path: path.read_bytes() for path in before} == before


def make_runs(count):
    config = load_config("job.yaml", ["training.epochs=1", "name=race", "training.metrics=auc"])
    return [str(train(config)) for _ in range(count)]


def test_processes_that_start_together_never_share_a_folder(here):
    with get_context("spawn").Pool(2) as pool:
        folders = [folder for made in pool.map(make_runs, [2, 2]) for folder in made]

    assert sorted(folders) == [f"runs/race-00{number}" for number in range(1, 5)]


def test_resolved_configuration_repeats_the_run(here):
    folder = train(load_config("runs/job-001/config.yaml"))

    assert read_json(folder / "metrics.json") == read_json(here / "runs" / "job-001" / "metrics.json")
    assert (folder / "config.yaml").read_text() == (here / "runs" / "job-001" / "config.yaml").read_text()


def test_diagnosis_writes_the_logged_steps_of_every_seed(here, run):
    settings = ("training.seeds=[3, 5]", "training.diagnose=true", "training.log_every=2", "name=diagnosed")
    status, out, _ = run("train", "job.yaml", *(word for setting in settings for word in ("--set", setting)))
    assert status == 0
    assert out.count("gradients in conflict") == 2

    folder = newest(here / "runs", "diagnosed")
    steps = pd.read_parquet(folder / "steps.parquet")
    cosines = steps[steps["figure"] == "cosine"]
    assert list(zip(cosines["seed"], cosines["step"])) == [(s, n) for s in (3, 5) for n in (1, 2, 4, 6, 8)]
    shares = read_json(folder / "metrics.json")["conflict_share"]
    for seed, by_seed in cosines.groupby("seed"):
        assert shares[str(seed)] == {"click and conversion": (by_seed["value"] < 0).mean()}


def test_several_seeds_give_the_mean_and_each(here, run):
    status, out, _ = run("train", "job.yaml", "--set", "training.seeds=[3, 5]", "--set", "name=seeds")

    folder = newest(here / "runs", "seeds")
    content = read_json(folder / "metrics.json")
    aucs = [content["seeds"][seed]["test"]["click"]["auc"] for seed in ("3", "5")]
    assert status == 0
    assert content["test"]["click"]["auc"] == fmean(aucs)
    assert f"{fmean(aucs):.5f} ± {stdev(aucs):.5f}" in out
    assert "\nseed 3\n" in out
    assert (folder / "model_seed_3").is_dir()
    assert (folder / "model_seed_5").is_dir()
    assert run("evaluate", folder)[1].splitlines()[1:] == out[out.index("test, mean") :].splitlines()[:-1]
    status, _, err = run("predict", folder, "--data", "train.parquet", "--output", "unused.csv")
    assert status == 2
    assert "models of several seeds (3, 5); choose by `--seed`" in err
    assert run("predict", folder, "--data", "train.parquet", "--output", "seed_5.csv", "--seed", 5)[0] == 0
    assert "Unknown seed" in run("predict", folder, "--data", "train.parquet", "--output", "s.csv", "--seed", 4)[2]


def test_output_of_train_is_terse(here, run):
    status, out, err = run("train", "job.yaml", "--set", "training.epochs=1")

    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0] == "job   rows: train 1,000, valid 200, test 400"
    assert lines[1].startswith("  click: ")
    assert lines[1].endswith("% positive")
    assert lines[3].startswith("shared_bottom: ")
    assert lines[3].endswith("; cpu")
    assert lines[4].startswith("epoch 1/1")
    assert "test" in lines[-8:]
    assert len(lines) < 25


def test_silent_from_python(here, capsys):
    train(load_config("job.yaml", ["training.epochs=1", "name=silent"]))

    assert capsys.readouterr().out == ""


def test_without_validation_and_test_rows_metrics_are_empty(here, run):
    status, out, _ = run("train", "job.yaml", "--set", "data={path: train.parquet}", "--set", "name=bare")

    folder = newest(here / "runs", "bare")
    content = read_json(folder / "metrics.json")
    assert (status, content["valid"], content["test"]) == (0, {}, {})
    assert "no validation or test rows" in out
    assert "has no test rows; pass `--data PATH`" in run("evaluate", folder)[2]


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("{fractions: [0.8, 0.1, 0.1]}", [800, 100, 100]),
        ("{by: time, column: time, fractions: [0.5, 0.5]}", [500, 500]),
        ("{by: group, column: user_id, fractions: [0.6, 0.4], seed: 2}", None),
    ],
)
def test_one_table_is_split(here, run, split, rows):
    data = f"{{path: train.parquet, split: {split}}}"

    status, out, _ = run("train", "job.yaml", "--set", f"data={data}", "--set", "training.epochs=1")

    named = dict(zip(["train", "valid", "test"], rows or []))
    assert status == 0
    assert rows is None or ", ".join(f"{part} {count}" for part, count in named.items()) in out.splitlines()[0]


def test_encoded_data_need_no_processor(here, run, log):
    pd.DataFrame({"item": log["item_id"] % 7, "price": log["price"] / 50, "click": log["click"]}).to_csv("ids.csv")
    features = "{encoded: true, dense: [price], sparse: [{name: item, vocab_size: 7}]}"
    overrides = [
        "name=encoded",
        "data={path: ids.csv, split: {}}",
        f"features={features}",
        "tasks=[click]",
        "training={metrics: auc}",
    ]

    status, _, _ = run("train", "job.yaml", *(word for text in overrides for word in ("--set", text)))

    folder = newest(here / "runs", "encoded")
    assert status == 0
    assert load_model(folder / "model").processor is None


def diverging(name):
    overrides = [
        "training.optimizer_params.lr=1e38",
        "training.optimizer=sgd",
        "training.clip_norm=1e9",
        f"name={name}",
    ]
    return ["train", "job.yaml", *(word for text in overrides for word in ("--set", text))]


def test_divergence_is_no_mistake_at_one_place(here, run):
    status, _, err = run(*diverging("diverging"))

    assert status == 2
    assert err.startswith("error: In epoch 1, 3 of 4 steps were skipped (the loss of task `click` was ")
    assert "training diverged" in err


def test_run_that_diverges_keeps_its_last_good_state(here, run):
    _, _, err = run(*diverging("early"))
    run("train", "job.yaml", "--set", "name=early")

    assert f"the last state is saved in '{here}/runs/early-001/checkpoints/seed_0/epoch-0000-step-" in err
    assert sorted(path.name for path in (here / "runs").glob("early-*")) == ["early-001", "early-002"]


def test_run_with_nothing_to_keep_leaves_no_folder(here, run):
    run(*diverging("gone"), "--set", "checkpoints=false")
    run("train", "job.yaml", "--set", "name=gone")

    assert [path.name for path in (here / "runs").glob("gone-*")] == ["gone-001"]


def test_history_survives_a_run_that_breaks_off(here, run, monkeypatch):
    write = HistoryWriter.on_epoch_end

    def write_and_fail(writer, trainer):
        write(writer, trainer)
        raise InputError("The loss became nan: training diverged.")

    monkeypatch.setattr(HistoryWriter, "on_epoch_end", write_and_fail)

    status, _, _ = run("train", "job.yaml", "--set", "name=broken")

    folder = newest(here / "runs", "broken")
    assert status == 2
    assert (folder / "config.yaml").is_file()
    assert not (folder / "metrics.json").exists()
    assert "its training did not end" in run("evaluate", folder)[2]


def test_evaluate_without_data_repeats_the_test_metrics_of_the_run(here, run, tmp_path):
    status, out, _ = run("evaluate", "runs/job-001", "--output", tmp_path / "m.json")

    assert status == 0
    assert "400 rows" in out
    assert read_json(tmp_path / "m.json")["test"] == read_json(here / "runs/job-001/metrics.json")["test"]


def test_evaluate_a_model_folder_on_files(here, run, tmp_path):
    output = tmp_path / "m.json"

    status, out, _ = run(
        "evaluate",
        "runs/job-001/model",
        "--data",
        "test_1.parquet",
        "--data",
        "test_2.parquet",
        "--metrics",
        "auc",
        "--output",
        output,
    )

    assert status == 0
    expected = read_json(here / "runs/job-001/metrics.json")["test"]["click"]["auc"]
    assert read_json(output)["data"]["click"] == {"auc": expected}
    assert f"{expected:.5f}" in out
    assert "exists; pass `--overwrite`" in run("evaluate", "runs/job-001", "--output", output)[2]
    assert run("evaluate", "runs/job-001", "--output", output, "--overwrite")[0] == 0


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_predictions_are_those_of_the_model_in_the_order_of_the_rows(here, run, tmp_path, log, suffix):
    output = tmp_path / "new" / f"p.{suffix}"

    status, out, _ = run(
        "predict", "runs/job-001", "--data", "train.parquet", "--output", output, "--keep", "item_id,click"
    )

    written = pd.read_parquet(output) if suffix == "parquet" else pd.read_csv(output)
    expected = load_model("runs/job-001/model").predict(log[:1000])
    assert status == 0
    assert "1,000 rows" in out
    assert list(written) == ["item_id", "click_label", "click", "conversion", "conversion_given_click"]
    np.testing.assert_allclose(written[list(expected)], expected, rtol=1e-12)
    np.testing.assert_array_equal(written[["item_id", "click_label"]], log[:1000][["item_id", "click"]])


def test_predict_keeps_an_existing_file(here, run, tmp_path):
    output = tmp_path / "p.csv"
    output.write_text("mine")
    command = ["predict", "runs/job-001", "--data", "train.parquet", "--output", output]

    status, _, err = run(*command)

    assert status == 2
    assert output.read_text() == "mine"
    assert err == f"error: File `{output}` exists; pass `--overwrite` to replace it, or another name.\n"
    assert run(*command, "--overwrite")[0] == 0
    assert output.read_text() != "mine"


@pytest.mark.parametrize("data", ["new.csv", "rows", "link.csv"])
def test_predict_never_replaces_its_own_input(here, run, tmp_path, monkeypatch, log, data):
    monkeypatch.chdir(tmp_path)
    log[:20].to_csv("new.csv", index=False)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "old.csv").hardlink_to("new.csv")
    (tmp_path / "link.csv").symlink_to("new.csv")
    before = (tmp_path / "new.csv").read_bytes()

    status, _, err = run(
        "predict", here / "runs/job-001", "--data", data, "--output", tmp_path / "new.csv", "--overwrite"
    )

    assert (status, err.count("\n")) == (2, 1)
    assert "is one of the files of `--data`; give another name" in err
    assert (tmp_path / "new.csv").read_bytes() == before


def test_output_is_as_it_was_if_writing_breaks_off(here, run, tmp_path, monkeypatch):
    def write_half(table, file):
        file.write_text("half")
        raise OSError(28, "No space left on device")

    output = tmp_path / "p.csv"
    output.write_text("mine")
    monkeypatch.setitem(TABLE_WRITERS, ".csv", write_half)

    status, _, err = run("predict", "runs/job-001", "--data", "valid.csv", "--output", output, "--overwrite")

    assert (status, err) == (2, f"error: `--output` `{output}` cannot be written: No space left on device.\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("command", [["evaluate", "nowhere", "{}.json"], ["predict", "nowhere", "{}.csv"]])
@pytest.mark.parametrize("place", ["/proc/p", "/dev/full/p", "/dev/full/new/p", "train.parquet/p"])
def test_unwritable_output_is_found_first(here, run, command, place):
    name, model, output = command
    output = output.format(place)

    status, _, err = run(name, model, "--data", "valid.csv", "--output", output)

    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: `--output` `{output}` cannot be written: ")


def test_folder_is_no_output(here, run, tmp_path):
    (tmp_path / "m.json").mkdir()

    assert "is a folder; give the name of a file" in run("evaluate", "runs/job-001", "--output", tmp_path / "m.json")[2]


def test_folder_of_the_output_is_made(here, run, tmp_path):
    assert run("evaluate", "runs/job-001", "--output", tmp_path / "a" / "b" / "m.json")[0] == 0
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["m.json"]


def test_order_of_the_arguments_is_free(here, run, tmp_path):
    status, out, _ = run(
        "predict",
        "--output",
        tmp_path / "q.csv",
        "--data",
        "test_1.parquet",
        "--data",
        "test_2.parquet",
        "runs/job-001",
    )

    assert status == 0
    assert "400 rows" in out


def test_evaluate_elsewhere_says_how_to_name_the_rows(here, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    status, _, err = run("evaluate", here / "runs/job-001")

    assert status == 2
    assert "There is no file or folder `train.parquet`" in err
    assert err.endswith("To evaluate on other rows, pass `--data PATH`.\n")


def test_a_table_in_place_of_a_configuration_is_told_apart(here, run):
    assert run("train", "valid.csv")[2].startswith("error: `valid.csv` looks like a table, not a YAML file")
    assert run("train", "train.parquet")[2].startswith("error: `train.parquet` looks like a table, not a YAML file")


WRONG = [
    (["train", "job.yaml", "--set", "training.epoch=1"], "--set training.epoch=1: unknown key `epoch` in `training`."),
    (["train", "jobs.yaml"], "There is no configuration `jobs.yaml`"),
    (["train", "job.yaml", "--set", "data.train=rows.parquet"], "data.train=rows.parquet: There is no file or folder"),
    (["train", "job.yaml", "--set", "data.train=rows.parquet"], "check the path"),
    (
        ["train", "job.yaml", "--set", "data.train=datasets/census_income/train.parquet"],
        "run `python datasets/census_income/prepare.py` first",
    ),
    (["train", "job.yaml", "--set", "features.sparse=[itemid]"], "no column `itemid`. Did you mean `item_id`?"),
    (["train", "job.yaml", "--set", "features.sparse=[itemid]"], "error: --set features.sparse=[itemid]: "),
    (["train", "job.yaml", "--set", "training.group_id=user"], "error: --set training.group_id=user: "),
    (["train", "job.yaml", "--set", "tasks.0={name: click, label: clicks}"], "Did you mean `click`?"),
    (["train", "job.yaml", "--set", "tasks.0={name: click, label: item_id}"], "error: --set tasks.0="),
    (["train", "job.yaml", "--set", "features.dense=[city]"], "error: --set features.dense=[city]: "),
    (["train", "job.yaml", "--set", "output=train.parquet"], "No run folder can be made in `output`"),
    (["evaluate", "runs"], "`runs` is neither a run folder (with config.yaml) nor a model folder (with model.json)."),
    (["evaluate", "runs/job-001/model"], "pass `--data PATH`"),
    (["evaluate", "runs/job-001", "--metrics", "auk"], "Unknown metric `auk`. Did you mean `auc`?"),
    (["evaluate", "runs/job-001", "--device", "cuda:99"], "`device` is 'cuda:99'"),
    (["evaluate", "runs/job-001", "--data", "rows.csv"], "There is no file or folder `rows.csv`"),
    (["predict", "runs/job-001", "--data", "valid.csv", "--output", "p.txt"], "should end in .parquet or .csv"),
    (["predict", "runs/job-001", "--data", "valid.csv", "--output", "p.csv", "--keep", "a"], "no column `a`"),
]


@pytest.mark.parametrize(("argv", "expected"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_wrong_input_is_one_line_and_status_2(here, run, argv, expected):
    before = sorted((here / "runs").iterdir())

    status, _, err = run(*argv)

    assert status == 2
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1
    assert sorted((here / "runs").iterdir()) == before


def test_error_in_the_data_names_the_line_of_the_file(here, run):
    (here / "bad.yaml").write_text(TEXT.replace("category]", "categori]"))

    assert run("train", "bad.yaml")[2].startswith(
        "error: bad.yaml:7:30: In the training data: The table has no column `categori`."
    )


WRONG_ROWS = [
    # column, the value that row 187 gets, what the message says
    ("click", 2, "The label `click` of task `click` has value 2.0 in row 187, which is neither 0 nor 1"),
    ("click", 0, "Task `conversion` has label 1 in row 187, where its parent `click` has label 0"),
    ("price", None, "Column `price`, row 187: value nan is missing or infinite"),
]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("{path: bad.parquet, split: {}}", ""),
        ("{path: bad.parquet, split: {by: time, column: time}}", ""),
        ("{train: bad.parquet, valid: valid.csv}", "In the training data: "),
        ("{train: train.parquet, valid: bad.parquet}", "In the validation data: "),
        ("{train: train.parquet, test: bad.parquet}", "In the test data: "),
    ],
)
@pytest.mark.parametrize(("column", "value", "expected"), WRONG_ROWS)
def test_wrong_row_is_named_before_a_run_folder_is_made(here, run, log, data, place, column, value, expected):
    rows = log[:200].assign(click=1, conversion=1)
    rows.loc[187, column] = value
    rows.to_parquet("bad.parquet")
    before = sorted((here / "runs").iterdir())

    status, _, err = run("train", "job.yaml", "--set", f"data={data}")

    line = {"price": "6:11", 2: "9:5", 0: "10:24"}[column if value is None else value]
    assert status == 2
    assert err.startswith(f"error: job.yaml:{line}: {place}{expected}")
    assert sorted((here / "runs").iterdir()) == before


def test_missing_group_is_found_before_a_run_folder_is_made(here, run, log):
    log[:50].assign(user_id=[None, *log["user_id"][1:50]]).to_parquet("no_group.parquet")
    before = sorted((here / "runs").iterdir())

    status, _, err = run("train", "job.yaml", "--set", "data.test=no_group.parquet")

    assert status == 2
    assert "In the test data: `group_id` column `user_id` has no value in row 0" in err
    assert sorted((here / "runs").iterdir()) == before


def test_time_of_a_split_may_be_a_feature_too(here, run, log):
    log[::16].to_csv("hours.csv", index=False)
    data = "data={path: hours.csv, split: {by: time, column: hour, fractions: [0.5, 0.5]}}"

    tables = read_data(load_config("job.yaml", [data, "features={sparse: [hour]}"]))

    last, first = max(map(int, tables["train"]["hour"].to_pylist())), min(map(int, tables["valid"]["hour"].to_pylist()))
    assert last < first


def test_encoded_rows_are_checked_before_the_split(here, run, log):
    rows = pd.DataFrame({"item": log["item_id"] % 7, "click": log["click"]})
    rows.loc[1333, "item"] = 7
    rows.to_parquet("outside.parquet")
    overrides = [
        "data={path: outside.parquet, split: {}}",
        "features={encoded: true, sparse: [{name: item, vocab_size: 7}]}",
        "tasks=[click]",
        "training={}",
    ]

    status, _, err = run("train", "job.yaml", *(word for text in overrides for word in ("--set", text)))

    assert status == 2
    assert "Feature `item` has value 7 in row 1333" in err


def test_ids_of_csv_files_are_text_from_training_to_prediction(here, run, tmp_path):
    rng = np.random.default_rng(0)
    item = rng.choice(["007", "7", "x9"], 600)
    pd.DataFrame({"item": item, "click": (item == "007").astype(int)}).to_csv("codes.csv", index=False)
    new = pd.DataFrame({"item": ["007", "7", "07", "007"]})
    new.to_csv("new_codes.csv", index=False)
    overrides = ["name=codes", "data={path: codes.csv, split: {}}", "features={sparse: [item]}", "tasks=[click]"]
    overrides += ["training={metrics: auc, epochs: 5, batch_size: 32, device: cpu}"]

    status, _, _ = run("train", "job.yaml", *(word for text in overrides for word in ("--set", text)))
    folder, output = newest(here / "runs", "codes"), tmp_path / "p.csv"
    run("predict", folder, "--data", "new_codes.csv", "--output", output, "--keep", "item")

    written = pd.read_csv(output, dtype={"item": str})
    model = load_model(folder / "model")
    assert status == 0
    assert list(written["item"]) == list(new["item"])
    np.testing.assert_allclose(written["click"], model.predict(new)["click"], rtol=1e-12)
    assert written["click"][0] == written["click"][3] > written["click"][1]
    assert run("evaluate", folder, "--data", "codes.csv")[1].splitlines()[0].endswith("600 rows")
    assert set(model.processor.vocabulary("item").to_pylist()) == {"007", "7", "x9"}


def test_input_warnings_are_one_clean_line(here, run, monkeypatch):
    def warn(config, **options):
        warnings.warn("Task `a` has only the label 0.", InputWarning, stacklevel=1)

    monkeypatch.setattr(cli_module, "train", warn)

    assert run("train", "job.yaml") == (0, "", "warning: Task `a` has only the label 0.\n")


def test_interruption_has_status_130(here, run, monkeypatch):
    def interrupt(config, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_module, "train", interrupt)

    assert run("train", "job.yaml") == (130, "", "\ninterrupted\n")


def test_ctrl_c_keeps_the_epochs_before_it(here, run, monkeypatch):
    write = HistoryWriter.on_epoch_end

    def write_and_interrupt(writer, trainer):
        write(writer, trainer)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(HistoryWriter, "on_epoch_end", write_and_interrupt)

    status, _, err = run("train", "job.yaml", "--set", "name=stopped")

    history = (here / "runs" / "stopped-001" / "history.jsonl").read_text()
    assert status == 130
    assert err == (
        f"\ninterrupted by SIGINT; the last state is saved in '{here}/runs/stopped-001/checkpoints/seed_0/epoch-0001'; "
        "the same command with `--resume` goes on\n"
    )
    assert [json.loads(line)["epoch"] for line in history.splitlines()] == [1]


def test_ctrl_c_without_checkpoints_leaves_what_there_is(here, run, monkeypatch):
    monkeypatch.setattr(HistoryWriter, "on_step_end", lambda *_: signal.raise_signal(signal.SIGINT))

    status, _, err = run("train", "job.yaml", "--set", "name=hasty", "--set", "checkpoints=false")

    assert (status, err) == (130, "\ninterrupted\n")
    assert not list((here / "runs").glob("hasty-*"))


def test_ctrl_c_during_the_imports_shows_no_traceback(monkeypatch, capsys):
    class Interrupt:
        def find_spec(self, name, *_):
            if name == "nextrec_like.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "nextrec_like.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupt(), *sys.meta_path])

    with pytest.raises(SystemExit) as caught:
        runpy.run_module("nextrec_like", run_name="__main__")

    assert (caught.value.code, capsys.readouterr().err) == (130, "\ninterrupted\n")


def test_a_bug_is_not_hidden(here, run, monkeypatch):
    def fail(config, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(cli_module, "train", fail)

    with pytest.raises(ZeroDivisionError):
        run("train", "job.yaml")


@pytest.mark.parametrize("argv", [[], ["fit"], ["train"], ["predict", "x"]])
def test_wrong_usage_has_status_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert caught.value.code == 2
    assert "usage: nextrec-like" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"]])
def test_help_is_printed(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "-h"])

    assert caught.value.code == 0
    assert "usage: nextrec-like" in capsys.readouterr().out


def test_python_m_is_the_command():
    command = [sys.executable, "-m", "nextrec_like", "--version"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == f"nextrec-like {nextrec_like.__version__}\n"


def test_missing_metric_of_one_seed_makes_the_mean_missing():
    results = {
        seed: {
            "test": {"a": TaskMetrics({"auc": value, "gauc_groups": 2 + seed}, {} if value else {"auc": "One class."})}
        }
        for seed, value in enumerate([0.5, None])
    }

    content = summarize(results)

    assert content["test"] == {"a": {"auc": None, "gauc_groups": 2.5}}
    assert content["valid"] == {}
    assert content["reasons"] == {"test": {"a": {"auc": "One class."}}}
    assert "-" in describe_results(results)


def test_error_bound_of_a_metric_is_that_of_the_worst_seed():
    results = {
        seed: {"test": {"a": TaskMetrics({"auc": 0.5, "logloss": 0.1}, error_bounds=bounds)}}
        for seed, bounds in enumerate([{}, {"auc": 0.003}, {"auc": 0.001}])
    }

    assert summarize(results)["error_bounds"] == {"test": {"a": {"auc": 0.003}}}
    assert describe_results(results).endswith("\n  a auc: within about 0.003 of the exact value")


def test_train_raises_input_errors_to_python(here):
    with pytest.raises(InputError):
        train(load_config("job.yaml", ["data.train=rows.parquet"]))
