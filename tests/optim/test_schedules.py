"""Learning rates against hand-computed ones."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from nextrec_like.optim import build_schedule


class Rates:
    """An SGD on one parameter with gradient -1, whose every move is its learning rate."""

    def __init__(self, lr=1.0):
        self.parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.optimizer = torch.optim.SGD([self.parameter], lr=lr)

    def step(self, schedule):
        before = self.parameter.item()
        self.parameter.grad = torch.full((1,), -1.0, dtype=torch.float64)
        schedule.optimizer_step()
        return self.parameter.item() - before


def run(rates, schedule, epochs, steps, scores=None):
    """The rates that were used, epoch by epoch."""
    moves = []
    for epoch in range(epochs):
        moves.append([rates.step(schedule) for _ in range(steps)])
        schedule.end_epoch(None if scores is None else scores[epoch])
    return moves


def flat(moves):
    return [move for epoch in moves for move in epoch]


def test_without_scheduler_the_rate_is_constant():
    rates = Rates(0.5)
    assert run(rates, build_schedule(rates.optimizer, None, None, "epoch", 0), 2, 2) == [[0.5, 0.5], [0.5, 0.5]]


def test_warm_up_rises_linearly_and_ends_at_the_full_rate():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, None, None, "epoch", 4)
    assert flat(run(rates, schedule, 2, 3)) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert schedule.last_lr == 1


def test_scheduler_advances_every_epoch_under_the_warm_up():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, "StepLR", {"step_size": 1, "gamma": 0.1}, "epoch", 3)
    moves = run(rates, schedule, 3, 2)
    assert moves[0] == pytest.approx([1 / 3, 2 / 3])
    assert moves[1] == pytest.approx([0.1, 0.1])
    assert moves[2] == pytest.approx([0.01, 0.01])


def test_scheduler_advances_every_step_if_told_so():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, "ExponentialLR", {"gamma": 0.5}, "step", 0)
    assert flat(run(rates, schedule, 2, 2)) == pytest.approx([1, 0.5, 0.25, 0.125])


def test_step_scheduler_and_warm_up_multiply():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, "ExponentialLR", {"gamma": 0.5}, "step", 2)
    assert flat(run(rates, schedule, 1, 3)) == pytest.approx([1 * 0.5, 0.5, 0.25])


def test_plateau_follows_a_score_of_which_more_is_better():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, "ReduceLROnPlateau", {"patience": 0, "factor": 0.1}, "epoch", 0)
    moves = run(rates, schedule, 4, 1, scores=[0.6, 0.7, 0.65, 0.8])
    assert flat(moves) == pytest.approx([1, 1, 1, 0.1])


def test_plateau_in_min_mode_follows_the_same_score():
    rates = Rates()
    options = {"patience": 0, "factor": 0.1, "mode": "min"}
    schedule = build_schedule(rates.optimizer, "ReduceLROnPlateau", options, "epoch", 0)
    assert flat(run(rates, schedule, 4, 1, scores=[-0.6, -0.5, -0.55, -0.4])) == pytest.approx([1, 1, 1, 0.1])


def test_plateau_sees_that_a_negative_score_stands_still():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, "ReduceLROnPlateau", {"patience": 0, "factor": 0.1}, "epoch", 0)
    assert flat(run(rates, schedule, 3, 1, scores=[-0.6, -0.6, -0.6])) == pytest.approx([1, 1, 0.1])


def test_plateau_without_a_score_waits():
    rates = Rates()
    schedule = build_schedule(rates.optimizer, "ReduceLROnPlateau", {"patience": 0}, "epoch", 0)
    assert schedule.needs_score
    assert flat(run(rates, schedule, 3, 1)) == pytest.approx([1, 1, 1])


def test_plateau_cannot_advance_every_step(refused):
    rates = Rates()
    with refused("ReduceLROnPlateau", "epoch"):
        run(rates, build_schedule(rates.optimizer, "ReduceLROnPlateau", None, "step", 0), 1, 1)


def test_instance_is_taken_with_its_optimizer():
    rates = Rates()
    scheduler = lr_scheduler.StepLR(rates.optimizer, 1, gamma=0.5)
    schedule = build_schedule(rates.optimizer, scheduler, None, "epoch", 0)
    assert flat(run(rates, schedule, 2, 1)) == pytest.approx([1, 0.5])


@pytest.mark.parametrize(
    ("spec", "params", "interval", "warmup", "words"),
    [
        ("StepLr", None, "epoch", 0, ["scheduler `StepLr`", "Did you mean `StepLR`?"]),
        ("StepLR", {"stepsize": 1}, "epoch", 0, ["option of scheduler `StepLR`", "Did you mean `step_size`?"]),
        ("StepLR", None, "epoch", 0, ["`StepLR`", "step_size"]),
        ("StepLR", {"step_size": 1, "optimizer": 3}, "epoch", 0, ["`optimizer`"]),
        ("StepLR", {"step_size": 1}, "steps", 0, ["scheduler_interval `steps`", "Did you mean `step`?"]),
        (None, {"step_size": 1}, "epoch", 0, ["`scheduler_params`", "`scheduler`"]),
        (None, None, "epoch", -1, ["`warmup_steps`", "-1"]),
        (None, None, "epoch", 2.5, ["`warmup_steps`", "2.5"]),
        (lr_scheduler.StepLR(Rates().optimizer, 1), None, "epoch", 0, ["another optimizer"]),
    ],
)
def test_wrong_schedule_is_refused(spec, params, interval, warmup, words, refused):
    with refused(*words):
        build_schedule(Rates().optimizer, spec, params, interval, warmup)


def test_scheduler_as_a_dict_is_refused(refused):
    with refused("scheduler"):
        build_schedule(Rates().optimizer, {"name": "StepLR"}, None, "epoch", 0)
