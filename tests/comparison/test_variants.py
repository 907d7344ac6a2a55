import pytest

from nextrec_like import InputError
from nextrec_like.comparison.identity import canonical_weighting, run_key
from nextrec_like.comparison.selection import budget
from nextrec_like.comparison.variants import as_compared, expand
from nextrec_like.config import build_tasks
from nextrec_like.config.comparison import TunedFixed
from nextrec_like.weighting import WEIGHTINGS


def names(config):
    return [variant.name for variant in expand(config)]


def test_the_baselines_are_always_there(configure):
    assert names(configure("{weightings: [pcgrad]}")) == ["equal", "tuned_fixed", "pcgrad", "single_task"]


def test_without_a_section_one_method_of_each_kind_is_compared(configure):
    expected = ["equal", "tuned_fixed", "uncertainty", "grad_norm", "pcgrad", "single_task"]

    assert names(configure()) == expected
    assert names(configure("{}", "weighting=dwa")) == [*expected[:2], "dwa", *expected[2:]]


def test_baselines_can_be_switched_off_but_not_equal_weights(configure):
    assert names(configure("{weightings: [pcgrad], single_task: false, tuned_fixed: false}")) == ["equal", "pcgrad"]


def test_fixed_weights_are_not_searched_for_where_no_method_adapts(configure):
    assert names(configure("{weightings: [[0.3, 0.7]], single_task: false}")) == ["equal", "fixed 0.3:0.7"]


def test_all_is_every_method_that_needs_no_option_and_is_not_named(configure):
    found = names(configure("{weightings: [all, {method: pareto, c: 0.1}]}"))

    assert set(found) == set(WEIGHTINGS) - {"fixed"} | {"tuned_fixed", "single_task"}
    assert len(found) == len(set(found))


def test_models_and_objectives_multiply(configure):
    section = "{models: [mmoe, shared_bottom], objectives: [marginal, entire_space], weightings: [dwa]}"

    found = expand(configure(section))

    assert [each.name for each in found[:4]] == [
        "mmoe / marginal / equal",
        "mmoe / marginal / tuned_fixed",
        "mmoe / marginal / dwa",
        "mmoe / entire_space / equal",
    ]
    assert len(found) == 2 * 2 * 3 + 1


def test_each_is_compared_within_its_family_and_families_with_the_first(configure):
    found = {each.name: each.references for each in expand(configure("{models: [mmoe, ple], weightings: [dwa]}"))}

    assert found["mmoe / equal"] == []
    assert found["ple / equal"] == ["mmoe / equal"]
    assert found["ple / dwa"] == ["ple / equal", "ple / tuned_fixed"]
    assert found["single_task"] == ["mmoe / equal"]


def test_two_models_of_one_name_differ_by_their_options(configure):
    models = "[{name: mmoe, num_experts: 2}, {name: mmoe, num_experts: 3}]"

    assert names(configure(f"{{models: {models}, weightings: [equal], single_task: false}}")) == [
        "mmoe num_experts 2 / equal",
        "mmoe num_experts 3 / equal",
    ]


def test_options_to_tune_and_learning_rates_multiply(configure):
    section = "{weightings: [{method: grad_norm, tune: {alpha: [0.5, 1.5]}}], learning_rates: [1e-3, 1e-2]}"

    variants = {each.name: each for each in expand(configure(section))}

    assert [each.label for each in variants["grad_norm"].settings] == [
        "alpha 0.5, lr 0.001",
        "alpha 0.5, lr 0.01",
        "alpha 1.5, lr 0.001",
        "alpha 1.5, lr 0.01",
    ]
    rates = [each.config.training.optimizer_params["lr"] for each in variants["single_task"].settings]
    assert rates == [1e-3, 1e-2]


def test_the_search_for_fixed_weights_has_the_budget_of_the_adaptive_methods(configure):
    weightings = "[dwa, {method: grad_norm, tune: {alpha: [0.5, 1.5]}}, [0.3, 0.7]]"
    variants = expand(configure(f"{{weightings: {weightings}}}"))

    assert budget(TunedFixed(), variants) == 1 + 2
    assert budget(TunedFixed(trials=7), variants) == 7


def test_single_task_has_the_layers_that_a_row_passes_in_the_model(configure):
    (variant,) = [each for each in expand(configure("{weightings: [dwa]}")) if each.name == "single_task"]

    assert variant.settings[0].config.model.options["tower_params"]["dims"] == [8, 4]


def test_single_task_takes_options(configure):
    section = "{weightings: [dwa], single_task: {tower_params: {dims: [5]}}}"
    (variant,) = [each for each in expand(configure(section)) if each.name == "single_task"]

    assert variant.settings[0].config.model.options == {"tower_params": {"dims": [5]}}


def test_a_model_that_makes_a_funnel_makes_it_for_all(configure):
    config = configure("{models: [mmoe, esmm]}", "tasks=[click, conversion]")

    assert [task.parent for task in build_tasks(as_compared(config))] == [None, "click"]


def test_no_two_variants_have_one_name_and_none_is_lost(configure):
    weightings = "[[2.0, 1], [2.0000001, 1], dwa, dwa, {method: dwa, temperature: 1.00000001}, "
    weightings += "{method: equal, base: {click: 2, conversion: 1}}, equal, [1, 1]]"

    assert names(configure(f"{{weightings: {weightings}, tuned_fixed: false, single_task: false}}")) == [
        "equal",
        "fixed 2:1",
        "fixed 2:1 (2)",
        "dwa",
        "dwa (2)",
        "dwa temperature 1",
        "equal base click 2, conversion 1",
        "fixed 1:1",
    ]


