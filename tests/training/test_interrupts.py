"""Ctrl-C and SIGTERM: the step is finished, the state is saved, and the training goes on as if nothing had been."""

import os
import signal
import threading

import pytest
import torch

from nextrec_like import Callback
from nextrec_like.training import trainer as trainer_module
from nextrec_like.training.interrupts import Interrupted, InterruptedAgain, Interrupts

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Send(Callback):
    """Sends a signal to this process in a step, once or twice."""

    def __init__(self, number, step, times=1):
        self.number, self.step, self.times, self.steps = number, step, times, 0

    def on_step_end(self, trainer):
        self.steps += 1
        if self.steps == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.fixture
def run(train, other_table):
    def start(**options):
        defaults = {"valid_data": other_table, "epochs": 3, "batch_size": 24}  # 10 steps an epoch
        return train(compiled={"loss_weights": "grad_norm"}, **{**defaults, **options})

    return start


def assert_same_end(first, second):
    (model, history), (other, other_history) = first, second
    assert [(r.loss, r.valid, r.weights) for r in history.epochs] == [
        (r.loss, r.valid, r.weights) for r in other_history.epochs
    ]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


@SIGNALS
def test_a_signal_finishes_the_step_and_saves(number, run, tmp_path):
    straight = run()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    with pytest.raises(Interrupted, match=f"by {number.name}; the last state is saved in .*step-000004") as caught:
        run(checkpoint_dir=tmp_path, callbacks=[Send(number, step=14)])

    assert caught.value.number == number
    assert isinstance(caught.value, KeyboardInterrupt)
    assert (tmp_path / "LATEST").read_text() == "epoch-0001-step-000004"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert_same_end(straight, run(checkpoint_dir=tmp_path, resume=True))


@SIGNALS
def test_a_signal_in_validation_does_not_wait_for_its_end(number, run, tmp_path, monkeypatch):
    straight = run()
    evaluate, calls = trainer_module.evaluate_rows, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
            pytest.fail("the validation goes on")
        return evaluate(*arguments)

    monkeypatch.setattr(trainer_module, "evaluate_rows", interrupted)
    with pytest.raises(Interrupted, match=r"saved in .*epoch-0001-step-000010"):
        run(checkpoint_dir=tmp_path)
    monkeypatch.undo()

    assert_same_end(straight, run(checkpoint_dir=tmp_path, resume=True))


def test_a_signal_at_the_end_of_an_epoch_saves_the_epoch(run, tmp_path):
    class AtEnd(Callback):
        def on_epoch_end(self, trainer):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"saved in .*epoch-0001'"):
        run(checkpoint_dir=tmp_path, callbacks=[AtEnd()])
    assert_same_end(run(), run(checkpoint_dir=tmp_path, resume=True))


def test_a_second_signal_does_not_wait(run, tmp_path):
    with pytest.raises(InterruptedAgain, match=r"again by SIGTERM; what was done since .* is lost") as caught:
        run(checkpoint_dir=tmp_path, callbacks=[Send(signal.SIGTERM, step=14, times=2)])
    assert caught.value.number == signal.SIGTERM
    assert (tmp_path / "LATEST").read_text() == "epoch-0001"
    assert_same_end(run(), run(checkpoint_dir=tmp_path, resume=True))


def test_without_a_folder_the_signal_is_the_users(run):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *arguments: seen.append(1))
    try:
        run(callbacks=[Send(signal.SIGTERM, step=3)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [1]


def test_a_thread_that_may_have_no_handlers_trains_as_well(run, tmp_path):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(run(checkpoint_dir=tmp_path)))
    thread.start()
    thread.join(60)
    assert_same_end(run(), ended[0])


def test_a_signal_after_the_last_step_is_not_swallowed():
    interrupts = Interrupts()
    with pytest.raises(Interrupted, match="SIGTERM"), interrupts.noted():
        os.kill(os.getpid(), signal.SIGTERM)
