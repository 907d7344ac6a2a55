"""What every method accepts beside its own options: base, every, site, warmup_steps, normalize."""

import numpy as np
import pytest
import torch
from torch import nn

from nextrec_like import Callback, InputError, InputWarning
from nextrec_like.objectives import TaskLosses
from nextrec_like.weighting import WEIGHTINGS, Balancer, Weighting, build_weighting, task_weights
from nextrec_like.weighting.gramian import GramianWeighting
from nextrec_like.weighting.probe import Probe
from nextrec_like.weighting.site import Site

NAMES = ["click", "buy"]


class Counting(Weighting):
    """At the n-th question the weights are (n, 3 n)."""

    def make_state(self, num_tasks):
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, stats):
        return torch.tensor([1.0, 3.0]) * (self.seen + 1)

    def observe(self, stats):
        self.seen += 1


def balancer_of(method, **options):
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    weighting = build_weighting({"method": method, **options}, NAMES, WEIGHTINGS)
    return Balancer(weighting, Site([parameter], [parameter], NAMES)), parameter


def step(balancer, parameter, active=(1, 1), scale=1.0):
    losses = [scale * (parameter**2).sum(), (parameter[0] - 3) ** 2]
    taken = balancer.backward([TaskLosses(losses, torch.tensor(active))])
    balancer.observe(taken, 0.1)
    return taken.weights.tolist()


def test_weights_sum_to_the_number_of_active_tasks():
    assert step(*balancer_of(Counting())) == [0.5, 1.5]
    assert step(*balancer_of(Counting()), active=(1, 0)) == [1.0, 0.0]


def test_normalize_false_keeps_the_scale_of_the_method():
    assert step(*balancer_of(Counting(), normalize=False)) == [1.0, 3.0]


def test_normalize_true_applies_to_fixed_weights_too():
    assert step(*balancer_of("fixed", weights=[1, 3], normalize=True)) == [0.5, 1.5]
    assert step(*balancer_of("fixed", weights=[1, 3])) == [1.0, 3.0]


def test_base_multiplies_the_weights():
    assert step(*balancer_of(Counting(), base=[3, 1])) == [1.0, 1.0]
    assert step(*balancer_of(Counting(), base={"buy": 2, "click": 1}, normalize=False)) == [1.0, 6.0]
    assert step(*balancer_of("equal", base=[0.3, 0.7])) == pytest.approx([0.3, 0.7])


def test_method_sees_each_nth_step_and_its_weights_hold_in_between():
    balancer, parameter = balancer_of(Counting(), every=3, normalize=False)
    assert [step(balancer, parameter)[0] for _ in range(7)] == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0]


def test_nothing_is_probed_between_the_steps_that_a_method_sees(monkeypatch):
    probes = []
    monkeypatch.setattr("nextrec_like.weighting.balancer.Probe", lambda *args: probes.append(1) or Probe(*args))
    balancer, parameter = balancer_of("grad_norm", every=4, warmup_steps=2)
    for _ in range(10):
        step(balancer, parameter)
    assert len(probes) == 2


def test_weights_are_equal_and_the_method_sees_nothing_during_the_warm_up():
    balancer, parameter = balancer_of(Counting(), warmup_steps=2, base=[1, 2], normalize=False)
    assert [step(balancer, parameter) for _ in range(3)] == [[1.0, 2.0], [1.0, 2.0], [1.0, 6.0]]
    assert balancer.weighting.seen == 1


def test_task_that_was_missing_when_asked_keeps_its_last_weight():
    balancer, parameter = balancer_of(Counting(), every=2, normalize=False)
    step(balancer, parameter)
    step(balancer, parameter)
    assert step(balancer, parameter, active=(1, 0))[0] == 2.0
    assert step(balancer, parameter) == [2.0, 3.0]


def test_step_that_is_skipped_leaves_weights_and_state():
    balancer, parameter = balancer_of(Counting(), normalize=False)
    step(balancer, parameter)
    balancer.backward([TaskLosses([parameter.sum() * float("nan"), parameter.sum()], torch.tensor([1, 1]))])
    balancer.skip()
    assert (balancer.steps, balancer.weighting.seen) == (2, 1)
    assert balancer.last.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("method", ["mgda", "grad_norm", "realtime_inverse"])
