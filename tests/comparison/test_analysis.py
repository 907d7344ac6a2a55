import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from nextrec_like.comparison.analysis import analyse
from nextrec_like.comparison.results import MetricRecord, Output, RunRecord, VariantRecord
from nextrec_like.comparison.store import Store
from nextrec_like.errors import InputError

SEEDS = (0, 1, 2, 3, 4)
ROWS = 3000
METRICS = [MetricRecord("auc", True), MetricRecord("logloss", False), MetricRecord("pcoc", None)]
FUNCTIONS = {"auc": roc_auc_score, "logloss": log_loss, "pcoc": lambda label, p: p.sum() / label.sum()}
SINGLE_CLASS = "AUC needs both classes: 0 positives in 3000 rows."


class Written:
    """A comparison on disk, written by hand: predictions by variant and seed, and metrics by scikit-learn."""

    def __init__(self, folder, labels, groups=None):
        self.store, self.labels = Store(folder, "f" * 16), labels
        self.store.write_rows(labels, groups)
        self.variants, self.runs, self.predictions, self.values = [], [], {}, {}

    def add(self, name, predictions, role="method", references=("equal",), failed=(), **more):
        """A variant with, for each seed, predictions by output; failed seeds have no folder."""
        self.variants.append(VariantRecord(name, "mmoe", "marginal", name, role, references=list(references), **more))
        for seed, by_output in predictions.items():
            if seed in failed:
                self.runs.append(RunRecord(name, seed, None, reason="The loss of task `click` is not finite."))
                continue
            folder = f"runs/{name}-{seed}"
            (self.store.path / folder).mkdir(parents=True)
            pq.write_table(pa.table(by_output), self.store.path / folder / "predictions.parquet")
            result = {"format": 1, "test": {}, "reasons": {"test": {}}}
            for output, prediction in by_output.items():
                result["test"][output], result["reasons"]["test"][output] = self.metrics(output, prediction)
                self.predictions[name, seed, output] = prediction
                self.values[name, seed, output] = result["test"][output]
            (self.store.path / folder / "result.json").write_text(json.dumps(result))
            self.runs.append(RunRecord(name, seed, folder))

    def metrics(self, output, prediction):
        label = self.labels[output]
        seen = ~np.isnan(label)
        if len(set(label[seen])) < 2:
            return dict.fromkeys(FUNCTIONS), dict.fromkeys(FUNCTIONS, SINGLE_CLASS)
        return {name: float(function(label[seen], prediction[seen])) for name, function in FUNCTIONS.items()}, {}

    def analyse(self, seeds=SEEDS, metrics=METRICS, jobs=1):
        outputs = [
            Output(name, name.split("_given_")[0], "binary", int((~np.isnan(label)).sum()), int(np.nansum(label)))
            for name, label in self.labels.items()
        ]
        return analyse(self.variants, self.runs, outputs, metrics, seeds, self.store, jobs)

    def column(self, name, output, metric, seeds=SEEDS):
        return np.array([self.values[name, seed, output][metric] for seed in seeds])


@pytest.fixture
def signal():
    return np.random.default_rng(0).normal(size=ROWS)


@pytest.fixture
def labels(signal):
    rng = np.random.default_rng(1)
    click = (rng.random(ROWS) < stats.logistic.cdf(signal - 1)).astype(float)
    buy = (rng.random(ROWS) < stats.logistic.cdf(signal)) * click
    return {"click": click, "buy": buy, "buy_given_click": np.where(click == 1, buy, np.nan)}


def noisy(signal, noise, labels, seeds=SEEDS, start=10, own=0.05):
    """Predictions for each seed: the signal, an error that all seeds share, and a small one of the seed."""
    shared = noise * np.random.default_rng(99).normal(size=ROWS)
    found = {}
    for seed in seeds:
        rng = np.random.default_rng(start + seed)
        p = stats.logistic.cdf(signal - 1 + shared + own * rng.normal(size=ROWS))
        found[seed] = {output: p for output in labels}
    return found


