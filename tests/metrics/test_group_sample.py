import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nextrec_like.metrics import TaskMetrics, gauc
from nextrec_like.metrics.group_sample import GroupSample
from nextrec_like.metrics.groups import group_keys
from nextrec_like.metrics.rows import Rows


def drawn(num_groups, seed):
    """Rows of groups of unequal size and quality."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(num_groups), rng.integers(2, 20, num_groups)))
    label = rng.random(len(group)) < 0.3
    return label, rng.random(len(group)) + rng.random(num_groups)[group] * label, group


def sampled(label, score, group, max_rows, chunk=500):
    sample = GroupSample([], max_rows)
    for start in range(0, len(label), chunk):
        part = slice(start, start + chunk)
        sample.add(Rows(label[part], score[part], group[part]))
    return sample


def written(sample):
    result = TaskMetrics()
    sample.write("gauc", result)
    return result


def test_all_rows_of_kept_groups_are_kept():
    label, score, group = drawn(1000, seed=0)
    sample = sampled(label, score, group, max_rows=2000)
    rows_of = dict(zip(*np.unique(group_keys(group), return_counts=True)))
    keys = np.concatenate([part[0] for part in sample.parts])
    assert 500 < len(keys) <= 2000
    assert all(rows_of[key] == count for key, count in zip(*np.unique(keys, return_counts=True)))


def test_value_and_margin_are_those_of_a_loop_over_the_kept_groups():
    label, score, group = drawn(600, seed=1)
    result = written(sampled(label, score, group, max_rows=2500))
    kept = [each for each in range(600) if int(group_keys(np.array([each]))[0]) < 2**64 * result.group_share]
    both = [each for each in kept if 0 < label[group == each].sum() < np.count_nonzero(group == each)]
    rows = np.array([np.count_nonzero(group == each) for each in both])
    aucs = np.array([roc_auc_score(label[group == each], score[group == each]) for each in both])
    value = rows @ aucs / rows.sum()
    variance = (1 - result.group_share) * len(both) / (len(both) - 1) * ((rows * (aucs - value)) ** 2).sum()
    assert result == {"gauc": pytest.approx(value, abs=1e-12), "gauc_groups": len(both)}
    assert result.error_bounds["gauc"] == pytest.approx(1.96 * np.sqrt(variance) / rows.sum(), rel=1e-4)


def test_margin_covers_the_exact_value_in_95_of_100_samples():
    label, score, group = drawn(400, seed=2)
    exact, covered = gauc(label, score, group), []
    for trial in range(400):
        result = written(sampled(label, score, group + 1000 * trial, max_rows=2500, chunk=5000))
        assert result.group_share == 0.5
        covered.append(abs(result["gauc"] - exact) <= result.error_bounds["gauc"])
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("max_rows", [500, 3000])
def test_chunks_and_merges_do_not_matter(max_rows):
    label, score, group = drawn(800, seed=3)
    whole = written(sampled(label, score, group, max_rows, chunk=10**6))
    half = len(label) // 3
    one = sampled(label[:half], score[:half], group[:half], max_rows, chunk=77)
    one.merge(sampled(label[half:], score[half:], group[half:], max_rows, chunk=300))
    assert written(one) == whole
    assert written(one).error_bounds == whole.error_bounds
    assert written(one).group_share == whole.group_share


def test_one_group_left_says_that_nothing_is_known():
    sample = GroupSample([], max_rows=2)
    for each in range(30):
        sample.add(Rows(np.array([True, False]), np.array([0.2, 0.1]), np.array([each, each])))
    result = written(sample)
    assert result == {"gauc": 1.0, "gauc_groups": 1}
    assert result.error_bounds == {"gauc": 1.0}