def test_gradient_that_is_not_finite_does_not_break_a_method(method):
    balancer, parameter = balancer_of(method)
    step(balancer, parameter)
    before = {name: value.clone() for name, value in balancer.state_dict().items() if name != "_extra_state"}
    balancer.backward([TaskLosses([parameter.sum() * float("inf"), parameter.sum()], torch.tensor([1, 1]))])
    balancer.skip()
    after = balancer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weights_that_are_not_finite_are_replaced_by_the_last():
    class Broken(Counting):
        def forward(self, stats):
            return super().forward(stats) if self.seen == 0 else torch.tensor([torch.nan, 5.0])

    balancer, parameter = balancer_of(Broken(), normalize=False)
    assert [step(balancer, parameter) for _ in range(2)] == [[1.0, 3.0], [1.0, 5.0]]


def test_collapsed_weight_is_named_after_200_steps():
    class Collapsing(Counting):
        def forward(self, stats):
            return torch.tensor([1.0, 0.001])

    balancer, parameter = balancer_of(Collapsing())
    for _ in range(199):
        step(balancer, parameter)
    assert balancer.collapsed() == []
    step(balancer, parameter)
    assert balancer.collapsed() == ["buy"]
    step(balancer, parameter, active=(1, 0))
    assert balancer.collapsed() == ["buy"]


