"""What every weighting keeps, from the registry: a new method is tested here by itself."""

import numpy as np
import pytest
import torch

from nextrec_like import Callback, DataProcessor, IdColumn, NumericColumn, Task, synthetic_funnel
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.layers import select_rows
from nextrec_like.models import MODELS
from nextrec_like.weighting import WEIGHTINGS, LabelStatistics, TaskStats, build_weighting

pytestmark = pytest.mark.parametrize("method", WEIGHTINGS)

REQUIRED = {"fixed": {"weights": [0.4, 1.3, 0.8]}, "pareto": {"c": [0.1, 0.2, 0.05]}}
"""Options of methods that have no default, for three tasks."""
TINY = {
    "mmoe": {"num_experts": 2, "expert_params": {"dims": [8], "dropout": 0.2}, "tower_params": {"dims": [4]}},
    "ple": {"expert_params": {"dims": [8]}, "tower_params": {"dims": [4]}},
    "esmm": {"ctr_params": {"dims": [8]}, "cvr_params": {"dims": [8]}},
}
STRESS = {"precision": "bf16", "accumulate_steps": 2, "optimizer_params": {"lr": 0.01}, "clip_norm": 5.0}


def spec_of(method, num_tasks=2, **common):
    own = {name: values[:num_tasks] for name, values in REQUIRED.get(method, {}).items()}
    return {"method": method, **own, **common}


@pytest.fixture(scope="module")
def log():
    """The synthetic funnel with 30 % of the conversion labels missing, in some batches all of them."""
    table = synthetic_funnel(3_000, seed=3)
    missing = np.random.default_rng(0).random(len(table)) < 0.3
    missing[:500] = True
    return table.assign(conversion=np.where(missing, np.nan, table["conversion"]))


@pytest.fixture(scope="module")
def processor(log):
    columns = [NumericColumn("price", scaling="log1p"), IdColumn("user_id"), IdColumn("item_id")]
    return DataProcessor(columns).fit(log)


@pytest.fixture
def fit(log, processor):
    """Trains a tiny model of the registry under everything that makes training hard; returns it and its history."""

    def run(method, name, callbacks=(), epochs=3, common=None, **options):
        model = MODELS[name](
            **processor.features(),
            target=["click", Task("conversion", parent="click")],
            processor=processor,
            **TINY[name],
        )
        model.compile(loss_weights=spec_of(method, **(common or {})), **STRESS)
        defaults = {"batch_size": 251, "device": "cpu", "verbose": 0, "shuffle": False, "log_every": 1}
        return model, model.fit(log, epochs=epochs, callbacks=callbacks, **{**defaults, **options})

    return run


class Interrupt(Callback):
    """Stops the program in the middle of the second epoch."""

    def on_step_end(self, trainer):
        if trainer.parts.balancer.steps == 17:
            raise KeyboardInterrupt


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Task `conversion` is NaN", "ignore:The weight of task")
@pytest.mark.parametrize("name", TINY)
def test_trains_in_bf16_in_parts_and_with_missing_labels(method, name, fit):
    model, history = fit(method, name)
    first, last = (sum(record.loss.values()) for record in (history.epochs[0], history.epochs[-1]))
    assert last < 0.95 * first
    assert history.skipped_steps == 0
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert all(value.isfinite().all() for value in model._parts.balancer.state_dict().values())


@pytest.mark.filterwarnings("ignore:Task `conversion` is NaN", "ignore:The weight of task")
def test_state_survives_a_checkpoint_bitwise(method, fit, tmp_path):
    options = {"common": {"every": 2, "warmup_steps": 3}, "diagnose": True}
    straight, history = fit(method, "mmoe", **options)
    with pytest.raises(KeyboardInterrupt):
        fit(method, "mmoe", callbacks=[Interrupt()], checkpoint_dir=tmp_path, **options)
    resumed, resumed_history = fit(method, "mmoe", checkpoint_dir=tmp_path, resume=True, **options)
    assert resumed_history.steps == history.steps
    for ours, theirs in ((resumed, straight), (resumed._parts.balancer, straight._parts.balancer)):
        state, expected = ours.state_dict(), theirs.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.parametrize("site", ["last_shared", "shared", "representation"])
@pytest.mark.parametrize("name", ["mmoe", "ple", "esmm"])
def test_one_backward_a_step_passes_through_the_embedding_table(method, name, site, build, table, monkeypatch):
    if site == "representation" and WEIGHTINGS[method].needs_parameters:
        pytest.skip("combines gradients of batches: refused by name in test_balancer_options")
    model, counts = build(name), []

    def watched(leaf, rows):
        if leaf.requires_grad:
            leaf.register_hook(lambda _: counts.append(1))
        return select_rows(leaf, rows)

    monkeypatch.setattr("nextrec_like.optim.tables.select_rows", watched)
    model.compile(loss_weights=spec_of(method, site=site), objective="entire_space")
    model.fit(table, batch_size=120, device="cpu", verbose=0)
    assert len(counts) == 2 * len(model.embedding.tables)