def of(differences, variant, output="click", metric="auc", reference="equal"):
    found = [
        each
        for each in differences
        if (each.variant, each.output, each.metric, each.reference) == (variant, output, metric, reference)
    ]
    assert len(found) == 1
    return found[0]


def slow_placements(label, score):
    order = (score[label == 1][:, None] > score[label == 0]) + 0.5 * (score[label == 1][:, None] == score[label == 0])
    return order.mean(axis=1), order.mean(axis=0)


def slow_delong(written, variant, reference, output, seeds=SEEDS):
    """Interval and standard error of the mean difference, by all pairs."""
    label = written.labels[output]
    seen = ~np.isnan(label)
    sides = ([], [])
    for seed in seeds:
        mine, theirs = (
            slow_placements(label[seen], written.predictions[name, seed, output][seen]) for name in (variant, reference)
        )
        for side, one, two in zip(sides, mine, theirs):
            side.append(one - two)
    v10, v01 = (np.mean(side, axis=0) for side in sides)
    error = np.sqrt(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))
    mean = v10.mean()
    return (mean - 1.959964 * error, mean + 1.959964 * error), error


def combined_p(gaps, error):
    """Welch's test of the seeds against very many rows of mean 0, and no less than the paired t test."""
    rows = 10**9
    both = stats.ttest_ind_from_stats(
        gaps.mean(), gaps.std(ddof=1), len(gaps), 0.0, error * np.sqrt(rows), rows, equal_var=False
    )
    return max(both.pvalue, stats.ttest_1samp(gaps, 0).pvalue)


@pytest.fixture
def written(tmp_path, labels, signal):
    """Equal weights, a method with less error, one with more, and one that differs by chance only."""
    written = Written(tmp_path, labels)
    written.add("equal", noisy(signal, 1.0, labels), role="equal", references=())
    written.add("less", noisy(signal, 0.3, labels, start=20))
    written.add("more", noisy(signal, 2.0, labels, start=30))
    written.add("chance", noisy(signal, 1.0, labels, start=40))
    return written


def test_figures_are_those_of_scipy_and_of_all_pairs(written):
    _, differences, _ = written.analyse()
    p_values = {}
    for variant in ("less", "more", "chance"):
        for output in ("click", "buy_given_click"):
            found = of(differences, variant, output)
            one, two = written.column(variant, output, "auc"), written.column("equal", output, "auc")
            expected = stats.ttest_rel(one, two)
            assert found.mean == pytest.approx((one - two).mean())
            assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
            assert found.p_value == pytest.approx(expected.pvalue)
            rows, error = slow_delong(written, variant, "equal", output)
            assert (found.rows_low, found.rows_high) == pytest.approx(rows, abs=1e-8)
            assert found.rows_p_value == pytest.approx(2 * stats.norm.sf(abs(found.mean) / error), rel=1e-4)
            assert found.rows_method == "DeLong"
            p_values[output, variant] = combined_p(one - two, error)
    for output in ("click", "buy_given_click"):
        ranked = sorted((p, variant) for (of_output, variant), p in p_values.items() if of_output == output)
        adjusted = np.minimum(np.maximum.accumulate([3 * ranked[0][0], 2 * ranked[1][0], ranked[2][0]]), 1)
        for (_, variant), expected in zip(ranked, adjusted):
            assert of(differences, variant, output).adjusted_p == pytest.approx(expected, rel=1e-4)


def test_verdicts_and_their_direction(written):
    _, differences, _ = written.analyse()
    expected = {"less": "better", "more": "worse", "chance": "none"}
    for metric in ("auc", "logloss"):
        assert {name: of(differences, name, metric=metric).verdict for name in expected} == expected
    less = of(differences, "less", metric="logloss")
    assert less.mean < 0
    assert (less.wins, less.ties, less.losses) == (5, 0, 0)
    assert less.sentence.startswith("better: \N{MINUS SIGN}0.")
    assert less.rows_method == "row means"
    assert of(differences, "more").sentence.startswith("worse: \N{MINUS SIGN}0.")


