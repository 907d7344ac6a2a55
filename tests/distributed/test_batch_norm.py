"""Batch normalisation by the rows of all processes is that of one process with these rows."""

import copy
import warnings

import numpy as np
import pytest
import torch
from rank_trainings import TASKS, make_rows, without_labels
from torch import nn

from nextrec_like import DenseFeature, InputWarning, SparseFeature
from nextrec_like.distributed import ALONE, Processes
from nextrec_like.distributed.batch_norm import joint_batch_norm
from nextrec_like.distributed.join import current
from nextrec_like.models import MODELS

# --- the layer: torch's own, on the rows of all, is what is expected ----------------------------------------------

CUTS = {"equal": [0, 4, 8], "uneven": [0, 1, 8], "one without rows": [0, 0, 8], "three": [0, 5, 5, 8]}
"""Where the rows of each process begin and end."""


def make_norm(**options):
    """A layer whose scale, shift and statistics are not those of a new one."""
    norm, generator = nn.BatchNorm1d(3, **options), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in [*norm.parameters(), *(each for each in norm.buffers() if each.is_floating_point())]:
            value.copy_(torch.rand(3, generator=generator) + 0.5)
    return norm


def make_passes(*shape, mean=0.0, dtype=torch.float32):
    """An input and the gradient of its output, for each of three passes."""
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(2, *shape, generator=generator) for _ in range(3)]
    return [((x * 2 + mean).to(dtype), upstream.to(dtype)) for x, upstream in draws]


def passed(norm, passes):
    """Output, gradient of the input and gradients of the parameters of each pass; the state after all."""
    results = []
    for x, upstream in passes:
        norm.zero_grad()
        x = x.clone().requires_grad_()
        out = norm(x)
        out.backward(upstream)
        results.append((out.detach(), x.grad, [parameter.grad.clone() for parameter in norm.parameters()]))
    return results, {name: value.clone() for name, value in norm.state_dict().items()}


def passed_together(norm, passes, cuts):
    rank = current().rank
    own = slice(cuts[rank], cuts[rank + 1])
    norm = copy.deepcopy(norm)  # what a pool sends lies in memory that all processes write to
    with joint_batch_norm(norm, current()):
        return passed(norm, [(x[own], upstream[own]) for x, upstream in passes])


def check(ranks, norm, passes, cuts, **close):
    expected, state = passed(copy.deepcopy(norm), passes)
    together = ranks(len(cuts) - 1, passed_together, norm, passes, cuts)
    for index, (out, x_gradient, gradients) in enumerate(expected):
        outs, x_gradients, own_gradients = zip(*(results[index] for results, _ in together))
        torch.testing.assert_close(torch.cat(outs), out, **close)
        torch.testing.assert_close(torch.cat(x_gradients), x_gradient, **close)
        for parts, gradient in zip(zip(*own_gradients), gradients):
            torch.testing.assert_close(torch.stack(parts).sum(dim=0), gradient, **close)
    for _, own_state in together:
        torch.testing.assert_close(own_state, state)
        assert all(torch.equal(value, together[0][1][name]) for name, value in own_state.items())


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_layer_normalises_by_the_rows_of_all(ranks, cuts):
    check(ranks, make_norm(), make_passes(8, 3), cuts)


@pytest.mark.parametrize(
    "options",
    [{"affine": False}, {"momentum": None}, {"momentum": 0.3, "eps": 0.1}, {"track_running_stats": False}],
    ids=str,
)
def test_layer_has_the_options_of_torch(ranks, options):
    check(ranks, make_norm(**options), make_passes(8, 3), CUTS["uneven"])


def test_layer_takes_channels_with_a_length(ranks):
    check(ranks, make_norm(), make_passes(8, 3, 5), CUTS["one without rows"])


