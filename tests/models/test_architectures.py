"""Each forward pass against its paper, written slowly."""

import pytest
import torch

from nextrec_like import Task
from nextrec_like.data.packed import pack
from nextrec_like.data.tables import read_table
from nextrec_like.layers.towers import batch_tasks


@pytest.fixture
def batch(build, table):
    return pack(read_table(table), build().features).rows


def mlp(layers, x):
    """Linear maps, each with a ReLU."""
    for weight, bias in layers:
        x = (x @ weight.T + bias).clamp(min=0)
    return x


def linears(module):
    return [(m.weight, m.bias) for m in module.modules() if isinstance(m, torch.nn.Linear)]


def tower(module, x):
    *hidden, (weight, bias) = linears(module)
    return (mlp(hidden, x) @ weight.T + bias)[:, 0]


def experts(module, x):
    """Outputs of all experts, a list of ``(B, H)``."""
    layers = [(m.weight, m.bias) for m in module if hasattr(m, "bias")]
    return [mlp([(weight[e], bias[e]) for weight, bias in layers], x) for e in range(module.num)]


def mix(gate, x, outputs):
    share = torch.softmax(x @ gate.score.weight.T + gate.score.bias, dim=1)
    return sum(share[:, [index]] * output for index, output in enumerate(outputs))


def test_single_task_is_one_network_per_task(build, batch):
    model = build("single_task")
    for task in ("click", "conversion"):
        embedding, own = model.networks[task]
        torch.testing.assert_close(model(batch)[task], tower(own, embedding(batch)))
    first, second = ({id(p) for p in model.networks[task].parameters()} for task in ("click", "conversion"))
    assert not first & second


def test_shared_bottom_is_one_mlp_then_towers(build, batch):
    model = build("shared_bottom")
    shared = mlp(linears(model.bottom), model.embedding(batch))
    for task in ("click", "conversion"):
        torch.testing.assert_close(model(batch)[task], tower(model.towers[task], shared))


def test_mmoe_is_equations_6_and_7(build, batch):
    model = build("mmoe")
    x = model.embedding(batch)
    outputs = experts(model.experts, x)
    for task in ("click", "conversion"):
        mixture = mix(model.gates[task], x, outputs)
        torch.testing.assert_close(model(batch)[task], tower(model.towers[task], mixture), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_ple_is_equations_1_to_6(num_levels, build, batch):
    model = build("ple", num_levels=num_levels, num_task_experts=2, num_shared_experts=3)
    tasks = ["click", "conversion"]
    x = model.embedding(batch)
    shared, own = x, {task: x for task in tasks}
    for index, level in enumerate(model.levels):
        common = experts(level.shared_experts, shared)
        private = {task: experts(level.task_experts[task], own[task]) for task in tasks}
        own = {task: mix(level.gates[task], own[task], private[task] + common) for task in tasks}
        if index < num_levels - 1:
            shared = mix(level.shared_gate, shared, private["click"] + private["conversion"] + common)
    assert model.levels[-1].shared_gate is None
    for task in tasks:
        expected = tower(model.towers[task], own[task])
        torch.testing.assert_close(model(batch)[task], expected, rtol=1e-5, atol=1e-6)


def test_ple_with_one_level_is_cgc_and_has_no_unused_parameter(build, batch):
    model = build("ple", num_levels=1)
    sum(logit.sum() for logit in model(batch).values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["mmoe", "ple", "shared_bottom", "single_task", "esmm"])
def test_every_parameter_is_used(name, build, batch):
    model = build(name)
    sum(logit.sum() for logit in model(batch).values()).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["mmoe", "ple", "shared_bottom", "single_task", "esmm"])
def test_tasks_together_have_the_logits_and_gradients_of_each_alone(name, build, batch):
    model = build(name, target=["click", "conversion", "like"])
    results = []
    for together in (False, True):
        with batch_tasks(model, together):
            logits = model(batch)
        loss = sum((k + 1) * logit.sin().sum() for k, logit in enumerate(logits.values()))
        results.append(
            (logits, dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, model.parameters()))))
        )
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mmoe", "ple", "shared_bottom", "esmm"])
def test_towers_of_one_shape_can_be_computed_together(name, build, batch):
    model = build(name, target=["click", "conversion", "like", "price"])
    reached = []
    for together in (False, True):
        with batch_tasks(model, together):
            logit = model(batch)["conversion"].sum()
        gradients = torch.autograd.grad(logit, list(model.towers["like"].parameters()), allow_unused=True)
        reached.append([gradient is not None for gradient in gradients])
    assert not any(reached[0])
    assert all(reached[1])


def test_esmm_is_two_towers_on_shared_embeddings(build, batch):
    model = build("esmm", ctr_params={"dims": [6]}, cvr_params={"dims": [5, 4]})
    x = model.embedding(batch)
    for task in ("click", "conversion"):
        torch.testing.assert_close(model(batch)[task], tower(model.towers[task], x))
    widths = {task: [weight.shape[0] for weight, _ in linears(model.towers[task])] for task in ("click", "conversion")}
    assert widths == {"click": [6, 1], "conversion": [5, 4, 1]}


def test_esmm_chains_targets_into_a_funnel(build):
    assert [task.parent for task in build("esmm", target=["click", "conversion", "like"]).tasks] == [
        None,
        "click",
        "conversion",
    ]
    given = [Task("click"), Task("like"), Task("conversion", parent="click")]
    assert [task.parent for task in build("esmm", target=given).tasks] == [None, None, "click"]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mmoe", {"num_experts": 0}, ["`num_experts`", "0"]),
        ("mmoe", {"num_experts": 2.0}, ["`num_experts`", "2.0"]),
        ("ple", {"num_levels": -1}, ["`num_levels`", "-1"]),
        ("ple", {"num_shared_experts": 0}, ["`num_shared_experts`", "0"]),
        ("ple", {"num_task_experts": True}, ["`num_task_experts`", "True"]),
        ("mmoe", {"target": []}, ["at least one task"]),
        ("mmoe", {"target": ["age"]}, ["`age`", "label of task"]),
        ("esmm", {"target": [Task("a", kind="regression"), Task("b")]}, ["`a`", "binary"]),
    ],
)
def test_wrong_hyperparameter_is_refused(name, changes, words, build, refused):
    with refused(*words):
        build(name, **changes)


def test_unknown_argument_is_a_type_error(build):
    with pytest.raises(TypeError, match="num_expert"):
        build("mmoe", num_expert=3)


def test_hyperparameters_default_dicts_are_not_shared(build):
    given = {"dims": [4]}
    model = build("mmoe", tower_params=given)
    given["dims"].append(9)
    assert model.hyperparameters["tower_params"]["dims"] == [4]


def test_summary_names_features_tasks_and_counts_parameters(build):
    model = build("mmoe")
    text = model.summary()
    for word in ("MMoE", "user", "hist", "sequence (mean)", "click", "conversion", "embedding", "experts"):
        assert word in text
    assert f"{sum(parameter.numel() for parameter in model.parameters()):,}" in text
