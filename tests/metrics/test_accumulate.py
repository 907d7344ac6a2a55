import copy
import pickle

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error

from nextrec_like.errors import InputError
from nextrec_like.metrics import METRICS, MetricsAccumulator, TaskMetrics, compute_metrics
from nextrec_like.metrics.accumulate import SUMMARIES

NAMES = list(METRICS)


def drawn(num_rows, seed, num_scores=None, rows_per_group=5):
    """Labels, of which some are not observed, probabilities and groups."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 4, num_rows) if num_scores is None else rng.integers(0, num_scores, num_rows) / num_scores
    label = (rng.random(num_rows) < probability).astype(float)
    label[rng.random(num_rows) < 0.1] = np.nan
    return label, probability, rng.integers(0, max(num_rows // rows_per_group, 1), num_rows)


def added(columns, chunk, accumulator):
    for start in range(0, len(columns[0]), chunk):
        accumulator.add(*(column[start : start + chunk] for column in columns))
    return accumulator


def whole(columns, **options):
    label, prediction, group = columns
    return compute_metrics(NAMES, label, prediction, group=group, **options)


def details(result):
    return dict(result), result.reasons, result.error_bounds, result.group_share


def assert_close(result, expected):
    """The same but for the rounding of sums."""
    values, others = ({k: v for k, v in each.items() if v is not None} for each in (result, expected))
    assert values == pytest.approx(others, rel=1e-12)
    assert list(result) == list(expected)
    assert (result.reasons, result.group_share) == (expected.reasons, expected.group_share)
    assert result.error_bounds == pytest.approx(expected.error_bounds)


def test_every_metric_has_a_summary():
    assert set(SUMMARIES) == set(METRICS)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize(
    "convert",
    [
        lambda group: group,
        lambda group: group.astype(np.uint8),
        lambda group: group.astype(str),
        lambda group: group.astype(str).astype(object),
        lambda group: group / 8,
    ],
    ids=["int64", "uint8", "text", "object", "float"],
)
def test_rows_that_fit_give_bitwise_the_metrics_of_all_rows(chunk, convert):
    label, prediction, group = drawn(500, seed=chunk)
    columns = label, prediction, convert(group)
    result = added(columns, chunk, MetricsAccumulator(NAMES, max_rows=500)).result()
    assert details(result) == details(whole(columns))
    assert result.error_bounds == {}


def test_rows_without_label_do_not_count_as_kept():
    columns = drawn(500, seed=0)
    observed = np.count_nonzero(~np.isnan(columns[0]))
    result = added(columns, 50, MetricsAccumulator(NAMES, max_rows=observed)).result()
    assert details(result) == details(whole(columns))
    assert added(columns, 50, MetricsAccumulator("auc", max_rows=observed - 1)).result().error_bounds


def test_text_of_numpy_and_of_pandas_name_the_same_groups():
    label, prediction, group = drawn(400, seed=1)
    text = group.astype(str)
    expected = compute_metrics("gauc", label, prediction, group=text)
    accumulator = MetricsAccumulator("gauc", max_rows=400)
    accumulator.add(label[:100], prediction[:100], text[:100])
    accumulator.add(label[100:], prediction[100:], text[100:].astype(object))
    assert accumulator.result() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("chunk", [1, 64, 2000])
def test_running_sums_beyond_are_those_of_all_rows(chunk):
    label, prediction, _ = drawn(2000, seed=2)
    names = ["logloss", "ece", "pcoc", "rmse", "mae"]
    accumulator = added((label, prediction), chunk, MetricsAccumulator(names, max_rows=64))
    seen = ~np.isnan(label)
    y, p = label[seen], prediction[seen]
    bins = np.ceil(p * 15).clip(1, 15)
    ece = sum(abs(y[bins == b].mean() - p[bins == b].mean()) * np.mean(bins == b) for b in set(bins))
    expected = {
        "logloss": log_loss(y, p),
        "ece": ece,
        "pcoc": p.sum() / y.sum(),
        "rmse": root_mean_squared_error(y, p),
        "mae": mean_absolute_error(y, p),
    }
    assert accumulator.result() == pytest.approx(expected, rel=1e-12)
    assert accumulator.result().error_bounds == {}


def test_auc_beyond_is_exact_while_distinct_scores_fit():
    label, prediction, _ = drawn(3000, seed=3, num_scores=8)
    accumulator = added((label, prediction), 100, MetricsAccumulator(["auc", "pr_auc"], max_rows=64))
    expected = compute_metrics(["auc", "pr_auc"], label, prediction)
    result = accumulator.result()
    assert result["auc"] == expected["auc"]
    assert result["pr_auc"] == pytest.approx(expected["pr_auc"], abs=1e-14)
    assert result.error_bounds == {}


def test_auc_and_gauc_beyond_stay_within_their_bounds():
    columns = drawn(20_000, seed=4)
    result = added(columns, 1000, MetricsAccumulator(NAMES, max_rows=4000)).result()
    exact = whole(columns)
    assert set(result.error_bounds) == {"auc", "pr_auc", "gauc"}
    for name, bound in result.error_bounds.items():
        assert 0 < bound < 0.1
        assert abs(result[name] - exact[name]) <= bound
    assert list(result) == list(exact)
    assert result.group_share == 1 / 8
    assert result["gauc_groups"] == pytest.approx(exact["gauc_groups"] / 8, rel=0.2)


@pytest.mark.parametrize("max_rows", [1, 2, 100, 1000])
def test_order_chunks_and_parts_do_not_matter(max_rows):
    columns = drawn(1500, seed=5)
    shuffled = [column[np.random.default_rng(6).permutation(1500)] for column in columns]
    one = added(columns, 1500, MetricsAccumulator(NAMES, max_rows=max_rows))
    two = added([column[:400] for column in shuffled], 90, MetricsAccumulator(NAMES, max_rows=max_rows))
    two.merge(added([column[400:] for column in shuffled], 300, MetricsAccumulator(NAMES, max_rows=max_rows)))
    assert two.num_rows == 1500
    expected, result = one.result(), two.result()
    assert_close(result, expected)
    for name in ("auc", "gauc", "pr_auc"):
        assert result[name] == expected[name]


@pytest.mark.parametrize("sizes", [(100, 100), (500, 100), (100, 500), (500, 500), (0, 500), (500, 0)])
def test_a_merge_of_kept_and_summarized_parts_is_that_of_all_rows(sizes):
    columns = drawn(sum(sizes), seed=7)
    first, second = ([column[part] for column in columns] for part in (slice(sizes[0]), slice(sizes[0], None)))
    one, two = (added(part, 50, MetricsAccumulator(NAMES, max_rows=300)) for part in (first, second))
    before = details(two.result())
    one.merge(two)
    expected = added(columns, 50, MetricsAccumulator(NAMES, max_rows=300)).result()
    assert_close(one.result(), expected)
    assert details(two.result()) == before


def test_a_part_comes_back_from_another_process():
    columns = drawn(900, seed=8)
    accumulator = added(columns, 100, MetricsAccumulator(NAMES, max_rows=300))
    assert details(pickle.loads(pickle.dumps(accumulator)).result()) == details(accumulator.result())


def test_a_result_in_between_changes_nothing():
    columns = drawn(900, seed=9)
    one, two = MetricsAccumulator(NAMES, max_rows=100), MetricsAccumulator(NAMES, max_rows=100)
    for start in range(0, 900, 60):
        for accumulator in (one, two):
            accumulator.add(*(column[start : start + 60] for column in columns))
        one.result()
    assert_close(one.result(), two.result())


def test_memory_does_not_grow_with_the_rows():
    sizes = []
    for num_rows in (20_000, 200_000):
        accumulator = added(drawn(num_rows, seed=10), 1000, MetricsAccumulator(NAMES, max_rows=4000))
        sizes.append(len(pickle.dumps(accumulator)))
    assert max(sizes) < 4000 * 60


def test_caller_may_use_its_buffers_again():
    label, prediction, group = drawn(100, seed=11)
    accumulator, buffers = MetricsAccumulator(NAMES), [np.zeros(50), np.zeros(50), np.zeros(50, dtype=int)]
    for half in (slice(50), slice(50, 100)):
        for buffer, column in zip(buffers, (label, prediction, group)):
            buffer[:] = column[half]
        accumulator.add(*buffers)
    assert accumulator.result() == whole((label, prediction, group))


def test_regression_beyond_is_exact():
    rng = np.random.default_rng(12)
    label, prediction = rng.normal(size=(2, 1000))
    result = added((label, prediction), 30, MetricsAccumulator("auc", kind="regression", max_rows=50)).result()
    expected = {"rmse": root_mean_squared_error(label, prediction), "mae": mean_absolute_error(label, prediction)}
    assert result == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunks", [[], [[]], [[np.nan, np.nan]]])
def test_no_observed_row_gives_no_value_with_a_reason(chunks):
    accumulator = MetricsAccumulator(NAMES)
    for label in chunks:
        accumulator.add(label, [0.5] * len(label), [1] * len(label))
    assert details(accumulator.result()) == details(compute_metrics(NAMES, [], [], group=[]))


def test_one_class_beyond_has_no_ranking_with_reasons():
    result = added((np.zeros(90), np.full(90, 0.5), np.arange(90)), 9, MetricsAccumulator(NAMES, max_rows=80)).result()
    exact = compute_metrics(NAMES, np.zeros(90), np.full(90, 0.5), group=np.arange(90))
    reason = "GAUC needs a group with both classes: there is none in the share of 1/2 that fits `max_rows`; raise it."
    assert [result[name] for name in NAMES] == [pytest.approx(exact[name]) for name in NAMES]
    assert result["gauc_groups"] == 0
    assert result.reasons == {**exact.reasons, "gauc": reason}


def test_a_group_larger_than_all_kept_rows_has_no_gauc_with_a_reason():
    label, prediction, _ = drawn(500, seed=13)
    result = added((label, prediction, np.zeros(500)), 50, MetricsAccumulator("gauc", max_rows=20)).result()
    assert result == {"gauc": None, "gauc_groups": 0}
    assert result.reasons["gauc"].endswith("raise it.")


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_no_names_give_no_metrics(kind):
    assert added(drawn(90, seed=0)[:2], 9, MetricsAccumulator((), kind=kind, max_rows=20)).result() == {}


def test_scores_of_one_sign_and_one_row_kept_still_give_bounds():
    label, prediction, _ = drawn(300, seed=14)
    result = added((label, prediction), 10, MetricsAccumulator("auc", max_rows=1)).result()
    seen = ~np.isnan(label)
    assert abs(result["auc"] - roc_auc_score(label[seen], prediction[seen])) <= result.error_bounds["auc"] <= 0.5


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (([1, 2], [0.1, 0.2], [1, 1]), r"^`label` in row 4 is 2; the label of a binary task must be 0 or 1"),
        (([1, 0], [0.1, np.inf], [1, 1]), r"^`prediction` in row 4 is inf; predictions must be finite"),
        (([1, 0], [0.1, 1.5], [1, 1]), r"^`probability` in row 4 is 1\.5; a probability must be in \[0, 1\]"),
        (([1, 0], [0.1, 0.5], ["u", None]), r"^`group` in row 4 is None; every row needs a group"),
        (([1, 0], [0.1, 0.5], ["u", "v"]), r"^`group` is text from row 3 on, before it is integers; convert one"),
        (([1, 0], [0.1, 0.5], [1]), r"same number of rows: `label` has 2, `group` has 1\."),
        (([1, 0], [0.1, 0.5]), r"^Metric `gauc` needs the group of each row, usually the user; pass `group_id`\.$"),
    ],
)
def test_errors_count_rows_from_the_first_chunk_and_leave_the_chunk_out(chunk, message):
    accumulator = MetricsAccumulator(NAMES)
    accumulator.add([0, 1, np.nan], [0.1, 0.2, 0.3], [1, 1, 1])
    with pytest.raises(InputError, match=message):
        accumulator.add(*chunk)
    accumulator.add([0], [0.3], [1])
    assert accumulator.num_rows == 4
    assert accumulator.result() == compute_metrics(NAMES, [0, 1, 0], [0.1, 0.2, 0.3], group=[1, 1, 1])


@pytest.mark.parametrize(
    "other",
    [
        MetricsAccumulator("auc", max_rows=10),
        MetricsAccumulator(["auc", "mae"], max_rows=9),
        MetricsAccumulator(["auc", "mae"], kind="regression", max_rows=10),
    ],
)
def test_parts_with_other_settings_cannot_be_merged(other):
    message = r"^Only accumulators with the same settings can be merged: auc, mae \(binary, max_rows=10\) is not "
    with pytest.raises(InputError, match=message):
        MetricsAccumulator(["auc", "mae"], max_rows=10).merge(other)


def test_parts_with_other_types_of_groups_cannot_be_merged():
    one, two = MetricsAccumulator("gauc", max_rows=1), MetricsAccumulator("gauc", max_rows=1)
    one.add([0, 1], [0.1, 0.2], [1, 1])
    two.add([0, 1], [0.1, 0.2], ["u", "u"])
    with pytest.raises(InputError, match=r"^`group` is text from row 2 on, before it is integers; convert one of them"):
        one.merge(two)
    assert one.num_rows == 2


def test_bad_settings_are_told_at_once():
    with pytest.raises(InputError, match=r"^Unknown metric `acu`\. Did you mean `auc`\?"):
        MetricsAccumulator(["acu"])
    with pytest.raises(InputError, match=r"^Unknown kind of task `binry`\. Did you mean `binary`\?"):
        MetricsAccumulator("auc", kind="binry")
    with pytest.raises(InputError, match=r"^`max_rows` should be a positive integer\. Received 0\.$"):
        MetricsAccumulator("auc", max_rows=0)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_bounds_survive_a_copy(duplicate):
    result = TaskMetrics({"auc": 0.5}, error_bounds={"auc": 0.01}, group_share=0.25)
    assert details(duplicate(result)) == ({"auc": 0.5}, {}, {"auc": 0.01}, 0.25)
