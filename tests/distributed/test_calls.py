"""Processes that do not do the same are told so, instead of waiting for each other or mixing what they have."""

import os
import signal

import numpy as np
import pytest
import torch
from rank_trainings import make_model, make_rows

from nextrec_like import Callback, InputError
from nextrec_like.distributed.join import current
from nextrec_like.training import trainer


def said(function, *arguments):
    """The message of the error, in this process."""
    try:
        function(current().rank, *arguments)
    except InputError as error:
        return str(error)
    return None


def fitted(rows, **options):
    model = make_model()
    model.compile()
    model.fit(rows, **{"batch_size": 50, "verbose": 0, "device": "cpu", "check_data": False, **options})
    return model


def calls(rank):
    model, rows = make_model(), make_rows(100)
    return model.evaluate(rows) if rank else model.predict(rows)


def test_different_calls(ranks):
    expected = (
        "Process 1 of 2 calls `evaluate` while process 0 calls `predict`; all processes have to make the same calls."
    )
    assert ranks(2, said, calls) == [expected] * 2


def checkpoints_in_first(rank, folder):
    fitted(make_rows(100), checkpoint_dir=None if rank else folder)


def test_folder_in_the_first_process_only(ranks, tmp_path):
    for message in ranks(2, said, checkpoints_in_first, str(tmp_path)):
        assert "has_checkpoint_dir is True, in process 1 it is False" in message


def fits_more_often(rank):
    model, rows = make_model(), make_rows(100)
    model.compile()
    model.num_fits = rank
    model.fit(rows, batch_size=50, verbose=0, device="cpu", check_data=False)


def test_another_number_of_fits(ranks):
    for message in ranks(2, said, fits_more_often):
        assert "fits_before is 0, in process 1 it is 1" in message


def predicts_other_rows(rank):
    fitted(make_rows(100)).predict(make_rows(100, seed=rank), device="cpu")


def evaluates_other_model(rank):
    model = make_model()
    torch.nn.init.constant_(next(iter(model.parameters())), rank)
    model.evaluate(make_rows(100), device="cpu")


def test_other_rows_of_the_same_number(ranks):
    expected = "Process 1 of 2 has other rows than process 0; give all processes the same."
    assert ranks(2, said, predicts_other_rows) == [expected] * 2


def test_another_model(ranks):
    expected = "Process 1 of 2 has other weights of the model than process 0; give all processes the same."
    assert ranks(2, said, evaluates_other_model) == [expected] * 2


class StopsInSecond(Callback):
    def on_epoch_end(self, trainer):
        if trainer.processes.rank == 1 and len(trainer.history.epochs) == 2:
            trainer.stop()


def epochs_of_two_calls(folder):
    counts = []
    for resume in (False, True):
        model = make_model()
        model.compile()
        options = {"epochs": 5, "checkpoint_dir": folder, "resume": resume, "callbacks": [StopsInSecond()]}
        history = model.fit(make_rows(100), batch_size=50, verbose=0, device="cpu", check_data=False, **options)
        counts.append(len(history.epochs))
    return counts


def test_stop_in_one_process_is_one_in_all_and_in_the_checkpoint(ranks, tmp_path):
    assert ranks(2, epochs_of_two_calls, str(tmp_path)) == [[2, 2], [2, 2]]


class Odd(torch.nn.Module):
    def __init__(self, rank):
        super().__init__()
        for index, kind in enumerate((torch.bool, torch.int16, torch.float64, torch.bfloat16)):
            self.register_buffer(f"buffer_{index}", torch.full((3,), rank).to(kind))
        self.turned = torch.nn.Parameter(torch.full((2, 3), float(rank)).T)


def equal_state():
    own = current()
    state = Odd(own.rank + 1).state_dict()
    own.make_equal(list(state.values()))
    return [value.float().numpy() for value in state.values()]


def test_tensors_of_any_type_and_layout_are_made_equal(ranks):
    first, second = ranks(2, equal_state)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)
        assert (one == 1).all()


@pytest.mark.parametrize(
    ("variables", "word"), [({"RANK": "2"}, "RANK is 2 and WORLD_SIZE 2"), ({"RANK": "x"}, "whole number")]
)
def test_environment_that_cannot_be(monkeypatch, variables, word):
    given = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", **variables}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=word):
        current()


def interrupted_in_validation(folder):
    evaluate_rows = trainer.evaluate_rows

    def signalled(*args):
        if current().rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_rows(*args)

    trainer.evaluate_rows = signalled
    try:
        fitted(make_rows(100), valid_data=make_rows(50), epochs=3, checkpoint_dir=folder)
    except KeyboardInterrupt as interrupt:
        return str(interrupt)
    finally:
        trainer.evaluate_rows = evaluate_rows
    return None


def test_a_signal_in_the_validation_of_one_process_ends_all_after_it(ranks, tmp_path):
    saved = f"interrupted by SIGTERM; the last state is saved in '{tmp_path}/epoch-0001'"
    others = "interrupted by SIGTERM; the first process saves the last state"
    assert ranks(2, interrupted_in_validation, str(tmp_path)) == [saved, others]
