"""One training of a comparison: its folder, and what goes wrong."""

import errno
import json
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from nextrec_like import MMoE, SparseFeature, synthetic_funnel
from nextrec_like.batch import Batch
from nextrec_like.comparison.identity import data_fingerprint
from nextrec_like.comparison.judging import judged
from nextrec_like.comparison.running import work
from nextrec_like.comparison.running.gates import watched_gates
from nextrec_like.comparison.running.work import Job, Workspace
from nextrec_like.comparison.store import RunFolder, Store, new_run_folder
from nextrec_like.config import fit_processor, load_config, read_data, resolve
from nextrec_like.storage import atomic
from nextrec_like.training.randomness import fingerprint
from nextrec_like.training.step import Stepper
from nextrec_like.weighting import WEIGHTINGS

METHODS = [name for name in WEIGHTINGS if name not in ("fixed", "pareto")]


def train(config, folder, key="0123", seed=0):
    return Workspace(config, read_data(config)).train(Job(key, resolve(config), seed), folder)


def test_metrics_are_those_of_the_predictions_that_are_kept(place, configure):
    config = configure()
    tables = read_data(config)
    store = Store(place / "store", data_fingerprint(tables))
    store.write_rows({name: labels for name, (_, _, labels) in judged(config, tables["test"]).items()}, None)

    outcome = train(config, store.runs)

    assert (outcome.reason, outcome.warnings) == (None, ())
    run = RunFolder(store.runs / "0123")
    assert run.fault() is None
    for output, metrics in run.result()["test"].items():
        labels, predictions = store.labels(output), run.predictions(output)
        seen = ~np.isnan(labels)
        assert metrics["auc"] == pytest.approx(roc_auc_score(labels[seen], predictions[seen]))
        assert metrics["logloss"] == pytest.approx(log_loss(labels[seen], predictions[seen]))
    assert set(run.result()["test"]) == {"click", "conversion", "conversion_given_click"}
    clicked = tables["test"]["click"].to_numpy() == 1
    assert (~np.isnan(store.labels("conversion_given_click"))).tolist() == clicked.tolist()


def test_a_folder_holds_the_course_of_the_training(place, configure):
    train(configure(), place)

    run = RunFolder(place / "0123")
    result, history = run.result(), run.history()
    assert result["epochs"] == len(history) == 2
    best = max(history, key=lambda record: record["score"])
    assert (result["score"], result["best_epoch"]) == (best["score"], best["epoch"])
    assert result["valid"] == best["valid"]
    assert result["cpu_seconds"] > 0
    assert 1e7 < result["peak_memory"] < 1e11
    assert set(run.steps()["figure"]) == {"loss", "weight"}
    assert [gate["gate"] for gate in run.gates()] == ["gates.click", "gates.conversion"]
    assert resolve(load_config(place / "0123" / "config.yaml"))["model"] == resolve(configure())["model"]


@pytest.fixture
def course(monkeypatch):
    """What the trainings start from, and the rows of their batches."""
    seen = {"weights": [], "rows": []}

    class Watcher(work.HistoryWriter):
        def on_fit_start(self, trainer):
            seen["weights"].append(fingerprint(trainer.model))
            seen["rows"].append([])

    step = Stepper.step

    def watched(self, batch, probe=False):
        seen["rows"][-1].append(batch.ids.tolist())
        return step(self, batch, probe=probe)

    monkeypatch.setattr(work, "HistoryWriter", Watcher)
    monkeypatch.setattr(Stepper, "step", watched)
    return seen


def test_all_weightings_start_from_the_same_weights_and_see_the_same_batches(place, configure, course):
    workspace = Workspace(configure(), read_data(configure()))
    for method in METHODS:
        job = Job(method, resolve(configure("{}", f"weighting={method}")), 0)
        assert workspace.train(job, place / "runs").reason is None

    assert len(course["rows"]) == len(METHODS)
    assert all(weights == course["weights"][0] for weights in course["weights"])
    assert all(rows == course["rows"][0] for rows in course["rows"])
    assert len(course["rows"][0]) == 2 * 6  # epochs x ceil(1500 / 256)


def test_another_seed_starts_elsewhere_with_other_batches(place, configure, course):
    workspace = Workspace(configure(), read_data(configure()))
    for seed in (0, 1):
        workspace.train(Job(str(seed), resolve(configure()), seed), place / "runs")

    assert course["weights"][0] != course["weights"][1]
    assert course["rows"][0] != course["rows"][1]


def test_a_diverged_training_is_told_and_leaves_no_folder(place, configure):
    outcome = train(configure("{}", "training.optimizer_params.lr=1e30"), place / "runs")

    assert "diverged" in outcome.reason
    assert outcome.final
    assert list((place / "runs").iterdir()) == []


def test_a_method_that_finds_nothing_shared_is_told(place, configure):
    outcome = train(configure("{}", "model={name: single_task}", "weighting=pcgrad"), place / "runs")

    assert "share none" in outcome.reason
    assert outcome.final


def test_a_full_disk_leaves_no_half_written_folder_and_earlier_runs_as_they_were(place, configure, monkeypatch):
    train(configure(), place / "runs", key="before")
    before = {file: file.read_bytes() for file in sorted((place / "runs" / "before").iterdir())}

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(work.pq, "write_table", full)
    outcome = train(configure(), place / "runs", key="after")

    assert "cannot be written: No space left on device" in outcome.reason
    assert not outcome.final
    assert [path.name for path in (place / "runs").iterdir()] == ["before"]
    assert {file: file.read_bytes() for file in before} == before


