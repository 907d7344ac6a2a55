"""What processes send each other arrives whole, in order, and an error of one is an error of all."""

import pytest
import torch
from ranks import free_port

from nextrec_like import InputError
from nextrec_like.distributed import ALONE
from nextrec_like.distributed.join import current


def exchanged(lengths):
    own = current()
    count = lengths[own.rank]
    rows = torch.arange(count) + 100 * own.rank
    values = (rows[:, None] + torch.tensor([0.25, 0.5, 0.75])).float()
    flags = torch.ones(count + 1, dtype=torch.bool)
    return own.exchange([rows, values, flags])


@pytest.mark.parametrize("lengths", [(3, 5), (0, 4), (0, 0), (7, 7)])
def test_tensors_of_any_length_and_type_arrive(ranks, lengths):
    for received in ranks(2, exchanged, lengths):
        for rank, (rows, values, flags) in enumerate(received):
            expected = [100 * rank + index for index in range(lengths[rank])]
            assert rows.tolist() == expected
            assert values.tolist() == [[row + 0.25, row + 0.5, row + 0.75] for row in expected]
            assert flags.tolist() == [True] * (lengths[rank] + 1)


def sums():
    own = current()
    given = [None, torch.full((2, 2), own.rank + 1.0), torch.ones(3) if own.rank == 1 else None]
    return own.sum_gradients(given, [torch.zeros(4), torch.zeros(2, 2), torch.zeros(3)])


def test_gradients_that_a_process_lacks_count_as_zero(ranks):
    for nowhere, everywhere, one in ranks(4, sums):
        assert nowhere is None
        assert everywhere.tolist() == [[10, 10], [10, 10]]
        assert one.tolist() == [1, 1, 1]


def told():
    own = current()
    tensors = {"a": torch.tensor([1, 2]), "b": torch.tensor(0.5)} if own.is_first else {}
    return own.gather({"rank": own.rank}), own.any(own.rank == 1), own.from_first(lambda: "é"), own.broadcast(tensors)


def test_values_are_told(ranks):
    for gathered, any_one, first, tensors in ranks(2, told):
        assert gathered == [{"rank": 0}, {"rank": 1}]
        assert any_one is True
        assert first == "é"
        assert tensors["a"].tolist() == [1, 2]
        assert tensors["b"].item() == 0.5


def message_of(function):
    try:
        function(current())
    except InputError as error:
        return str(error)
    return None


def fails_in(processes, failing):
    with processes.together():
        if processes.rank in failing:
            raise InputError("The file `x` is not there.")


def one_fails():
    return message_of(lambda processes: fails_in(processes, [1]))


def all_fail():
    return message_of(lambda processes: fails_in(processes, [0, 1]))


def differ():
    return message_of(lambda processes: processes.check_same("rows", processes.rank == 1))


def test_an_error_in_one_process_is_raised_in_all(ranks):
    assert ranks(2, one_fails) == ["In process 1 of 2: The file `x` is not there."] * 2


def test_the_same_error_in_all_processes_is_that_error(ranks):
    assert ranks(2, all_fail) == ["The file `x` is not there."] * 2


def test_values_that_differ_are_refused(ranks):
    assert ranks(2, differ) == ["Process 1 of 2 has other rows than process 0; give all processes the same."] * 2


def test_one_process_alone_needs_no_group():
    tensor = torch.ones(2)
    assert ALONE.sum(tensor) is tensor
    assert ALONE.exchange([tensor]) == [[tensor]]
    assert ALONE.gather(1) == [1]
    assert ALONE.from_first(lambda: 2) == 2
    with pytest.raises(InputError, match="as it is"), ALONE.together():
        raise InputError("as it is")


def test_environment_that_is_not_complete_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT is not set"):
        current()


def test_others_that_do_not_come_are_said_after_the_time_limit(monkeypatch):
    given = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in {**given, "NEXTREC_LIKE_JOIN_SECONDS": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"Process 0 of 2 has not found the others at 127.0.0.1:.* within 1 seconds"):
        current()


@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf"])
def test_time_limit_that_is_none_is_refused(monkeypatch, value):
    given = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, each in {**given, "NEXTREC_LIKE_JOIN_SECONDS": value}.items():
        monkeypatch.setenv(name, each)
    with pytest.raises(InputError, match="NEXTREC_LIKE_JOIN_SECONDS"):
        current()
