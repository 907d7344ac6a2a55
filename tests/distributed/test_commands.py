"""The commands in several processes do what they do in one with the joint batch, and only the first process speaks."""

import json

import numpy as np
import pandas as pd
import pytest
from command_calls import command, compare_small, differing_train, read_of_others, train_rows
from safetensors.numpy import load_file
from torchrun import CONFIG, torchrun

from nextrec_like.cli import main
from nextrec_like.comparison import compare, read_results
from nextrec_like.comparison.identity import run_key
from nextrec_like.config import load_config

COMPARISON = "comparison: {weightings: [uncertainty], tuned_fixed: {trials: 2}, single_task: null}\n"
TIMES = ("seconds", "samples_per_second")
JOINT = ("--set", "training.batch_size=200")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with ``runs/small-001`` of two processes and ``runs/alone-001`` of one; and what the first have said."""
    folder = tmp_path_factory.mktemp("trained")
    status, out, err = torchrun(folder, "train", "small.yaml")
    assert status == 0, err
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "small.yaml", *JOINT, "--set", "name=alone"]) == 0
    return folder, out


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def numbers(value, place=""):
    """All numbers of a JSON value by their place, but for times."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: each for name, part in items for key, each in numbers(part, f"{place}.{name}").items()}
    return {place: value} if isinstance(value, int | float) and not place.endswith(TIMES) else {}


def test_train_gives_the_run_of_one_process_with_the_joint_batch(trained):
    folder, _ = trained
    one, two = folder / "runs" / "alone-001", folder / "runs" / "small-001"

    weights, expected = (load_file(run / "model" / "weights.safetensors") for run in (two, one))
    assert {name: np.abs(weights[name] - expected[name]).max() < 1e-6 for name in expected} == dict.fromkeys(
        expected, True
    )
    assert numbers(history(two)) == pytest.approx(numbers(history(one)), abs=1e-5)
    metrics, wanted = (numbers(json.loads((run / "metrics.json").read_text())) for run in (two, one))
    assert metrics == pytest.approx(wanted, abs=1e-5)
    steps, wanted = (pd.read_parquet(run / "steps.parquet") for run in (two, one))
    pd.testing.assert_frame_equal(steps, wanted, atol=1e-5)
    assert json.loads((two / "versions.json").read_text())["processes"] == 2


def test_only_the_first_process_speaks(trained):
    _, out = trained
    for line in ("small   rows: train 2,400", "epoch 1/3", "epoch 3/3", "runs/small-001"):
        assert out.count(line) == 1


def test_evaluate_and_its_file_are_those_of_one_process(trained, monkeypatch, capsys):
    folder, _ = trained
    status, out, err = torchrun(folder, "evaluate", "runs/alone-001", "--output", "two.json")
    assert status == 0, err
    monkeypatch.chdir(folder)
    assert main(["evaluate", "runs/alone-001", "--output", "one.json"]) == 0

    assert out.replace("two", "one") == capsys.readouterr().out
    two, one = (numbers(json.loads((folder / f"{name}.json").read_text())) for name in ("two", "one"))
    assert two == pytest.approx(one, abs=1e-9)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_predict_writes_the_file_of_one_process(suffix, ranks, trained, monkeypatch):
    folder, _ = trained
    rows = pd.DataFrame({"price": np.linspace(1, 9, 31), "city": np.arange(31) % 5, "device": np.arange(31) % 3})
    rows.to_parquet(folder / "rows.parquet")
    arguments = ["predict", "runs/alone-001", "--data", "rows.parquet", "--keep", "city", "--output"]

    (status, out), other = ranks(2, command, folder, [*arguments, f"two.{suffix}"])
    assert (status, out.count("wrote")) == (0, 1)
    assert other == (0, "")
    monkeypatch.chdir(folder)
    assert main([*arguments, f"one.{suffix}"]) == 0

    read = {"parquet": pd.read_parquet, "csv": pd.read_csv}[suffix]
    two, one = read(folder / f"two.{suffix}"), read(folder / f"one.{suffix}")
    assert list(two) == ["city", "click", "conversion", "conversion_given_click"]
    pd.testing.assert_frame_equal(two, one, atol=1e-9)


def test_compare_trains_each_variant_in_all_processes(ranks, tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(CONFIG + COMPARISON)
    said, repeated = ranks(2, compare_small, tmp_path), ranks(2, compare_small, tmp_path)
    monkeypatch.chdir(tmp_path)
    alone = compare(load_config("small.yaml", ["training.batch_size=200", "name=alone"]), jobs=1).results

    together = read_results(tmp_path / "runs" / "small-compare" / "results.json")
    means = [numbers([[each.variant, each.mean] for each in results.estimates]) for results in (together, alone)]
    assert means[0] == pytest.approx(means[1], abs=1e-5)
    gates = [read_of_others(results, tmp_path) for results in ("small", "alone")]
    assert gates[0] == pytest.approx(gates[1], abs=1e-5)
    assert together.provenance["machine"]["processes per training"] == 2
    (lines, results), (silent, same) = said
    assert any("each in 2 processes" in line for line in lines)
    assert silent == []
    assert results == same
    assert not any("each in 2 processes" in line for line in repeated[0][0]), "all is done"


def test_a_run_of_two_processes_is_another_than_that_of_one(tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "small.yaml")
    assert run_key(config, 0, "data", 2) != run_key(config, 0, "data") == run_key(config, 0, "data", 1)


def test_jobs_are_refused_where_all_processes_share_a_training(ranks, tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG)
    for said in ranks(2, compare_small, tmp_path, jobs=2):
        assert said == "`jobs` is 2, but all 2 processes share each training; leave it out."


def test_differing_configurations_are_named_before_anything_is_made(ranks, tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG)
    for said in ranks(2, differing_train, tmp_path):
        assert said == (
            "Process 1 of 2 is given another configuration than process 0: training.batch_size is 100, in process 1 it "
            "is 101. Give all the same."
        )
    assert not (tmp_path / "runs").exists()


def test_fewer_rows_than_processes_are_refused_and_as_many_are_enough(ranks, tmp_path):
    for said in ranks(2, train_rows, tmp_path, 1):
        assert said.endswith("2 processes cannot share 1 training rows; start at most 1.")
    assert list((tmp_path / "runs").iterdir()) == []
    assert ranks(2, train_rows, tmp_path, 2) == [None] * 2