@pytest.mark.parametrize("name", ["mmoe", "ple", "esmm"])
def test_gradient_outside_the_site_is_the_weighted_sum(method, name, build, table):
    torch.manual_seed(0)
    model = build(name)
    model.compile(loss_weights=spec_of(method, site="last_shared"), objective="entire_space")
    parts, rows = model._parts, pack(read_table(table), model.features, model.tasks).rows
    parts.balancer.weighting.see_labels(LabelStatistics(torch.tensor([0.5, 0.2]), torch.tensor([0.25, 0.16])))
    parts.balancer.site.attach()
    losses = parts.objective(model(rows), rows.labels)
    site = {id(tensor) for tensor in parts.balancer.site.tensors(losses.values)}
    outside = [parameter for parameter in model.towers.parameters() if id(parameter) not in site]
    separate = [torch.autograd.grad(v, outside, retain_graph=True, materialize_grads=True) for v in losses.values]
    step = parts.balancer.backward([losses], draw=lambda: parts.objective(model(rows), rows.labels))
    for parameter, *by_task in zip(outside, *separate):
        is_shared = sum(bool(gradient.any()) for gradient in by_task) > 1
        weights = step.weights if is_shared else step.weights.abs()  # nothing climbs its only loss
        expected = sum(weight * gradient for weight, gradient in zip(weights, by_task))
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-8)


def test_state_is_in_buffers_only(method):
    weighting = build_weighting(spec_of(method), ["a", "b"], WEIGHTINGS)
    assert not list(weighting.parameters())


# --- tasks without labels --------------------------------------------------------------------------------------------


def bound(method, num_tasks):
    weighting = build_weighting(spec_of(method, num_tasks), [f"task_{k}" for k in range(num_tasks)], WEIGHTINGS)
    rates = torch.tensor([0.3, 0.1, 0.02], dtype=torch.float64)[:num_tasks]
    weighting.see_labels(LabelStatistics(rates, rates * (1 - rates)))
    return weighting


def stats_of(step, num_tasks):
    """Three tasks, of which the last is not observed; or the first two alone."""
    rng = np.random.default_rng(step)
    gradients, losses = torch.tensor(rng.normal(size=(3, 6))), torch.tensor(rng.uniform(0.1, 1.0, size=3))
    more = tuple(torch.tensor(rng.normal(size=(3, 6))) for _ in range(2))
    gradients[2], losses[2] = 0, 0
    for drawn in more:
        drawn[2] = 0
    kept = gradients[:num_tasks].float()
    double = kept.double()
    return TaskStats(
        losses[:num_tasks].float(),
        torch.tensor([True, True, False][:num_tasks]),
        norms=kept.norm(dim=1),
        gramian=double @ double.T,
        gradients=kept,
        blocks=(4, 2),
        more_gradients=tuple(drawn[:num_tasks].float() for drawn in more),
        key=(5, step),
    )


def walk(method, num_tasks):
    """Weights and directions of some steps, with all that happens between them."""
    weighting, found = bound(method, num_tasks), []
    for step in range(6):
        stats = stats_of(step, num_tasks)
        weights = weighting(stats)
        direction = weighting.direction(stats, weights) if weighting.needs == "gradients" else None
        found.append((weights, direction))
        weighting.revisit(stats.losses, stats.losses * 0.9**step, stats.active)
        weighting.observe(stats)
        if step % 2:
            weighting.end_epoch()
    return found


def test_task_without_labels_might_as_well_not_exist(method):
    for (weights, direction), (expected, expected_direction) in zip(walk(method, 3), walk(method, 2)):
        if method not in ("equal", "fixed"):  # the loss of such a task is 0, whatever its weight
            assert weights[2] == 0
        torch.testing.assert_close(weights[:2], expected, rtol=1e-6, atol=1e-9)
        assert (direction is None) == (expected_direction is None)
        if direction is not None:
            torch.testing.assert_close(direction, expected_direction, rtol=1e-5, atol=1e-7)


def test_all_tasks_without_labels_give_finite_weights_and_change_nothing(method):
    weighting = bound(method, 3)
    weighting.observe(stats_of(0, 3))
    before = {name: value.clone() for name, value in weighting.state_dict().items()}
    empty = stats_of(1, 3)
    nothing = TaskStats(
        torch.zeros(3),
        torch.zeros(3, dtype=torch.bool),
        torch.zeros(3),
        torch.zeros(3, 3, dtype=torch.float64),
        torch.zeros(3, 6),
        empty.blocks,
        tuple(torch.zeros(3, 6) for _ in empty.more_gradients),
        empty.key,
    )
    weights = weighting(nothing)
    weighting.observe(nothing)
    assert weights.isfinite().all()
    assert all(torch.equal(value, before[name]) for name, value in weighting.state_dict().items())