def test_logloss_rows_are_those_of_scipy(written, labels):
    _, differences, _ = written.analyse()
    found = of(differences, "less", metric="logloss")
    label, rows = labels["click"], np.zeros(ROWS)
    for seed in SEEDS:
        for name, sign in (("less", 1), ("equal", -1)):
            p = written.predictions[name, seed, "click"]
            rows -= sign * (label * np.log(p) + (1 - label) * np.log(1 - p)) / len(SEEDS)
    expected = stats.norm.interval(0.95, rows.mean(), stats.sem(rows))
    assert (found.rows_low, found.rows_high) == pytest.approx(expected)


def test_estimates_are_means_over_seeds(written):
    estimates, differences, _ = written.analyse()
    found = next(e for e in estimates if (e.variant, e.output, e.metric) == ("less", "buy", "logloss"))
    values = written.column("less", "buy", "logloss")
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std(ddof=1))
    assert found.values == pytest.approx(dict(zip("01234", values)))
    assert found.reason is None
    assert len(estimates) == 4 * 3 * 3
    assert {each.metric for each in differences} == {"auc", "logloss"}  # PCOC has no direction


def test_threads_change_nothing(written):
    assert written.analyse(jobs=3) == written.analyse(jobs=1)


def test_seeds_agree_but_the_rows_are_too_few(written, labels):
    # One positive of 3000 rows goes to the top: the same in all seeds, and no evidence about other rows.
    place = int(np.argmax(labels["click"]))
    predictions = {}
    for seed in SEEDS:
        p = written.predictions["equal", seed, "click"].copy()
        p[place] = 1 - 1e-6 * (seed + 1)
        predictions[seed] = {output: p for output in labels}
    written.add("lucky", predictions)
    found = of(written.analyse()[1], "lucky")
    assert found.p_value < 0.001
    assert found.rows_p_value > 0.2
    assert found.verdict == "uncertain"
    assert "too few to say so of new rows" in found.sentence


def test_one_seed_gives_no_interval(written):
    estimates, differences, gains = written.analyse(seeds=[2])
    found = of(differences, "less")
    expected = written.values["less", 2, "click"]["auc"] - written.values["equal", 2, "click"]["auc"]
    assert found.mean == pytest.approx(expected)
    assert (found.low, found.high, found.p_value, found.adjusted_p, found.seeds_needed) == (None,) * 5
    assert found.verdict == "undefined"
    assert found.sentence.startswith("one seed gives no interval")
    rows, _ = slow_delong(written, "less", "equal", "click", seeds=[2])
    assert (found.rows_low, found.rows_high) == pytest.approx(rows, abs=1e-8)
    assert {each.deviation for each in estimates} == {None}
    assert gains == []


def test_a_failed_seed_is_left_out_on_both_sides(written, signal, labels):
    written.add("shaky", noisy(signal, 0.3, labels, start=20), failed=(1, 3))
    estimates, differences, _ = written.analyse()
    found, kept = of(differences, "shaky"), (0, 2, 4)
    one, two = (written.column(name, "click", "auc", kept) for name in ("shaky", "equal"))
    expected = stats.ttest_rel(one, two)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    rows, _ = slow_delong(written, "shaky", "equal", "click", kept)
    assert (found.rows_low, found.rows_high) == pytest.approx(rows, abs=1e-8)
    assert found.wins == 3
    assert "over 3 of 5 seeds" in found.sentence
    estimate = next(each for each in estimates if each.variant == "shaky")
    assert estimate.values["1"] is None
    assert estimate.reason == "seed 1, 3: The loss of task `click` is not finite"
    whole, _ = slow_delong(written, "less", "equal", "click")  # others keep all seeds of the reference
    assert of(differences, "less").rows_low == pytest.approx(whole[0], abs=1e-8)


