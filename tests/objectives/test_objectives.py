"""What a logit means: losses and probabilities of each objective against slow references."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch

from nextrec_like import Task
from nextrec_like.objectives import LOSSES, OBJECTIVES, build_losses, build_objective
from nextrec_like.objectives.funnel import joint_logit
from nextrec_like.tasks import TaskSet

FUNNEL = TaskSet([Task("click"), Task("cart", parent="click"), Task("buy", parent="cart")])
LABELS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, np.nan, 1], [np.nan, 1, 0]])


@pytest.fixture
def logits():
    values = np.random.default_rng(0).normal(size=(3, 6)) * 2
    return {name: torch.tensor(row, requires_grad=True) for name, row in zip(FUNNEL.names, values)}


def objective(name, tasks=FUNNEL, loss=None):
    return build_objective(name, tasks, build_losses(loss, tasks, LOSSES), OBJECTIVES)


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values.detach() if torch.is_tensor(values) else values)))


def mean_bce(probability, label, rows=True):
    rows = ~np.isnan(label) & rows
    terms = np.where(label == 1, np.log(probability), np.log(1 - probability))
    return -terms[rows].mean()


# --- the joint logit ----------------------------------------------------------------------------------------------


def decimal_joint(a, b):
    """``logit(sigmoid(a) sigmoid(b))`` and its derivatives with 120 digits."""
    getcontext().prec = 120
    a, b = Decimal(a), Decimal(b)
    odds = (-a).exp() + (-b).exp() + (-a - b).exp()  # (1 - p) / p
    return -odds.ln(), ((-a).exp() + (-a - b).exp()) / odds, ((-b).exp() + (-a - b).exp()) / odds


@pytest.mark.parametrize("a", [-60.0, -3.5, 0.0, 1.25, 60.0])
@pytest.mark.parametrize("b", [-60.0, -0.5, 0.0, 2.0, 60.0])
def test_joint_logit_and_its_gradient_are_exact(a, b):
    first, second = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (a, b))
    joint = joint_logit(first, second)
    joint.sum().backward()
    value, by_first, by_second = map(float, decimal_joint(a, b))
    assert joint.item() == pytest.approx(value, rel=1e-13)
    assert first.grad.item() == pytest.approx(by_first, rel=1e-12)
    assert second.grad.item() == pytest.approx(by_second, rel=1e-12)


def test_gradient_of_a_positive_at_logits_of_minus_60_is_minus_1_in_float32():
    first, second = (torch.full((1,), -60.0, requires_grad=True) for _ in range(2))
    torch.nn.functional.softplus(-joint_logit(first, second)).sum().backward()
    assert first.grad.item() == pytest.approx(-1)
    assert second.grad.item() == pytest.approx(-1)


@pytest.mark.parametrize(("a", "b"), [(1e4, 1e4), (-1e4, 1e4), (-1e4, -1e4), (1e30, -1e30)])
def test_joint_logit_of_huge_logits_is_finite(a, b):
    first, second = (torch.full((1,), v, requires_grad=True) for v in (a, b))
    joint_logit(first, second).sum().backward()
    assert torch.cat([joint_logit(first, second), first.grad, second.grad]).isfinite().all()


# --- losses -------------------------------------------------------------------------------------------------------


def test_entire_space_is_bce_on_the_product_of_probabilities(logits):
    losses = objective("entire_space")(logits, torch.tensor(LABELS))
    given = [sigmoid(logits[name]) for name in FUNNEL.names]
    products = [given[0], given[0] * given[1], given[0] * given[1] * given[2]]
    expected = [mean_bce(p, label) for p, label in zip(products, LABELS.T)]
    np.testing.assert_allclose([value.item() for value in losses.values], expected, rtol=1e-10)
    assert losses.counts.tolist() == [5, 5, 6]


def test_marginal_is_bce_of_each_logit(logits):
    losses = objective("marginal")(logits, torch.tensor(LABELS))
    expected = [mean_bce(sigmoid(logits[name]), label) for name, label in zip(FUNNEL.names, LABELS.T)]
    np.testing.assert_allclose([value.item() for value in losses.values], expected, rtol=1e-10)
    assert losses.counts.tolist() == [5, 5, 6]


def test_click_space_learns_a_child_only_where_the_parent_happened(logits):
    losses = objective("click_space")(logits, torch.tensor(LABELS))
    happened = [True, LABELS[:, 0] == 1, LABELS[:, 1] == 1]
    expected = [mean_bce(sigmoid(logits[n]), y, rows) for n, y, rows in zip(FUNNEL.names, LABELS.T, happened)]
    np.testing.assert_allclose([value.item() for value in losses.values], expected, rtol=1e-10)
    assert losses.counts.tolist() == [5, 3, 3]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_row_without_label_has_no_gradient(name, logits):
    objective(name)(logits, torch.tensor(LABELS)).values[1].backward()
    gradient = logits["cart"].grad
    assert gradient[4] == 0
    assert gradient[2] != 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_task_without_any_label_costs_0_and_stays_in_the_graph(name, logits):
    losses = objective(name)(logits, torch.full((6, 3), torch.nan))
    assert [value.item() for value in losses.values] == [0, 0, 0]
    assert losses.counts.tolist() == [0, 0, 0]
    sum(losses.values).backward()
    assert all((logit.grad == 0).all() for logit in logits.values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mean_is_over_observed_rows_so_that_missing_rows_change_nothing(name, logits):
    complete = torch.tensor(LABELS)
    longer = torch.cat([complete, torch.full((4, 3), torch.nan)])
    padded = {task: torch.cat([logit, torch.full((4,), 77.0)]) for task, logit in logits.items()}
    ours, theirs = objective(name)(padded, longer), objective(name)(logits, complete)
    torch.testing.assert_close(ours.values, theirs.values)


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("mae", 1)])
def test_error_losses_of_a_binary_task_are_of_its_probability(loss, power, logits):
    value = objective("marginal", loss=loss)(logits, torch.tensor(LABELS)).values[0]
    observed = LABELS[:, 0][:5]
    expected = np.abs(sigmoid(logits["click"])[:5] - observed) ** power
    assert value.item() == pytest.approx(expected.mean())


# --- probabilities ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["entire_space", "click_space"])
def test_probability_of_a_child_is_that_of_the_parent_times_the_conditional(name, logits):
    p = objective(name).probabilities(logits)
    assert set(p) == {"click", "cart", "buy", "cart_given_click", "buy_given_cart"}
    given = {task: sigmoid(logits[task]) for task in FUNNEL.names}
    np.testing.assert_allclose(p["click"].detach(), given["click"], rtol=1e-12)
    np.testing.assert_allclose(p["cart_given_click"].detach(), given["cart"], rtol=1e-12)
    np.testing.assert_allclose(p["cart"].detach(), given["click"] * given["cart"], rtol=1e-12)
    np.testing.assert_allclose(p["buy"].detach(), given["click"] * given["cart"] * given["buy"], rtol=1e-12)


def test_marginal_conditional_is_the_ratio_and_at_most_1(logits):
    p = objective("marginal").probabilities(logits)
    click, cart = sigmoid(logits["click"]), sigmoid(logits["cart"])
    np.testing.assert_allclose(p["cart"].detach(), cart, rtol=1e-12)
    np.testing.assert_allclose(p["cart_given_click"].detach(), np.minimum(cart / click, 1), rtol=1e-12)
    assert (cart > click).any()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_probabilities_of_huge_logits_are_finite(name):
    huge = {task: torch.tensor([-1e4, 1e4, -1e4, 1e4]) for task in FUNNEL.names}
    huge["cart"] = -huge["cart"]
    for values in objective(name).probabilities(huge).values():
        assert values.isfinite().all()
        assert ((values >= 0) & (values <= 1)).all()


def test_order_of_tasks_does_not_matter(logits):
    turned = TaskSet([Task("buy", parent="cart"), Task("cart", parent="click"), Task("click")])
    ours = objective("entire_space", turned).probabilities(logits)
    theirs = objective("entire_space").probabilities(logits)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# --- regression children ------------------------------------------------------------------------------------------

VALUED = TaskSet([Task("click"), Task("price", parent="click", kind="regression")])
CLICK_AND_PRICE = torch.tensor([[1, 5.0], [0, 9.0], [1, np.nan], [1, 1.0]])


def valued_logits():
    return {"click": torch.tensor([0.5, 1.0, -1.0, 2.0]), "price": torch.tensor([4.0, 3.0, 2.0, 1.5])}


def test_regression_child_in_click_space_learns_where_the_parent_happened():
    losses = objective("click_space", VALUED)(valued_logits(), CLICK_AND_PRICE)
    assert losses.values[1].item() == pytest.approx(((4 - 5) ** 2 + (1.5 - 1) ** 2) / 2)
    p = objective("click_space", VALUED).probabilities(valued_logits())
    torch.testing.assert_close(p["price_given_click"], valued_logits()["price"])
    torch.testing.assert_close(p["price"], torch.tensor(sigmoid([0.5, 1, -1, 2]) * [4, 3, 2, 1.5], dtype=torch.float32))


def test_regression_child_under_marginal_is_its_value_everywhere():
    losses = objective("marginal", VALUED)(valued_logits(), CLICK_AND_PRICE)
    assert losses.values[1].item() == pytest.approx((1 + 36 + 0.25) / 3)
    p = objective("marginal", VALUED).probabilities(valued_logits())
    assert torch.equal(p["price"], p["price_given_click"])


def test_regression_child_in_the_entire_space_is_refused(refused):
    with refused("`price`", "`click`", "click_space"):
        objective("entire_space", VALUED)


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("entire-space", ["objective `entire-space`", "Did you mean `entire_space`?"]),
        (3, ["`objective`", "3"]),
        (Task, ["`objective`", "Task"]),
        (objective("marginal"), ["`objective`", "class"]),
    ],
    ids=["typo", "number", "class", "instance"],
)
def test_wrong_objective_is_refused(spec, words, refused):
    with refused(*words):
        objective(spec)


def test_class_is_as_good_as_a_name():
    assert type(objective(OBJECTIVES["click_space"])) is OBJECTIVES["click_space"]