def test_layer_is_accurate_far_from_zero(ranks):
    check(ranks, make_norm(), make_passes(8, 3, mean=1000), CUTS["uneven"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_layer_has_statistics_in_float32(ranks, dtype):
    check(ranks, make_norm(), make_passes(8, 3, dtype=dtype), CUTS["uneven"], rtol=2e-2, atol=2e-2)


def one_row_of_all(norm):
    norm = copy.deepcopy(norm)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with joint_batch_norm(norm, current()):
        out = norm(torch.full((1 if current().is_first else 0, 3), 5.0))
    same = all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    return out.detach().clone(), same


def test_single_row_of_all_processes_moves_no_statistics(ranks):
    norm = make_norm()
    (first, same), (other, _) = ranks(2, one_row_of_all, norm)
    torch.testing.assert_close(first, norm.bias.detach()[None])
    assert same
    assert other.shape == (0, 3)


def test_layer_in_evaluation_is_that_of_torch():
    norm, x = make_norm().eval(), torch.randn(4, 3)
    expected = norm(x)
    with joint_batch_norm(norm, Processes(0, 2)):  # it would wait for the other process, which is not there
        assert torch.equal(norm(x), expected)


def test_nothing_changes_alone_and_everything_comes_back():
    model = nn.Sequential(nn.Linear(3, 3), make_norm())
    with joint_batch_norm(model, ALONE):
        assert "forward" not in vars(model[1])
    with joint_batch_norm(model, Processes(0, 2)):
        assert "forward" in vars(model[1])
    assert "forward" not in vars(model[1])


# --- trainings ----------------------------------------------------------------------------------------------------

BATCH, STEPS = 60, 20
OPTIONS = {
    "shared_bottom": {"bottom_params": {"dims": [16, 8], "norm": "batch"}},
    "mmoe": {"num_experts": 3, "expert_params": {"dims": [16, 8], "norm": "batch"}},
    "ple": {"num_shared_experts": 2, "num_task_experts": 1, "expert_params": {"dims": [8], "norm": "batch"}},
}


def trained_with_norm(name, rows, batch_rows=BATCH, optimizer="sgd", **compiled):
    """The state of a model after a training with batches of so many rows in all processes."""
    model = MODELS[name](
        [DenseFeature("age")],
        [SparseFeature("user", 40, embedding_dim=4), SparseFeature("item", 25, embedding_dim=4)],
        target=TASKS,
        tower_params={"dims": [8], "norm": "batch"},
        **OPTIONS[name],
    )
    model.compile(optimizer=optimizer, optimizer_params={"lr": 1e-3}, **compiled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        size = batch_rows // current().size
        model.fit(rows, batch_size=size, shuffle=False, device="cpu", check_data=False, verbose=0)
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def largest_differences(ranks, size, *args, **options):
    """Of each tensor of the state between several processes and one; all of the several have the same."""
    alone, together = trained_with_norm(*args, **options), ranks(size, trained_with_norm, *args, **options)
    assert all(np.array_equal(one[name], together[0][name]) for one in together for name in one)
    return {name: np.abs(value - alone[name]).max() for name, value in together[0].items()}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", OPTIONS)
def test_training_is_that_of_one_process(ranks, name, size):
    rows = make_rows(BATCH * STEPS)
    assert max(largest_differences(ranks, size, name, rows).values()) < 1e-6


def test_training_under_adam_is_that_of_one_process(ranks):
    # A bias before a norm has no effect. Its gradient is a rounding error, which Adam makes a step of the usual size.
    differences = largest_differences(ranks, 2, "mmoe", make_rows(BATCH * STEPS), optimizer="adam")
    free = {"experts.0.bias", "experts.3.bias", *(f"towers.{task}.hidden.0.bias" for task in range(len(TASKS)))}
    assert free < differences.keys()
    known = {name: value for name, value in differences.items() if name not in free and "running_mean" not in name}
    assert max(known.values()) < 1e-6


@pytest.mark.parametrize("weighting", ["grad_norm", "pcgrad", "moco", "famo"])
def test_training_with_task_gradients_and_labels_in_one_process_only(ranks, weighting):
    rows = without_labels(make_rows(BATCH * STEPS), BATCH)
    assert max(largest_differences(ranks, 2, "shared_bottom", rows, loss_weights=weighting).values()) < 1e-6


@pytest.mark.parametrize("weighting", [None, "pcgrad"])
def test_training_with_a_step_in_which_a_process_has_no_row(ranks, weighting):
    rows = make_rows(BATCH * STEPS + 2)  # of three processes, the first has none of two rows
    assert max(largest_differences(ranks, 3, "mmoe", rows, loss_weights=weighting).values()) < 1e-6


def test_one_row_in_each_process_is_enough(ranks):
    assert max(largest_differences(ranks, 2, "shared_bottom", make_rows(20), 2).values()) < 1e-6
