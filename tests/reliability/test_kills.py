"""A killed training goes on as if nothing had happened: the short form of kills.py."""

import random
from dataclasses import replace
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from command_trainings import train_by_command
from courses import Course
from trainings import Case, all_cases, train, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "data"
    write_data(folder)
    return folder


@pytest.fixture
def survive(data, tmp_path, monkeypatch):
    """Has signals hit a training; gives the places, and what was wrong."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def strike(case, work, numbers):
        course = Course(case, work, data, tmp_path, random.Random(str(case)))
        course.undisturbed()
        course.survive(numbers)
        assert [blow.number for blow in course.blows] == numbers
        return course.faults

    return strike


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_a_training_that_was_killed_ends_bitwise_as_if_it_was_not(case, survive):
    assert survive(replace(case, epochs=2), train, [SIGKILL]) == []


def test_a_training_that_was_asked_to_end_says_where_it_has_saved(survive):
    assert survive(Case("uncertainty", "lazy_adam", "files"), train, [SIGTERM, SIGINT, SIGTERM]) == []


def test_the_command_goes_on_where_it_was_killed(survive):
    assert survive(Case("grad_norm"), train_by_command, [SIGTERM, SIGKILL, SIGINT]) == []


def test_a_training_without_checkpoints_ends_as_one_with_them(data, tmp_path):
    course = Course(Case("pcgrad"), train, data, tmp_path, random.Random(0))
    course.undisturbed()
    assert course.same_without_checkpoints()