def test_a_crash_is_told_with_its_trace(place, configure, monkeypatch):
    def crash(*arguments, **options):
        raise ZeroDivisionError("no reason")

    monkeypatch.setattr(work, "evaluate_predictions", crash)
    outcome = train(configure(), place / "runs")

    assert outcome.reason == "ZeroDivisionError: no reason"
    assert "in crash" in outcome.trace
    assert list((place / "runs").iterdir()) == []


def test_warnings_of_a_training_are_told(place, configure):
    table = synthetic_funnel(1_500, seed=0).assign(conversion=0)
    table.to_parquet("train.parquet")

    outcome = train(configure(), place / "runs")

    assert outcome.reason is None
    assert any("`conversion`" in warning for warning in outcome.warnings)


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        (lambda run: (run / "predictions.parquet").unlink(), "predictions.parquet is missing"),
        (lambda run: (run / "result.json").write_text("{"), "a JSON file is damaged"),
        (lambda run: (run / "result.json").write_text(json.dumps({"format": 0})), "it has format 0"),
        (lambda run: (run / "result.json").write_text(json.dumps({"format": 1})), "result.json lacks `key`"),
        (lambda run: (run / "result.json").write_text("[]"), "it has format None"),
        (lambda run: (run / "predictions.parquet").write_bytes(b""), "predictions.parquet is empty"),
        (lambda run: (run / "predictions.parquet").write_bytes(b"PAR1"), "predictions.parquet is damaged"),
        (lambda run: (run / "history.jsonl").write_text(""), "history.jsonl is empty"),
        (lambda run: (run / "gates.json").write_text("["), "a JSON file is damaged"),
        (lambda run: changed_result(run, test=None, score=None), "result.json is damaged"),
        (lambda run: changed_result(run, score="x"), "result.json is damaged"),
    ],
)
def test_a_folder_that_is_not_whole_is_found(place, configure, break_it, fault):
    train(configure(), place)
    break_it(place / "0123")

    assert RunFolder(place / "0123").fault().startswith(fault)


def changed_result(run, **changes):
    content = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**content, **changes}))


def test_predictions_of_other_rows_are_found(place, configure):
    train(configure(), place)

    assert RunFolder(place / "0123").fault(1_500) is None
    assert RunFolder(place / "0123").fault(1_499) == "predictions.parquet has 1500 rows, and there are 1499 test rows"


def test_only_what_killed_processes_left_behind_is_removed(tmp_path):
    store = Store(tmp_path, "fingerprint")
    stays = [store.runs / ".0123.1", store.runs / "89ab", store.data / "labels.parquet", tmp_path / ".my notes.2"]
    goes = [tmp_path / ".report.html.", store.data / ".labels.parquet.", store.runs / ".4567."]
    for folder in [*stays, *(path.with_name(f"{path.name}999999999") for path in goes)]:  # process 1 lives
        folder.mkdir(parents=True)

    store.tidy()

    assert {path for folder in (tmp_path, store.data, store.runs) for path in folder.iterdir()} == {
        *stays,
        store.runs,
        store.data.parent,
    }


def test_a_run_folder_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, rename = [], atomic.rename
    monkeypatch.setattr(atomic, "flush", done.append)
    monkeypatch.setattr(atomic, "rename", lambda *paths: (done.append(paths), rename(*paths)))

    with new_run_folder(tmp_path, "0123") as part:
        (part / "result.json").write_text("{}")

    folder = tmp_path / f".0123.{os.getpid()}"
    assert done == [folder / "result.json", folder, (folder, tmp_path / "0123"), tmp_path]


def test_the_same_run_of_another_process_stays(tmp_path):
    with new_run_folder(tmp_path, "0123") as part:
        (part / "result.json").write_text("mine")
        (tmp_path / "0123").mkdir()
        (tmp_path / "0123" / "result.json").write_text("of the other")

    assert [path.name for path in tmp_path.iterdir()] == ["0123"]
    assert (tmp_path / "0123" / "result.json").read_text() == "of the other"


def test_the_use_of_gates_is_the_mean_share_over_all_rows():
    model = MMoE(None, [SparseFeature("id", 50)], None, target=["a", "b"], num_experts=3)
    batches = [
        Batch(torch.arange(start, stop)[:, None], torch.empty(stop - start, 0), None)
        for start, stop in ((0, 20), (20, 50))
    ]
    with watched_gates(model) as gates:
        for batch in batches:
            model(batch)
    model(batches[0])  # not counted

    x = model.embedding(Batch(torch.arange(50)[:, None], torch.empty(50, 0), None))
    for gate, task in zip(gates, ("a", "b"), strict=True):
        score = model.gates[task].score
        expected = torch.softmax(x @ score.weight.T + score.bias, dim=1).mean(dim=0)
        assert gate["gate"] == f"gates.{task}"
        assert gate["shares"] == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_fingerprint_follows_values_rows_and_columns(place, configure):
    tables = read_data(configure())
    again = read_data(configure())
    assert data_fingerprint(tables) == data_fingerprint(again)

    test = tables["test"]
    changed = test["price"].to_numpy().copy()
    changed[7] += 1
    others = [
        test.set_column(test.column_names.index("price"), "price", [changed]),
        test.take(list(reversed(range(test.num_rows)))),
        test.drop_columns(["hour"]),
        test.slice(1),
    ]
    assert len({data_fingerprint({**tables, "test": other}) for other in [test, *others]}) == 5


def test_processors_are_fitted_on_training_rows_only(place, configure):
    config = configure()
    tables = read_data(config)
    alone = fit_processor(config, tables["train"])

    assert Workspace(config, tables).processor.fingerprint == alone.fingerprint