def test_weights_that_the_user_chose_do_not_collapse():
    balancer, parameter = balancer_of("fixed", weights=[1.0, 0.001])
    for _ in range(201):
        step(balancer, parameter)
    assert balancer.collapsed() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base": [1]}, ["`base`", "1 values", "2 tasks"]),
        ({"base": [1, -1]}, ["`base`", "`buy`", "-1"]),
        ({"base": [1, float("nan")]}, ["`base`", "`buy`", "nan"]),
        ({"base": [0, 0]}, ["`base`", "0 for every task"]),
        ({"base": {"click": 1}}, ["`base`", "no value for task `buy`"]),
        ({"base": {"clik": 1, "buy": 1}}, ["task in `base`", "Did you mean `click`?"]),
        ({"every": 0}, ["`every`", "positive integer", "0"]),
        ({"every": 1.5}, ["`every`", "1.5"]),
        ({"warmup_steps": -1}, ["`warmup_steps`", "-1"]),
        ({"site": "last"}, ["site `last`", "last_shared, shared, representation"]),
        ({"site": ["shared"]}, ["site"]),
        ({"normalize": "yes"}, ["`normalize`", "'yes'"]),
        ({"normalise": True}, ["option", "`normalise`", "Did you mean `normalize`?"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["equal", "grad_norm", "pcgrad", Counting])
def test_wrong_common_options_are_refused(method, options, words, refused):
    with refused(*words):
        balancer_of(method if isinstance(method, str) else method(), **options)


@pytest.mark.parametrize("method", [name for name, kind in WEIGHTINGS.items() if kind.needs != "losses"])
def test_single_task_is_refused_where_gradients_are_compared(method, refused):
    options = {"c": 0.1} if method == "pareto" else {}
    with refused(f"`{method}`", "only the task click", "fixed weights"):
        build_weighting({"method": method, **options}, ["click"], WEIGHTINGS)


def test_instance_beside_its_own_options_is_refused(refused):
    with refused("option beside a weighting object", "`alpha`"):
        build_weighting({"method": Counting(), "alpha": 1}, NAMES, WEIGHTINGS)


@pytest.mark.parametrize("name", ["mmoe", "ple", "shared_bottom", "esmm"])
@pytest.mark.parametrize("site", ["last_shared", "shared", "representation"])
def test_every_site_works_on_every_model_that_shares(name, site, train):
    _, history = train(name, compiled={"loss_weights": {"method": "grad_norm", "site": site}})
    assert sum(history.epochs[0].weights.values()) == pytest.approx(2)


def test_site_shared_is_all_that_two_losses_reach_outside_the_tables(build, train):
    model = build("mmoe")
    train(model=model, compiled={"loss_weights": {"method": "grad_norm", "site": "shared"}})
    found = {id(tensor) for tensor in model._parts.balancer.site._found}
    assert found == {id(parameter) for parameter in model.experts.parameters()}


@pytest.mark.parametrize("method", ["adatask", "db_mtl", "excess_mtl", "moco", "modo", "sdmgrad"])
def test_method_that_combines_gradients_of_batches_is_refused_at_activations(method, build, train, refused):
    with refused("`site` of parameters", "last_shared or shared"):
        build("mmoe").compile(loss_weights={"method": method, "site": "representation"})
    with refused("click, conversion", "share none", "another `site` or method"):
        train("esmm", compiled={"loss_weights": method, "objective": "marginal"})


def test_db_mtl_without_averages_works_at_activations(train):
    train("esmm", compiled={"loss_weights": {"method": "db_mtl", "beta": 0}}, batch_size=70)


@pytest.mark.parametrize("method", ["graddrop", "metabalance", "mgda", "grad_norm"])
@pytest.mark.parametrize("name", ["mmoe", "esmm"])
def test_batches_and_parts_of_different_sizes_work_at_activations(method, name, train):
    spec = {"method": method, "site": "representation"}
    train(name, compiled={"loss_weights": spec, "accumulate_steps": 2}, batch_size=91, epochs=2)


@pytest.mark.parametrize(("parts", "rows"), [(1, 60), (4, 15)])
def test_two_further_batches_are_drawn_per_step_also_of_batches_in_parts(parts, rows, train):
    sizes = []

    class Forwards(Callback):
        def on_fit_start(self, trainer):
            self.hook = trainer.model.register_forward_pre_hook(lambda _, batch: sizes.append(len(batch[0])))

        def on_fit_end(self, trainer):
            self.hook.remove()

    train("mmoe", compiled={"loss_weights": "modo", "accumulate_steps": parts}, callbacks=[Forwards()])
    assert sizes == [rows] * 4 * (parts + 2)


def test_optimizer_moves_the_shared_parameters_where_adatask_is_not_asked(train):
    model, _ = train("mmoe", compiled={"loss_weights": {"method": "adatask", "every": 2}})
    parts = model._parts
    assert parts.weighting.state_dict()["updates"].tolist() == [2, 2]
    assert parts.optimizer.state[next(model.experts.parameters())]["step"] == 2


def test_model_without_a_representation_says_so(build, refused):
    with refused("representation", "last_shared or shared"):
        build("single_task").compile(loss_weights={"method": "grad_norm", "site": "representation"})


def test_task_weights_refuses_what_it_cannot_use(refused):
    with refused("Unknown weighting method `mgdaa`", "Did you mean `mgda`?"):
        task_weights("mgdaa", gradients=[[1.0]])
    with refused("`gradients`"):
        task_weights("mgda", losses=[1.0, 2.0])
    with refused("`losses`"):
        task_weights("generalized_mean", gradients=[[1.0], [2.0]])
    with refused("3 rows", "2 values"):
        task_weights("mgda", gradients=[[1.0], [2.0], [3.0]], losses=[1.0, 2.0])
    with refused("(K, M)", "(2,)"):
        task_weights("mgda", gradients=[1.0, 2.0])
    with refused("NaN"):
        task_weights("mgda", gradients=[[1.0], [float("nan")]])
    with refused("no stateless form", "one step"):
        task_weights("dwa", losses=[1.0, 2.0])
    with refused("option of weighting `cagrad`", "`cc`"):
        task_weights("cagrad", gradients=[[1.0], [2.0]], cc=1)
    with refused("option of weighting `cagrad`", "`base`"):
        task_weights("cagrad", gradients=[[1.0], [2.0]], base=[1, 2])


# --- what interrupted or odd steps leave behind -----------------------------------------------------------------------


def test_interrupted_backward_leaves_no_hook(train, build):
    class Negative(GramianWeighting):
        def solve(self, problem):
            return np.array([1.0, -0.5])

    class Interrupt(Callback):
        def on_fit_start(self, trainer):
            parameter = next(trainer.model.gates["click"].parameters())
            self.hook = parameter.register_hook(self._interrupt)

        def _interrupt(self, gradient):
            raise KeyboardInterrupt

    for spec in (Negative(), "graddrop"):
        model, interrupt = build("mmoe"), Interrupt()
        with pytest.raises(KeyboardInterrupt):
            train(model=model, compiled={"loss_weights": spec}, callbacks=[interrupt])
        interrupt.hook.remove()
        assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_task_that_the_first_part_lacks_gets_the_mean_weight_and_not_another_scale(train, table):
    late = np.arange(240) % 60 >= 30
    table["conversion"] = np.where(late, table["conversion"], np.nan)
    table["click"] = np.maximum(table["click"], np.nan_to_num(table["conversion"]))
    for method in ("nash_mtl", "unit_gradient", "prior_inverse"):
        compiled = {"loss_weights": method, "accumulate_steps": 2}
        _, history = train(compiled=compiled, data=table, batch_size=60, shuffle=False, log_every=1)
        weights = [record.weight["conversion"] for record in history.steps]
        assert weights[0] == pytest.approx(1), method


@pytest.mark.parametrize("method", ["imtl", "moco", "db_mtl", "adatask", "equal"])
def test_task_without_labels_has_weight_0_also_on_the_scale_of_the_method(method):
    balancer, parameter = balancer_of(method, normalize=False)
    assert min(step(balancer, parameter)) > 0
    assert step(balancer, parameter, active=(1, 0))[1] == 0


def test_task_that_does_not_reach_the_site_is_left_out_of_the_solve():
    shared, alone = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([1.0]))
    weighting = build_weighting("mgda", ["a", "b", "c"], WEIGHTINGS)
    balancer = Balancer(weighting, Site([shared], [], ["a", "b", "c"]))
    losses = [(shared**2).sum(), (shared[0] - 3) ** 2, (alone**2).sum()]
    weights = balancer.backward([TaskLosses(losses, torch.tensor([1, 1, 1]))]).weights
    assert weights[2] == pytest.approx(1)
    assert weights[:2].sum() == pytest.approx(2)