def test_a_task_may_be_called_tune_or_method(configure):
    config = configure("{weightings: [{tune: 0.3, method: 0.7}]}", "tasks=[tune, method]")

    assert names(config) == ["equal", "fixed tune 0.3, method 0.7", "single_task"]


def test_a_comparison_may_have_seeds_of_its_own(configure):
    assert as_compared(configure("{seeds: [7, 8, 9]}", "training.seeds=[1]")).training.all_seeds == [7, 8, 9]
    assert as_compared(configure("{}", "training.seeds=[1]")).training.all_seeds == [1]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{weightings: [grad_nrm]}", "Unknown weighting method `grad_nrm`. Did you mean `grad_norm`?"),
        ("{weightings: [{method: grad_norm, alfa: 1}]}", "Did you mean `alpha`?"),
        ("{weightings: [{method: grad_norm, tune: {alfa: [1]}}]}", "Did you mean `alpha`?"),
        ("{weightings: [{method: grad_norm, tune: 3}]}", "`tune` should map options to lists"),
        ("{weightings: [{method: grad_norm, alpha: 1, tune: {alpha: [1]}}]}", "does not list itself"),
        ("{weightings: [{tune: {alpha: [1]}}]}", "`tune` goes with the `method`"),
        ("{models: [mmo]}", "Unknown model `mmo`. Did you mean `mmoe`?"),
        ("{models: [{name: mmoe, expets: 3}]}", "unknown key `expets`"),
        ("{objectives: [entire]}", "Unknown objective `entire`"),
        ("{single_task: {dims: [3]}}", "unknown key `dims`"),
        ("{weightings: [[1, 2, 3]]}", "3 values for 2 tasks"),
        ("{models: [mmoe, mmoe]}", "twice"),
        ("{objectives: [marginal, marginal]}", "twice"),
        ("{floors: [{name: rate, values: {clik: 0.5}}]}", "Did you mean `click`?"),
        ("{floors: [{name: rate, metric: aucc, values: {click: 0.5}}]}", "Did you mean `auc`?"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(configure, section, message):
    with pytest.raises(InputError) as error:
        expand(configure(section))

    assert message in str(error.value)
    assert "small.yaml:" in str(error.value)


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ("{models: [mmoe, {name: ple, num_expets: 3}]}", "num_expets"),
        ("{models: [ple, mmo]}", "mmo]"),
        ("{single_task: {tower_parms: 3}}", "tower_parms"),
        ("{objectives: [marginal, entire]}", "entire"),
    ],
)
def test_a_mistake_is_told_where_it_was_written(configure, section, wrong):
    column = len("comparison: ") + section.index(wrong) + 1

    with pytest.raises(InputError) as error:
        expand(configure(section))

    assert f"small.yaml:8:{column}: " in str(error.value)


def test_a_sampler_that_cannot_be_used_is_found_before_anything_is_trained(configure):
    with pytest.raises(InputError, match="two tasks, not 3"):
        expand(configure("{tuned_fixed: {sampler: grid}}", "tasks=[click, conversion, device]"))


def test_there_are_not_more_seeds_to_search_with_than_seeds(configure):
    with pytest.raises(InputError, match=r"`search_seeds` is 3, and there are 2 `seeds`"):
        as_compared(configure("{search_seeds: 3}"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{weighting: [dwa]}", "unknown key `weighting`"),
        ("{learning_rates: [1e-3, 1e-3]}", "should differ"),
        ("{seeds: [1, 1]}", "should differ"),
        ("{search_seeds: 0}", "greater than or equal to 1"),
        ("{tuned_fixed: {sampler: tpee}}", "Did you mean `tpe`?"),
    ],
)
def test_a_wrong_section_is_refused_when_it_is_read(configure, section, message):
    with pytest.raises(InputError, match=r"small\.yaml:") as error:
        configure(section)

    assert message in str(error.value)


def key(configure, *overrides):
    return run_key(configure("{}", *overrides), 0, "data")


def test_the_key_of_a_run_follows_what_is_trained_and_not_how_it_is_written(configure):
    assert key(configure) == key(configure, "weighting=equal") == key(configure, "weighting=[1, 1]")
    assert key(configure) == key(configure, "output=elsewhere", "name=other")
    assert key(configure, "weighting=grad_norm") == key(configure, "weighting={method: grad_norm, every: 1}")
    assert key(configure) != key(configure, "weighting=[1, 2]")
    assert key(configure) != key(configure, "training.epochs=3")
    assert key(configure) != run_key(configure(), 1, "data")
    assert key(configure) != run_key(configure(), 0, "other data")


def test_the_key_follows_the_version_of_the_package(configure, monkeypatch):
    before = key(configure)
    monkeypatch.setattr("nextrec_like.__version__", "99.0")

    assert key(configure) != before


def test_fixed_weights_of_one_are_equal_weights_with_their_options():
    assert canonical_weighting([1, 1], ["a", "b"]) == canonical_weighting(None, ["a", "b"])
    assert canonical_weighting({"method": "fixed", "weights": 1, "every": 2}, ["a", "b"])["every"] == 2
    assert canonical_weighting({"a": 2, "b": 1}, ["a", "b"])["weights"] == [2.0, 1.0]