def test_failed_variants_stop_nothing(written, signal, labels):
    written.add("broken", noisy(signal, 1.0, labels), failed=SEEDS)
    _, differences, _ = written.analyse()
    found = of(differences, "broken")
    assert (found.mean, found.adjusted_p, found.rows_low, found.verdict) == (None, None, None, "undefined")
    assert found.sentence == "not defined: `broken`: The loss of task `click` is not finite"
    assert of(differences, "less").adjusted_p == of(written.analyse()[1], "less").adjusted_p


def test_a_failed_reference_is_named(written, signal, labels):
    written.add("tuned_fixed", noisy(signal, 1.0, labels), role="tuned_fixed", failed=SEEDS)
    written.add("method", noisy(signal, 0.3, labels, start=70), references=("equal", "tuned_fixed"))
    _, differences, _ = written.analyse()
    assert of(differences, "method").verdict == "better"
    found = of(differences, "method", reference="tuned_fixed")
    assert found.sentence == "not defined: `tuned_fixed`: The loss of task `click` is not finite"


def test_a_single_class_has_no_value_and_a_reason(tmp_path, signal):
    labels = {"click": np.zeros(ROWS)}
    written = Written(tmp_path, labels)
    for name, references in (("equal", ()), ("method", ("equal",))):
        written.add(name, noisy(signal, 1.0, labels), references=references)
    estimates, differences, _ = written.analyse()
    assert {(each.mean, each.reason) for each in estimates} == {(None, SINGLE_CLASS.rstrip("."))}
    assert {each.verdict for each in differences} == {"undefined"}
    assert differences[0].sentence == "not defined: AUC needs both classes: 0 positives in 3000 rows"


def test_the_same_runs_are_said_once_and_count_once(written, signal, labels):
    before = {name: of(written.analyse()[1], name).adjusted_p for name in ("less", "more", "chance")}
    written.add("twin", {}, same_as="less")
    written.add("tuned_fixed", {}, role="tuned_fixed", same_as="equal")
    written.add("further", noisy(signal, 0.3, labels, start=60), references=("tuned_fixed",))
    estimates, differences, _ = written.analyse()
    twin, less = of(differences, "twin"), of(differences, "less")
    assert (twin.mean, twin.rows_low, twin.verdict) == (less.mean, less.rows_low, less.verdict)
    assert twin.sentence == f"{less.sentence} (`twin` has the runs of `less`)"
    tuned = of(differences, "tuned_fixed")
    assert (tuned.mean, tuned.verdict, tuned.adjusted_p, tuned.ties) == (0, "none", None, 5)
    assert tuned.sentence == "the same runs as `equal`"
    assert of(differences, "further", reference="tuned_fixed").sentence.endswith(
        "(`tuned_fixed` has the runs of `equal`)"
    )
    values = {each.variant: each.values for each in estimates if (each.output, each.metric) == ("click", "auc")}
    assert values["twin"] == values["less"]
    assert values["tuned_fixed"] == values["equal"]
    del written.variants[-1]
    assert {name: of(written.analyse()[1], name).adjusted_p for name in before} == before


def test_two_references_are_two_families(written, signal, labels):
    written.add("tuned_fixed", noisy(signal, 0.6, labels, start=50), role="tuned_fixed")
    written.add("method", noisy(signal, 0.3, labels, start=60), references=("equal", "tuned_fixed"))
    found = of(written.analyse()[1], "method", reference="tuned_fixed")
    one, two = written.column("method", "click", "auc"), written.column("tuned_fixed", "click", "auc")
    rows, error = slow_delong(written, "method", "tuned_fixed", "click")
    assert found.adjusted_p == pytest.approx(combined_p(one - two, error), rel=1e-4)  # alone in it
    assert (found.rows_low, found.rows_high) == pytest.approx(rows, abs=1e-8)


