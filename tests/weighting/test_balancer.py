"""The probe and the one backward."""

import numpy as np
import pytest
import torch
from torch import nn

from nextrec_like import Callback, Task
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.distributed import Sum
from nextrec_like.layers import EmbeddingTable, select_rows
from nextrec_like.objectives import LOSSES, OBJECTIVES, TaskLosses, build_losses, build_objective
from nextrec_like.weighting import WEIGHTINGS, Balancer, Weighting, build_weighting
from nextrec_like.weighting.gramian import GramianWeighting
from nextrec_like.weighting.site import Site, shared_parameters


class Spy(Weighting):
    """Weight 1 for each task; keeps what it was shown."""

    needs = "norms"

    def forward(self, stats):
        self.seen = stats
        return torch.ones_like(stats.losses)


def two_losses(shared, first, second):
    return [(shared * first).sum() ** 2, 3 * (shared * second).sum()]


def all_observed(losses):
    return TaskLosses(losses, torch.ones(len(losses), dtype=torch.int64))


def spied(losses, site):
    spy = Spy()
    spy.bind(["a", "b"])
    Balancer(spy, site).backward([all_observed(losses)])
    return spy.seen


def test_norms_are_those_of_the_unweighted_gradients_at_the_site():
    shared = nn.Parameter(torch.tensor([1.0, 2.0]))
    first, second = nn.Parameter(torch.tensor([0.5, -1.0])), nn.Parameter(torch.tensor([4.0, 3.0]))
    seen = spied(two_losses(shared, first, second), Site([shared], [], ["a", "b"]))
    # d/ds (s.f)^2 = 2 (s.f) f with s.f = -1.5, and d/ds 3 s.g = 3 g
    assert seen.norms.tolist() == pytest.approx([3 * 1.25**0.5, 15.0])
    assert seen.losses.tolist() == pytest.approx([2.25, 30.0])
    assert not seen.losses.requires_grad
    assert not seen.norms.requires_grad


def test_norm_is_over_all_tensors_of_the_site():
    shared = [nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([1.0]))]
    losses = [3 * shared[0].sum() + 4 * shared[1].sum(), (shared[0] + shared[1]).sum()]
    assert spied(losses, Site(shared, [], ["a", "b"])).norms.tolist() == pytest.approx([5.0, 2**0.5])


def test_shared_parameters_are_those_that_two_losses_reach():
    shared, first, second, unused = (nn.Parameter(torch.ones(2)) for _ in range(4))
    found = shared_parameters(two_losses(shared, first, second), [first, shared, second, unused])
    assert len(found) == 1
    assert found[0] is shared


def test_tensor_of_the_site_that_no_loss_reaches_keeps_no_gradient():
    shared, unused = (nn.Parameter(torch.tensor([value])) for value in (2.0, 1.0))
    weighting = build_weighting("unit_gradient", ["a", "b"], WEIGHTINGS)
    losses = [3 * shared.sum(), -shared.sum()]
    Balancer(weighting, Site([shared, unused], [], ["a", "b"])).backward([all_observed(losses)])
    # weights 1/3 and 1, scaled to sum 2: 0.5 * 3 - 1.5 * 1
    assert shared.grad.tolist() == pytest.approx([0.0], abs=1e-6)
    assert unused.grad is None


def test_output_of_a_module_can_be_the_site():
    layer = nn.Linear(2, 3)
    site = Site(layer, [], ["a", "b"])
    site.attach()
    output = layer(torch.ones(1, 2))
    seen = spied([output.sum(), (2 * output).sum()], site)
    assert seen.norms.tolist() == pytest.approx([3**0.5, 2 * 3**0.5])
    site.detach()
    assert not layer._forward_hooks


@pytest.mark.parametrize("declared", [None, "own"])
def test_tasks_that_share_nothing_are_refused_by_name(declared, refused):
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    site = Site([first] if declared else None, [first, second], ["click", "buy"])
    balancer = Balancer(build_weighting("grad_norm", ["click", "buy"], WEIGHTINGS), site)
    with refused("click, buy", "share none", "fixed weights"):
        balancer.backward([all_observed([first.sum(), second.sum()])])


def test_one_task_has_nothing_to_balance(train, build, refused):
    with refused("click", "only the task click"):
        train(model=build(target="click"), compiled={"loss_weights": "grad_norm"})


