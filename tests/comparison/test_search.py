import numpy as np
import pytest

from nextrec_like import InputError
from nextrec_like.comparison import search
from nextrec_like.comparison.search import make_sampler, resolve_sampler
from nextrec_like.comparison.selection import choose


def proposals(sampler, score):
    found = []
    while asked := sampler.ask():
        found += asked
        sampler.tell([score(weights) for weights in asked])
    return found


def distance(weights):
    return -float(np.square(np.array(weights) - [0.3, 0.6, 2.1]).sum())


@pytest.mark.parametrize("trials", [3, 4])
def test_a_grid_has_equal_steps_in_the_share_of_the_first_task_and_leaves_equal_weights_out(trials):
    expected = [(0.4, 1.6), (0.8, 1.2), (1.2, 0.8), (1.6, 0.4)]

    assert proposals(make_sampler("grid", 2, trials), sum) == expected


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_weights_are_positive_and_sum_to_the_number_of_tasks(kind):
    found = np.array(proposals(make_sampler(kind, 3, 25), distance))

    assert found.shape == (25, 3)
    assert (found > 0).all()
    assert found.sum(axis=1) == pytest.approx(np.full(25, 3), abs=2e-4)


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_search_is_the_same_each_time(kind):
    first, second = (proposals(make_sampler(kind, 3, 9), distance) for _ in range(2))

    assert first == second


def test_random_weights_cover_the_simplex_evenly():
    found = np.array(proposals(make_sampler("random", 3, 4000), distance)) / 3

    assert found.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert found.var(axis=0) == pytest.approx([1 / 18] * 3, rel=0.1)  # of a uniform Dirichlet: (K-1) / (K^2 (K+1))


def test_tpe_learns_where_good_weights_are():
    found = {kind: proposals(make_sampler(kind, 3, 60), distance) for kind in ("random", "tpe")}

    late = {kind: np.mean([distance(weights) for weights in tried[-20:]]) for kind, tried in found.items()}
    assert late["tpe"] > late["random"] / 3  # both are negative: at most a third of the mean squared distance


def test_tpe_goes_on_after_failed_runs():
    found = proposals(make_sampler("tpe", 3, 12), lambda weights: None if weights[0] > 1 else distance(weights))

    assert len(found) == 12


def test_auto_is_a_grid_for_two_tasks_and_tpe_beyond_where_it_is_installed(monkeypatch):
    assert resolve_sampler("auto", 2) == "grid"
    assert resolve_sampler("auto", 3) == "tpe"
    monkeypatch.setattr(search, "optuna", None)
    assert resolve_sampler("auto", 3) == "random"
    with pytest.raises(InputError, match=r"nextrec_like\[search\]"):
        resolve_sampler("tpe", 3)


def test_a_grid_is_for_two_tasks():
    with pytest.raises(InputError, match="two tasks, not 3"):
        resolve_sampler("grid", 3)


def test_the_highest_validation_score_is_chosen_and_a_missing_one_never():
    assert choose([0.5, 0.7, 0.6]) == 1
    assert choose([None, 0.1, None]) == 1
    assert choose([0.7, 0.7]) == 0
    assert choose([None, None]) == 0