def test_gains_are_paired_over_seeds(written, signal, labels):
    written.add("single_task", noisy(signal, 1.3, labels, start=80), role="single_task")
    _, _, gains = written.analyse()
    assert {(each.variant, each.metric) for each in gains} == {
        (name, metric) for name in ("equal", "less", "more", "chance") for metric in ("auc", "logloss")
    }
    for metric, sign in (("auc", 1), ("logloss", -1)):
        relative = [
            written.column("less", task, metric) / written.column("single_task", task, metric) - 1
            for task in ("click", "buy")  # without `buy_given_click`, which is no task
        ]
        expected = 100 * sign * np.mean(relative, axis=0)
        found = next(each for each in gains if (each.variant, each.metric) == ("less", metric))
        assert (found.reference, found.mean) == ("single_task", pytest.approx(expected.mean()))
        interval = stats.ttest_1samp(expected, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(interval))


def test_gauc_takes_the_groups(tmp_path, signal, labels):
    group = np.random.default_rng(3).integers(0, 50, ROWS)

    def slow_gauc(label, p):
        rows = [np.flatnonzero(group == each) for each in range(50)]
        used = [each for each in rows if 0 < label[each].sum() < len(each)]
        return np.average([roc_auc_score(label[r], p[r]) for r in used], weights=[len(r) for r in used])

    written = Written(tmp_path, {"click": labels["click"]}, group)
    written.metrics = lambda output, p: ({"gauc": slow_gauc(written.labels[output], p)}, {})
    written.add("equal", noisy(signal, 1.0, written.labels), references=())
    written.add("less", noisy(signal, 0.3, written.labels, start=20))
    found = of(written.analyse(metrics=[MetricRecord("gauc", True)])[1], "less", metric="gauc")
    assert found.rows_method == "group bootstrap"
    assert found.rows_low < found.mean < found.rows_high
    assert found.verdict == "better"


def test_a_metric_that_does_not_apply_is_left_out(written):
    estimates, differences, _ = written.analyse(metrics=[*METRICS, MetricRecord("rmse", False)])
    assert "rmse" not in {each.metric for each in (*estimates, *differences)}


def test_results_without_a_value_do_not_reach_the_report(written):
    file = written.store.path / "runs" / "less-0" / "result.json"
    result = json.loads(file.read_text())
    result["test"]["click"]["auc"] = None
    file.write_text(json.dumps(result))
    estimates, differences, _ = written.analyse()
    estimate = next(each for each in estimates if each.variant == "less")
    assert estimate.values["0"] is None
    assert estimate.reason == "seed 0: `auc` is missing or not finite in its result"
    auc, logloss = of(differences, "less"), of(differences, "less", metric="logloss")
    rows, _ = slow_delong(written, "less", "equal", "click", SEEDS[1:])
    assert (auc.rows_low, auc.rows_high) == pytest.approx(rows, abs=1e-8)
    assert logloss.mean == pytest.approx(
        (written.column("less", "click", "logloss") - written.column("equal", "click", "logloss")).mean()
    )
    assert logloss.rows_low is None  # its rows would be those of other seeds than its mean
    json.dumps([vars(each) for each in (*estimates, *differences)], allow_nan=False)


@pytest.mark.parametrize("file", ["result.json", "predictions.parquet"])
def test_a_missing_file_is_named(written, file):
    (written.store.path / "runs" / "less-0" / file).unlink()
    with pytest.raises(InputError, match=rf"less-0/{file}` .* and compare again\.$"):
        written.analyse()


def test_predictions_of_other_rows_are_an_error(written):
    file = written.store.path / "runs" / "less-0" / "predictions.parquet"
    pq.write_table(pq.read_table(file).slice(0, 10), file)
    with pytest.raises(
        InputError, match=r"^The run folder `runs/less-0` has predictions of 10 rows, .* 3000 test rows"
    ):
        written.analyse()
