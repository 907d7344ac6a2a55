import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sample import make_sample
from sklearn.metrics import roc_auc_score

from nextrec_like.comparison.console import describe_comparison
from nextrec_like.comparison.report import write_report
from nextrec_like.comparison.report.markdown import escape
from nextrec_like.comparison.report.sections.calibration import reliability
from nextrec_like.comparison.report.sections.steps import FIGURES, POINTS, mean_lines
from nextrec_like.comparison.report.sections.tradeoff import best_points
from nextrec_like.comparison.report.svg import span
from nextrec_like.comparison.report.wording import estimate, names, number, p_value, short
from nextrec_like.comparison.results import Difference, MetricRecord

HOSTILE = (
    "<script>window.hacked=1</script>",
    "a|b \"quoted\" 'single'",
    "$x^2$ & `code`",
    "_hidden",
    "転換率の日本語の名前です" * 3,
    "very_" * 30,
    "</svg></style><img src=x onerror='window.hacked=1'>",
    "{{ 7 * 7 }}",
    "a.b\nc --> d",
)


class Parsed(HTMLParser):
    """Elements and text of a page, with what each element has for attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(folder, results, store):
    text = write_report(results, store, folder).read_text(encoding="utf-8")
    return text, Parsed(text)


def plots(page):
    return [each for each in page.all("svg") if each.get("class") == "plot"]


@pytest.fixture
def sample(tmp_path):
    return make_sample(tmp_path / "out", rows=400, steps=20, seeds=(0, 1, 2))


def test_the_same_results_give_the_same_page(tmp_path, sample):
    first, _ = written(tmp_path / "out", *sample)
    with mpl.rc_context({"font.size": 40, "axes.grid": True, "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        second, _ = written(tmp_path / "out", *sample)
        assert dict(mpl.rcParams) == before
    assert first == second


def test_every_kind_of_plot_is_drawn(tmp_path, sample):
    _, page = written(tmp_path / "out", *sample)
    drawn = " ".join(each["aria-label"] for each in plots(page))
    for words in (
        "minus equal",
        "minus tuned_fixed",
        "against",
        "Weights",
        "Conflict",
        "norms",
        "training loss",
        "validation rows",
        "mean label",
        "Gate use",
        "Wall time",
        "Peak memory",
    ):
        assert words in drawn, words
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_needs_nothing_else(tmp_path, sample):
    text, page = written(tmp_path / "out", *sample)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert [name for name, attributes in page.elements if "src" in attributes] == []
    addresses = [attributes["href"] for _, attributes in page.elements if "href" in attributes]
    assert all(address.startswith(("#", "./", "data:,")) for address in addresses)


def test_every_run_is_linked_and_its_values_are_those_of_its_folder(tmp_path, sample):
    results, store = sample
    text, page = written(tmp_path / "out", *sample)
    links = {each["href"] for each in page.all("a")}
    twin = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for run in results.runs:
        folder = store.run(run.folder)
        assert f"./{run.folder}/" in links
        assert (tmp_path / "out" / f"./{run.folder}/").is_dir()
        value = roc_auc_score(store.labels("click"), folder.predictions("click"))
        assert f"{value:.5f}" in text
        assert f"{value:.5f}" in twin


def test_names_from_the_data_are_text(tmp_path):
    results, store = make_sample(
        tmp_path / "out", HOSTILE[:3], HOSTILE[3:], rows=200, steps=8, seeds=(0, 1), failed=HOSTILE[5]
    )
    text, page = written(tmp_path / "out", replace(results, name=HOSTILE[0], notes=list(HOSTILE)), store)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    shown = " ".join(page.text)
    for name in HOSTILE:
        assert name in shown or short(name, 40) in shown, name
    assert "<script>window" not in text.replace('<script>"use strict"', "")
    script = text[text.rindex("<script>") :]
    assert not any(name in script for name in HOSTILE)


def test_names_break_no_table_of_the_twin(tmp_path):
    results, store = make_sample(tmp_path / "out", HOSTILE[:3], HOSTILE[3:], rows=200, steps=8, seeds=(0, 1))
    written(tmp_path / "out", results, store)
    twin = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in twin.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 5
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert "<" not in twin


def test_missing_evidence_is_named_and_the_rest_is_drawn(tmp_path, sample):
    results, store = sample
    _, whole = written(tmp_path / "out", results, store)
    lost = store.run(results.runs[0].folder).path
    (lost / "steps.parquet").unlink()
    (lost / "gates.json").write_text("[{")
    (lost / "predictions.parquet").write_bytes(b"nothing")
    text, page = written(tmp_path / "out", results, store)
    assert len(plots(page)) == len(whole.all("svg"))
    for name in ("steps.parquet", "gates.json", "predictions.parquet"):
        assert f"equal, seed 0: `{lost / name}`" in "".join(page.text)
    (store.data / "labels.parquet").unlink()
    text, page = written(tmp_path / "out", results, store)
    assert len(plots(page)) == len(whole.all("svg")) - 2  # the calibration of two tasks
    assert "labels.parquet" in text


def test_a_comparison_without_any_evidence_still_has_its_tables(tmp_path, sample):
    results, store = sample
    runs = [replace(run, folder=None, seconds=None, cpu_seconds=None, peak_memory=None) for run in results.runs]
    text, page = written(tmp_path / "out", replace(results, runs=runs), store)
    assert "No finished run says what it cost." in text
    assert "No run has logged weights." in text
    assert len(page.all("table")) >= 4


def test_one_seed_has_no_interval_and_says_so(tmp_path):
    results, store = make_sample(tmp_path / "out", rows=300, steps=8, seeds=(7,))
    text, _ = written(tmp_path / "out", results, store)
    assert "With one seed no interval over seeds can be given" in text
    assert "One seed: no interval over seeds can be given, and no verdict." in text
    assert "better than" not in text
    assert "With one seed no interval" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_failures_and_doubles_are_said_once(tmp_path):
    results, store = make_sample(
        tmp_path / "out", rows=300, steps=8, seeds=(0, 1, 2), failed="pcgrad", same="grad_norm"
    )
    text, _ = written(tmp_path / "out", results, store)
    assert text.count("grad_norm") == 1
    assert "grad_norm resolves to the same runs as equal and is shown once." in text
    assert text.count("pcgrad, seed 2, failed: The loss of `click` is not finite in epoch 1.") == 1


def test_the_answer_names_what_is_better_and_what_is_worse(tmp_path, sample):
    results, store = sample
    verdicts = {"tuned_fixed": "worse", "grad_norm": "better", "uncertainty": "none", "pcgrad": "uncertain"}
    changed = [
        replace(each, verdict=verdicts.get(each.variant, "none"), mean=0.00213, p_value=0.2, seeds_needed=14)
        for each in results.differences
    ]
    _, page = written(tmp_path / "out", replace(results, differences=changed), store)
    shown = " ".join("".join(page.text).split())
    assert "1 of 5 is better than equal: grad_norm (+0.00213). Worse: tuned_fixed (+0.00213)." in shown
    assert "Differ over seeds, but the test rows are too few: pcgrad (+0.00213)." in shown
    assert "No difference seen: uncertainty, single_task." in shown
    assert "A paired test of one variant would need about 14 seeds to see 0.001; these are 3." in shown
    assert "1 of 3 is better than tuned_fixed: grad_norm (+0.00213)." in shown


def test_the_answer_says_what_correction_removed_and_what_a_usual_variant_would_need(tmp_path, sample):
    results, store = sample
    p_values = {"grad_norm": 0.03, "uncertainty": 0.2, "pcgrad": 0.6, "tuned_fixed": 0.4, "single_task": 0.9}
    seeds = {"grad_norm": 9999, "uncertainty": 4, "pcgrad": 3, "tuned_fixed": 1142, "single_task": 5}
    changed = [
        replace(each, verdict="none", mean=0.0005, p_value=p_values[each.variant], seeds_needed=seeds[each.variant])
        for each in results.differences
    ]
    _, page = written(tmp_path / "out", replace(results, differences=changed), store)
    shown = " ".join("".join(page.text).split())
    assert "Not beyond chance once corrected for 5 comparisons: grad_norm (+0.00050)." in shown
    assert "No difference seen: tuned_fixed, uncertainty, pcgrad, single_task." in shown
    # Sorted 3, 4, 5, 1142: of the two in the middle the larger one.
    needed = "A paired test of one variant would need about 5 seeds to see 0.001 (tuned_fixed: 1,142); these are 3."
    assert needed in shown


def test_metrics_without_a_meaning_of_a_thousandth_name_no_seeds(tmp_path, sample):
    results, store = sample
    changed = [replace(each, verdict="none", p_value=0.5, seeds_needed=None) for each in results.differences]
    text, _ = written(tmp_path / "out", replace(results, differences=changed), store)
    assert "would need about" not in text


@pytest.mark.parametrize(("at_end", "is_said"), [(1, False), (2, True)])
def test_trainings_that_were_too_short_are_said(tmp_path, sample, at_end, is_said):
    results, store = sample
    runs = [replace(run, best_epoch=3 if place < at_end else 2) for place, run in enumerate(results.runs)]
    assert len(runs) == 18
    said = f"{at_end} of 18 runs were best in their last epoch: with more epochs the order may change"
    results = replace(results, runs=runs)
    _, page = written(tmp_path / "out", results, store)
    assert (said in "".join(page.text)) == is_said
    assert (said in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")) == is_said
    assert (said in describe_comparison(results, tmp_path)) == is_said


def test_each_output_has_the_first_metric_that_applies_to_it(tmp_path, sample):
    results, store = sample
    metrics = [MetricRecord("pcoc", None), MetricRecord("auc", True), MetricRecord("logloss", False)]
    estimates = [
        replace(each, mean=None, deviation=None, values={}, reason="It has a single class.")
        if (each.output, each.metric) == ("conversion", "auc")
        else each
        for each in results.estimates
    ]
    changed = replace(results, metrics=metrics, estimates=estimates)
    assert changed.main_metric("click") == "auc"  # PCOC has no direction
    assert changed.main_metric("conversion") == "logloss"
    assert changed.main_metric("price") is None
    assert replace(changed, metrics=metrics[:1]).main_metric("click") == "pcoc"
    assert replace(changed, metrics=metrics[:2]).main_metric("conversion") == "pcoc"
    said = describe_comparison(changed, tmp_path)
    assert "conversion: test logloss, 3 seeds" in said
    assert "click: test auc, 3 seeds" in said
    text, _ = written(tmp_path / "out", changed, store)
    assert "<h2>conversion (logloss)</h2>" in text


def test_the_console_has_no_table_of_an_output_without_a_metric(tmp_path, sample):
    results, _ = sample
    estimates = [each for each in results.estimates if each.output == "click"]
    said = describe_comparison(replace(results, estimates=estimates), tmp_path)
    assert "conversion: test" not in said
    assert "\n\n\n" not in said
    assert not said.endswith("\n")


def test_an_output_that_cannot_be_judged_says_why(tmp_path, sample):
    results, store = sample
    estimates = [
        replace(each, mean=None, deviation=None, values={}, reason="It has a single class.")
        if each.output == "conversion"
        else each
        for each in results.estimates
    ]
    differences = [each for each in results.differences if each.output == "click"]
    text, page = written(tmp_path / "out", replace(results, estimates=estimates, differences=differences), store)
    assert "<strong>Not judged.</strong> It has a single class." in text
    assert "conversion, auc, has no value: It has a single class." in "".join(page.text)


def test_a_single_step_and_epoch_are_points(tmp_path):
    results, store = make_sample(tmp_path / "out", rows=300, steps=1, epochs=1, seeds=(0, 1))
    text, _ = written(tmp_path / "out", results, store)
    for section, marks in (("weight", 12), ("norm", 8), ("cosine", 4), ("loss", 12), ("valid", 12)):
        part = text[text.index(f'<section id="{section}"') :]
        part = part[: part.index("</section>")]
        assert part.count("<title>") == marks  # one per line
        assert part.count("<use ") >= marks
        assert ">0.95<" not in part


def test_a_large_comparison_stays_under_3_mb(tmp_path):
    methods = [f"weighting_{number}" for number in range(34)]
    results, store = make_sample(tmp_path / "out", ("a", "b", "c"), methods, rows=300, steps=200, epochs=8)
    page = write_report(results, store, tmp_path / "out")
    assert len(results.variants) == 37
    assert page.stat().st_size < 3e6


def test_reliability_is_that_of_a_loop_over_sorted_parts():
    rng = np.random.default_rng(0)
    prediction = rng.random(1000)
    label = (rng.random(1000) < prediction).astype(float)
    label[:100] = np.nan
    order = sorted((p, y) for p, y in zip(prediction, label) if y == y)
    parts = [order[90 * part : 90 * (part + 1)] for part in range(10)]
    predicted, observed = reliability(label, prediction)
    np.testing.assert_allclose(predicted, [np.mean([p for p, _ in part]) for part in parts])
    np.testing.assert_allclose(observed, [np.mean([y for _, y in part]) for part in parts])


def test_equal_predictions_share_a_part():
    predicted, observed = reliability(np.array([0.0, 1, 1, 0]), np.full(4, 0.25))
    assert [value for value in predicted if value == value] == [0.25]
    assert [value for value in observed if value == value] == [0.5]


def test_weights_are_shares_and_means_over_seeds():
    columns = ["epoch", "step", "figure", "task", "other", "value"]
    one = pd.DataFrame([(1, 1, "weight", "a", None, 3.0), (1, 1, "weight", "b", None, 1.0)], columns=columns)
    two = one.assign(value=[5.0, 5.0])
    lines = mean_lines(FIGURES[0], [one, two])
    assert lines == {"a": ([1.0], [0.625]), "b": ([1.0], [0.375])}  # (3/4 + 1/2) / 2


def test_lines_are_thinned():
    columns = ["epoch", "step", "figure", "task", "other", "value"]
    frame = pd.DataFrame([(1, step, "cosine", "a", "b", step) for step in range(1, 6001)], columns=columns)
    lines = mean_lines(FIGURES[1], [frame])
    at, values = lines["a · b"]
    assert len(at) == POINTS
    np.testing.assert_allclose(at, values)


def test_the_front_holds_what_no_other_point_beats():
    points = [(0.1, 0.9), (0.5, 0.5), (0.4, 0.5), (0.9, 0.1), (0.1, 0.8), (0.5, 0.5)]
    assert best_points(points, [True, True]) == [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1)]
    assert best_points(points, [False, False]) == [(0.1, 0.8), (0.4, 0.5), (0.9, 0.1)]


def test_a_value_that_went_astray_does_not_set_the_scale():
    low, high = span([0.70, 0.71, 0.72, 0.73, 0.1, None])
    assert 0.6 < low < 0.70
    assert 0.73 < high < 0.75
    assert span([]) == (-1, 1)
    low, high = span([0.5])
    assert low < 0.5 < high


def test_numbers_are_rounded_for_people():
    assert number(0.8341249) == "0.83412"
    assert number(-0.00213, signed=True) == "\N{MINUS SIGN}0.00213"
    assert number(12345.678) == "12,345.7"
    assert number(None) == "\N{EN DASH}"
    assert estimate(0.8, None) == "0.80000"
    assert p_value(0.0004) == "<0.001"
    assert names(list("abcdefg")) == "a, b, c, d and 3 more"
    assert names(list("abcde")) == "a, b, c, d, e"


def test_short_names_keep_their_width():
    assert short("click\n rate", 20) == "click rate"
    assert short("abcdefgh", 5) == "abcd…"
    assert short("転換率転換率", 7) == "転換率…"


def test_markdown_is_escaped():
    assert escape("a|b <b> $x$ `c` *d* _e_") == r"a\|b &lt;b&gt; \$x\$ \`c\` \*d\* \_e\_"


def test_a_better_logloss_is_a_lower_one(tmp_path, sample):
    results, store = sample
    metrics = [results.metrics[1]]
    differences = [
        Difference(
            "grad_norm",
            "equal",
            "click",
            "logloss",
            -0.01,
            -0.02,
            -0.005,
            0.01,
            0.02,
            3,
            0,
            0,
            None,
            None,
            None,
            None,
            9,
            "better",
            "better",
        ),
        Difference(
            "pcgrad",
            "equal",
            "click",
            "logloss",
            0.01,
            0.005,
            0.02,
            0.01,
            0.02,
            0,
            0,
            3,
            None,
            None,
            None,
            None,
            9,
            "worse",
            "worse",
        ),
    ]
    text, _ = written(tmp_path / "out", replace(results, metrics=metrics, differences=differences, floors=[]), store)
    forest = text[text.index('id="differences"') : text.index('id="tradeoff"')]
    assert forest.index(">grad_norm<") < forest.index(">pcgrad<")
    assert "Lowest mean:" in text
    assert "lower is better" in text