def test_drawn_batch_that_is_not_finite_skips_the_step(train):
    class Poison(Callback):
        def on_fit_start(self, trainer):
            self.count = 0
            self.draw = trainer.stepper.draw
            trainer.stepper.draw = self._drawn

        def _drawn(self):
            self.count += 1
            batch = self.draw()
            return batch if self.count != 3 else type(batch)(batch.ids, batch.dense * torch.nan, batch.labels)

    with pytest.warns(InputWarning, match="1 of 4 steps"):
        model, _ = train("mmoe", compiled={"loss_weights": "modo"}, callbacks=[Poison()])
    assert all(value.isfinite().all() for value in model._parts.balancer.state_dict().values())


def test_loss_that_is_not_finite_after_the_step_does_not_reach_famo():
    balancer, parameter = balancer_of("famo")
    losses = [(parameter**2).sum(), (parameter[0] - 3) ** 2]
    taken = balancer.backward([TaskLosses(losses, torch.tensor([1, 1]))])
    balancer.revisit(taken, torch.tensor([1.0, torch.inf]))
    assert all(value.isfinite().all() for value in balancer.state_dict().values())


@pytest.mark.parametrize("method", ["famo", "modo", "sdmgrad"])
def test_further_forward_passes_leave_batch_normalisation_alone(method, build, train):
    params = {"expert_params": {"dims": [8], "norm": "batch"}, "tower_params": {"dims": [4]}}
    compiled = {"loss_weights": method, "optimizer_params": {"lr": 1e-12}}
    model, _ = train(model=build("mmoe", **params), compiled=compiled)
    plain, _ = train(model=build("mmoe", **params), compiled={"optimizer_params": {"lr": 1e-12}})
    for ours, theirs in zip(model.buffers(), plain.buffers()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_failed_compile_leaves_the_instance_usable(build):
    weighting = WEIGHTINGS["pcgrad"]()
    for wrong in ({"optimizer": "adm"}, {"loss_weights": {"method": weighting, "base": [1]}}):
        with pytest.raises(InputError):
            build().compile(**{"loss_weights": weighting, **wrong})
    build().compile(loss_weights={"method": weighting})


def test_mapping_with_neither_tasks_nor_method_is_explained(refused):
    with refused("key of `loss_weights` `methd`", "Did you mean `method`?", "click, buy"):
        build_weighting({"methd": "mgda"}, NAMES, WEIGHTINGS)
    with refused("Did you mean `pcgrad`?"):
        build_weighting("PCGrad", NAMES, WEIGHTINGS)


def test_single_solve_takes_tensors_and_needs_no_losses_that_it_does_not_read(refused):
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 2.0]], requires_grad=True)
    assert task_weights("mgda", gradients=gradients) == pytest.approx([0.75, 0.25])
    assert task_weights("mgda", gradients=gradients.bfloat16()) == pytest.approx([0.75, 0.25])
    assert task_weights("equal", gradients=gradients).tolist() == [1.0, 1.0]
    assert task_weights("prior_inverse", gradients=gradients, positive_rate=0.5, criterion="variance").tolist() == [
        4,
        4,
    ]
    with refused("Unknown weighting method"):
        task_weights(["mgda"], gradients=gradients)
    with refused("`stch`", "`nadir` or `ideal_point`"):
        task_weights("stch", losses=[1.0, 2.0])