def test_layers_of_one_task_descend_its_loss_also_where_its_weight_is_negative():
    class Negative(GramianWeighting):
        def solve(self, problem):
            return np.array([3.0, -1.0])

    shared, first, second = (nn.Parameter(torch.tensor([value])) for value in (1.0, 2.0, 3.0))
    weighting = build_weighting({"method": Negative(), "normalize": False}, ["a", "b"], WEIGHTINGS)
    parts = [all_observed([shared * first, shared * second * 5]) for _ in range(2)]
    for part in parts:
        part.values[:] = [value.sum() for value in part.values]
    Balancer(weighting, Site([shared], [], ["a", "b"])).backward(parts, Sum(torch.ones(2, 2, dtype=torch.int64)))
    # d/dshared = 3 * 2 - 1 * 15; of the own layers 3 * 1 and |-1| * 5, each the mean of two equal parts
    assert shared.grad.tolist() == [-9.0]
    assert (first.grad.tolist(), second.grad.tolist()) == ([3.0], [5.0])
    assert not second._backward_hooks


@pytest.mark.parametrize("name", ["mmoe", "ple", "esmm", "shared_bottom", "single_task"])
@pytest.mark.parametrize("spec", [None, "grad_norm"])
def test_one_backward_a_step_passes_through_the_embedding_table(name, spec, build, train, monkeypatch):
    model, counts = build(name), []
    tables = [module.weight for module in model.modules() if isinstance(module, EmbeddingTable)]

    def watched(leaf, rows):
        if leaf.requires_grad:
            leaf.register_hook(lambda _: counts.append(1))
        return select_rows(leaf, rows)

    monkeypatch.setattr("nextrec_like.optim.tables.select_rows", watched)
    train(model=model, compiled={"loss_weights": spec, "objective": "entire_space"}, epochs=2)
    assert len(counts) == 2 * 4 * len(tables)


def test_unshared_networks_share_the_click_network_under_entire_space(build, table):
    model = build("single_task")
    objective = build_objective("entire_space", model.tasks, build_losses(None, model.tasks, LOSSES), OBJECTIVES)
    rows = pack(read_table(table), model.features, model.tasks).rows
    site = Site(model.last_shared(), model.dense_parameters(), model.task_names)
    found = site.tensors(objective(model(rows), rows.labels).values)
    tower = model.networks["click"][1]
    assert {id(tensor) for tensor in found} == {id(parameter) for parameter in tower.parameters()}


def test_third_task_that_shares_nothing_has_norm_0(build, train):
    tasks = [Task("click"), Task("conversion", parent="click"), Task("like")]
    compiled = {"loss_weights": "grad_norm", "objective": "entire_space"}
    _, history = train(model=build("single_task", target=tasks), compiled=compiled)
    assert sum(history.epochs[0].weights.values()) == pytest.approx(3)


def test_frozen_site_is_replaced_by_what_is_trained_and_shared(build, train):
    model = build("esmm")
    model.embedding.requires_grad_(False)
    _, history = train(model=model, compiled={"loss_weights": "grad_norm"})
    assert sum(history.epochs[0].weights.values()) == pytest.approx(2)


def test_frozen_site_without_a_replacement_is_refused(build, train, refused):
    model = build("mmoe")
    model.experts.requires_grad_(False)
    with refused("click, conversion", "trained"):
        train(model=model, compiled={"loss_weights": "grad_norm"})


@pytest.mark.parametrize("name", ["esmm", "mmoe"])
def test_frozen_embeddings_train_under_fixed_weights(name, build, train):
    model = build(name)
    table = next(module for module in model.modules() if isinstance(module, EmbeddingTable))
    table.requires_grad_(False)
    before = table.weight.clone()
    model.load_state_dict(model.state_dict() | {"embedding.tables.0.weight": before + 1})
    train(model=model)
    assert torch.equal(table.weight, before + 1)


def test_failed_compile_leaves_no_hook(build):
    model = build("esmm")
    for _ in range(2):
        with pytest.raises(ValueError, match="optimizer"):
            model.compile(optimizer="nope")
    assert not model.embedding._forward_hooks


def test_fit_leaves_no_hook_also_after_an_error(build, table):
    model = build("esmm")
    model.compile(loss_weights="grad_norm")
    hooks = []

    class Count(Callback):
        def on_step_end(self, trainer):
            hooks.append(len(model.embedding._forward_hooks))
            if len(hooks) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(table, batch_size=60, device="cpu", verbose=0, callbacks=[Count()])
    assert hooks == [1, 1, 1]
    assert not model.embedding._forward_hooks
