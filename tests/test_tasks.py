"""Task definitions, funnels, and labels that must not be features."""

import pytest

from nextrec_like import Task
from nextrec_like.tasks import TaskSet, build_tasks


@pytest.mark.parametrize(
    ("target", "task", "expected"),
    [
        ("y", None, [Task("y")]),
        (["a", "b"], None, [Task("a"), Task("b")]),
        (
            ["is_click", "price"],
            ["click", "regression"],
            [Task("click", label="is_click"), Task("price", kind="regression")],
        ),
        (["a"], "binary", [Task("a")]),
        (Task("a", parent=None), None, [Task("a")]),
        ([Task("a"), "b"], ["a", "c"], [Task("a"), Task("c", label="b")]),
        ([Task("a", kind="regression")], ["regression"], [Task("a", kind="regression")]),
    ],
)
def test_targets_and_words_become_tasks(target, task, expected):
    assert list(build_tasks(target, task)) == expected


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Task(""), ["Task name", "''"]),
        (lambda: Task("a", kind="binray"), ["kind", "`a`", "Did you mean `binary`?"]),
        (lambda: build_tasks([]), ["at least one task"]),
        (lambda: build_tasks(["a", "a"]), ["`a`", "more than once"]),
        (lambda: build_tasks(["a", "b"], ["x", "x"]), ["`x`", "more than once"]),
        (lambda: build_tasks(["a", "b"], ["x"]), ["1 entries", "2 targets"]),
        (lambda: build_tasks([Task("a")], ["b"]), ["`b`", "already has a name"]),
        (lambda: build_tasks([3]), ["Label column", "3"]),
        (lambda: TaskSet([Task("click"), Task("buy", parent="clik")]), ["`buy`", "`clik`", "Did you mean `click`?"]),
        (lambda: TaskSet([Task("a", parent="a")]), ["own ancestor", "a -> a"]),
        (lambda: TaskSet([Task("a", parent="b"), Task("b", parent="a")]), ["own ancestor", "a -> b -> a"]),
        (lambda: TaskSet([Task("a", kind="regression"), Task("b", parent="a")]), ["`a`", "`b`", "binary"]),
        (
            lambda: TaskSet([Task("a"), Task("b", parent="a"), Task("b_given_a")]),
            ["`b_given_a`", "`b`", "`a`", "rename"],
        ),
    ],
)
def test_wrong_tasks_are_refused(make, words, refused):
    with refused(*words):
        make()


def test_two_conditional_names_must_differ(refused):
    with refused("rename"):
        TaskSet([Task("z"), Task("y_given_z"), Task("x", parent="y_given_z"), Task("x_given_y", parent="z")])


def test_chain_runs_from_the_root_down():
    tasks = TaskSet([Task("buy", parent="cart"), Task("click"), Task("cart", parent="click")])
    assert [task.name for task in tasks.chain(tasks["buy"])] == ["click", "cart", "buy"]
    assert tasks.parent(tasks["click"]) is None
    assert tasks.conditional_name(tasks["buy"]) == "buy_given_cart"


def test_funnel_chains_tasks_only_if_none_has_a_parent():
    plain = build_tasks(["click", "cart", "buy"])
    assert [task.parent for task in plain.as_funnel()] == [None, "click", "cart"]
    partly = TaskSet([Task("click"), Task("like"), Task("buy", parent="click")])
    assert list(partly.as_funnel()) == list(partly)


@pytest.mark.parametrize(
    ("task", "feature", "words"),
    [
        (Task("click"), "click", ["`click`", "label of task `click`", "remove"]),
        (Task("click", label="is_click"), "is_click", ["`is_click`", "label of task `click`"]),
        (Task("rich", source="income"), "income", ["`income`", "derived from", "`rich`"]),
    ],
)
def test_label_and_its_source_must_not_be_features(task, feature, words, refused):
    with refused(*words):
        TaskSet([task]).check_features(["age", feature])


def test_name_of_a_task_may_be_a_feature_if_its_label_is_another_column():
    TaskSet([Task("click", label="is_click")]).check_features(["click"])


def test_label_of_the_parent_must_not_be_a_feature(build, features, refused):
    from_label = [*features["dense_features"], type(features["dense_features"][0])("click")]
    with refused("`click`", "label of task `click`"):
        build("mmoe", dense_features=from_label)
