"""The whole way: from a configuration to an answer, interrupted and continued."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nextrec_like import InputError, synthetic_funnel
from nextrec_like.cli import main
from nextrec_like.comparison import compare, read_results
from nextrec_like.config import load_config
from nextrec_like.runs import train
from nextrec_like.storage import atomic
from nextrec_like.storage.lock import locked

SECTION = "{weightings: [uncertainty], tuned_fixed: {trials: 2}}"


def by_variant(results, metric="auc", output="click"):
    return {each.variant: each.values for each in results.estimates if (each.metric, each.output) == (metric, output)}


@pytest.fixture
def said():
    return []


def test_a_comparison_from_python(place, configure, said):
    found = compare(configure(SECTION), jobs=1, echo=said.append)

    results, text = found.results, "\n".join(said)
    assert [each.name for each in results.variants] == ["equal", "tuned_fixed", "uncertainty", "single_task"]
    assert results.seeds == [0, 1]
    files = {path.name for path in found.folder.iterdir()}
    assert {"report.html", "report.md", "results.json", "estimates.csv", "differences.csv", "runs.csv"} <= files
    assert read_results(found.folder / "results.json") == results
    for run in results.runs:
        result = json.loads((found.folder / run.folder / "result.json").read_text())
        values = by_variant(results)[run.variant]
        assert values[str(run.seed)] == result["test"]["click"]["auc"]
    estimates = pd.read_csv(found.folder / "estimates.csv")
    uncertainty = estimates.query("variant == 'uncertainty' and output == 'click' and metric == 'auc'")
    assert uncertainty["mean"].item() == pytest.approx(np.mean(list(by_variant(results)["uncertainty"].values())))
    assert "tuned_fixed" in text
    assert str(found.page) in text


def test_what_was_trained_is_not_trained_again(place, configure, said):
    first = compare(configure(SECTION), jobs=1)
    times = {path: path.stat().st_mtime_ns for path in first.folder.glob("runs/*/result.json")}

    compare(configure("{weightings: [uncertainty, dwa], tuned_fixed: {trials: 2}}"), jobs=1, echo=said.append)

    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(list(first.folder.glob("runs/*"))) == len(times) + 2  # dwa with two seeds
    assert any("dwa   seed 0" in line for line in said)


def test_a_damaged_run_folder_is_said_and_trained_again(place, configure, said):
    first = compare(configure(SECTION), jobs=1)
    broken = first.folder / first.results.runs[0].folder
    (broken / "predictions.parquet").unlink()

    again = compare(configure(SECTION), jobs=1, echo=said.append)

    assert any(broken.name in line and "predictions.parquet is missing" in line for line in said)
    assert again.results.estimates == first.results.estimates


def test_a_variant_that_fails_stops_nothing_else_and_is_not_tried_again(place, configure, said):
    models = "[mmoe, {name: single_task, tower_params: {dims: [4]}}]"
    section = f"{{models: {models}, weightings: [pcgrad], tuned_fixed: false, single_task: false}}"

    found = compare(configure(section), jobs=1, echo=said.append)

    failed = [run for run in found.results.runs if run.reason is not None]
    assert {run.variant for run in failed} == {"single_task / pcgrad"}
    assert all("share none" in run.reason for run in failed)
    assert len(found.results.runs) - len(failed) == 3 * 2
    assert any("single_task / pcgrad" in line and "FAILED" in line for line in said)
    assert "share none" in found.page.read_text(encoding="utf-8")
    said.clear()
    compare(configure(section), jobs=1, echo=said.append)
    assert not any("FAILED" in line for line in said)
    compare(configure(section), jobs=1, echo=said.append, retry_failed=True)
    assert any("FAILED" in line for line in said)


def test_a_learning_rate_that_diverges_is_not_chosen(place, configure):
    found = compare(configure("{weightings: [dwa], learning_rates: [1e30, 1e-2], tuned_fixed: false}"), jobs=1)

    for variant in found.results.variants:
        assert [each.chosen for each in variant.candidates] == [False, True], variant.name
        assert "diverged" in variant.candidates[0].reason


def test_two_variants_that_come_to_the_same_are_said_once(place, configure):
    section = "{weightings: [[1, 1], grad_norm, {method: grad_norm, every: 1}], tuned_fixed: false, single_task: false}"

    found = compare(configure(section), jobs=1)

    same = {each.name: each.same_as for each in found.results.variants}
    assert same == {"equal": None, "fixed 1:1": "equal", "grad_norm": None, "grad_norm every 1": "grad_norm"}
    assert len(list(found.folder.glob("runs/*"))) == 2 * 2


def test_one_seed_gives_no_interval_and_says_so(place, configure):
    found = compare(configure("{weightings: [dwa], tuned_fixed: false}", "training.seeds=[0]"), jobs=1)

    assert {each.verdict for each in found.results.differences} == {"undefined"}
    assert {each.low for each in found.results.differences} == {None}
    assert "one seed" in found.page.read_text(encoding="utf-8").lower()


def test_a_single_class_in_the_test_rows_is_a_reason_and_no_value(place, configure):
    synthetic_funnel(1_500, seed=2).assign(conversion=0).to_parquet("test.parquet")

    found = compare(configure("{weightings: [dwa], tuned_fixed: false}"), jobs=1)

    (estimate,) = [
        each
        for each in found.results.estimates
        if (each.variant, each.output, each.metric) == ("equal", "conversion", "auc")
    ]
    assert estimate.mean is None
    assert "both classes" in estimate.reason
    assert by_variant(found.results)["equal"]["0"] > 0


def choices(results):
    return [
        (variant.name, variant.setting, [(each.label, each.score, each.chosen) for each in variant.candidates])
        for variant in results.variants
    ]


@pytest.mark.parametrize(
    "section",
    [
        "{weightings: [{method: grad_norm, tune: {alpha: [0.5, 3]}}], learning_rates: [1e-3, 1e-2]}",
        "{objectives: [marginal, entire_space], weightings: [dwa], search_seeds: 2, "
        "tuned_fixed: {trials: 2, sampler: tpe}, single_task: false}",
    ],
)
def test_no_choice_depends_on_the_test_labels(place, configure, section):
    config = configure(section, "training.epochs=3", "training.patience=1")
    first = compare(config, jobs=1)
    test = pd.read_parquet("test.parquet")
    draws = np.random.default_rng(0)
    clicks = draws.integers(0, 2, len(test))
    test.assign(click=clicks, conversion=clicks * draws.integers(0, 2, len(test))).to_parquet("test.parquet")

    second = compare(config, jobs=1)

    variant = first.results.variants[0].name
    assert by_variant(first.results)[variant] != by_variant(second.results)[variant]  # the labels did change
    assert choices(first.results) == choices(second.results)
    epochs = [[(run.best_epoch, run.score) for run in found.results.runs] for found in (first, second)]
    assert epochs[0] == epochs[1]


def test_two_comparisons_do_not_share_a_folder_at_a_time(place, configure):
    section = "{weightings: [equal], single_task: false}"
    folder = compare(configure(section, "training.seeds=[0]"), jobs=1).folder
    with locked(folder, "compares"), pytest.raises(InputError, match="Another process compares in"):
        compare(configure(section), jobs=1)
    assert compare(configure(section), jobs=1).results.seeds == [0, 1]


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_note_of_a_failure_that_was_not_written_to_its_end_is_not_believed(place, configure, content):
    config = configure("{weightings: [equal], single_task: false, learning_rates: [1e30, 1e-2]}", "training.seeds=[0]")
    folder = compare(config, jobs=1).folder
    (note,) = (folder / "failures").iterdir()
    note.write_text(content)

    found = compare(config, jobs=1)

    assert "diverged" in found.results.variants[0].candidates[0].reason
    assert "diverged" in note.read_text()


def test_a_number_of_processes_below_one_is_refused(configure):
    with pytest.raises(InputError, match="`jobs` should be a positive integer"):
        compare(configure(), jobs=-1)


def test_a_run_can_be_trained_again_from_its_folder(place, configure):
    found = compare(configure("{weightings: [equal], single_task: false}"), jobs=1)
    run = found.results.runs[1]
    kept = found.folder / run.folder

    folder = train(load_config(kept / "config.yaml", ["output=again", "name=again"]))

    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics["seeds"]) == [str(run.seed)]
    expected = json.loads((kept / "result.json").read_text())["test"]["click"]["auc"]
    assert metrics["test"]["click"]["auc"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data={train: train.parquet, valid: valid.parquet}"], "`data` has no `test`"),
        (["data={train: train.parquet, test: test.parquet}"], "`data` has no `valid`"),
    ],
)
def test_a_comparison_needs_rows_to_choose_on_and_rows_to_judge_on(place, configure, overrides, message):
    with pytest.raises(InputError) as error:
        compare(configure("{}", *overrides), jobs=1)

    assert message in str(error.value)


def test_if_everything_fails_the_first_reason_is_the_error(place, configure):
    with pytest.raises(InputError, match=r"No training came to its end.*diverged"):
        compare(configure("{weightings: [equal]}", "training.optimizer_params.lr=1e30"), jobs=1)


def command(*arguments):
    return [sys.executable, "-m", "nextrec_like", "compare", "small.yaml", "--jobs", "1", *arguments]


def test_a_killed_comparison_goes_on_where_it_was(place, configure):
    configure("{weightings: [uncertainty, dwa], tuned_fixed: {trials: 2}}", "training.epochs=4")
    undisturbed = compare(configure("{weightings: [uncertainty, dwa], tuned_fixed: {trials: 2}}", "name=other"), jobs=1)
    runs = place / "runs" / "small-compare" / "runs"

    process = subprocess.Popen(command(), stdout=subprocess.DEVNULL)
    while len(list(runs.glob("[!.]*"))) < 3:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.5)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("[!.]*/result.json")}
    finished = subprocess.run(command(), capture_output=True, text=True, check=True)

    assert 3 <= len(before) < len(list(runs.glob("*/result.json")))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(runs.glob(".*"))
    assert f"{len(before)} of them done before" in finished.stdout
    continued = read_results(runs.parent / "results.json")
    assert continued.estimates == undisturbed.results.estimates
    assert continued.differences == undisturbed.results.differences


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(place, configure):
    configure("{weightings: [uncertainty]}")
    runs = place / "runs" / "small-compare" / "runs"
    process = subprocess.Popen(
        command("--set", "training.epochs=200"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not runs.is_dir():
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "interrupted; finished runs are kept; the same command goes on"
    assert "Traceback" not in errors


def test_the_command_line(place, configure, capsys):
    configure(SECTION)

    assert main(["compare", "small.yaml", "--jobs", "1", "--set", "training.epochs=1"]) == 0
    assert "report: " in capsys.readouterr().out
    assert main(["compare", "small.yaml", "--set", "comparison.weightings=[gradnorm]"]) == 2
    assert capsys.readouterr().err.startswith("error: --set comparison.weightings=[gradnorm]: Unknown weighting method")
    with pytest.raises(SystemExit):
        main(["compare", "small.yaml", "--jobs", "0"])


def test_a_missing_extra_is_named(place, configure, capsys, monkeypatch):
    configure(SECTION)
    for name in [name for name in sys.modules if name.startswith("nextrec_like.comparison")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)

    assert main(["compare", "small.yaml"]) == 2
    assert "pip install 'nextrec_like[compare]'" in capsys.readouterr().err


def test_a_full_disk_at_the_end_is_said_and_the_last_report_stays(place, configure, monkeypatch):
    section = "{weightings: [dwa], tuned_fixed: false, single_task: false}"
    first = compare(configure(section, "training.seeds=[0]"), jobs=1)
    before = {file.name: file.read_bytes() for file in first.folder.iterdir() if file.is_file()}

    rename = atomic.rename

    def full(path, target):
        if target.name in before:
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "rename", full)
        with pytest.raises(InputError, match=r"No space left on device\. The runs are kept"):
            compare(configure(section), jobs=1)

    assert {file.name: file.read_bytes() for file in first.folder.iterdir() if file.is_file()} == before
    assert compare(configure(section), jobs=1).results.seeds == [0, 1]  # without another training


def test_one_task_is_compared_with_itself_alone_unless_more_is_asked_for(place, configure):
    found = compare(configure("{}", "tasks=[click]", "training.seeds=[0]"), jobs=1)

    assert [variant.name for variant in found.results.variants] == ["equal", "single_task"]


def test_regressions_and_missing_labels_are_compared_too(place, configure):
    for number, part in enumerate(("train", "valid", "test")):
        table = synthetic_funnel(1_500, seed=number)
        table.assign(conversion=table["conversion"].where(table["click"] == 1)).to_parquet(f"{part}.parquet")
    tasks = "tasks=[click, {name: conversion}, {name: hour_again, label: hour_2, kind: regression}]"
    for part in ("train", "valid", "test"):
        table = pd.read_parquet(f"{part}.parquet")
        table.assign(hour_2=table["hour"] / 24).to_parquet(f"{part}.parquet")

    found = compare(
        configure("{weightings: [dwa], tuned_fixed: {trials: 1}}", tasks, "training.metrics=[auc, rmse]"), jobs=1
    )

    outputs = {each.name: (each.kind, each.positives) for each in found.results.outputs}
    assert outputs["hour_again"] == ("regression", None)
    clicks = pd.read_parquet("test.parquet")["click"].sum()
    assert next(each.rows for each in found.results.outputs if each.name == "conversion") == clicks
    rmse = [each for each in found.results.differences if (each.output, each.metric) == ("hour_again", "rmse")]
    assert all(each.mean is not None and each.rows_method == "row means" for each in rmse)
    assert rmse


def test_a_folder_that_cannot_be_made_is_said(place, configure):
    Path("runs").write_text("a file")

    with pytest.raises(InputError, match="cannot be written"):
        compare(configure(SECTION), jobs=1)
