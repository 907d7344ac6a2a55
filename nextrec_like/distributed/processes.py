"""The processes that train one model, and what they send each other."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nextrec_like.batch import Share
from nextrec_like.errors import InputError, InputWarning, LostProcessError

LOST = re.compile(r"gloo|nccl|socket|connection|peer|tim(ed|e) ?out", re.IGNORECASE)
TOO_LATE = re.compile(r"tim(ed|e) ?out", re.IGNORECASE)
"""Words of torch for a process that is gone, or that does not answer."""

T = TypeVar("T")


class Sum:
    """A sum over processes that is on its way.

    Args:
        total: Where it will be.
        work: What brings it there; None: it is there.
    """

    def __init__(self, total: Tensor, work: "dist.Work | None" = None) -> None:
        self._total, self._work = total, work

    def wait(self) -> Tensor:
        """The sum, once it is there."""
        if self._work is not None:
            with _peers():
                self._work.wait()
            self._work = None
        return self._total


class Processes:
    """Processes of a `torch.distributed` group that do the same with different rows; by default a single one.

    Each method has to be called by all processes, in the same order. On the CPU they send by gloo, on GPUs by NCCL.

    Args:
        rank: Number of this process.
        size: Number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """What this process takes of the rows of a step."""
        return Share(self.rank, self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, bitwise the same in all."""
        return self.begin_sum(tensor).wait()

    def begin_sum(self, tensor: Tensor) -> "Sum":
        """The same, for a sum that is not needed at once: until then nobody waits for the slowest process."""
        if self.size == 1:
            return Sum(tensor)
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            return Sum(total, dist.all_reduce(total, async_op=True))

    def sum_gradients(self, gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor | None]:
        """Sums of gradients by one message; None where no process has one.

        Args:
            gradients: Of this process; float32.
            like: Tensors with their shapes.
        """
        if self.size == 1 or not like:
            return list(gradients)
        parts = [
            shape.new_zeros(shape.numel()) if each is None else each.flatten() for each, shape in zip(gradients, like)
        ]
        absent = torch.tensor([each is None for each in gradients])
        has_one = (~absent).to(parts[0], non_blocking=True)
        *sums, known = self.sum(torch.cat([*parts, has_one])).split([*(part.numel() for part in parts), len(parts)])
        if absent.any():  # only then a GPU is waited for
            absent &= (known == 0).cpu()
        return [None if missing else each.view_as(shape) for missing, each, shape in zip(absent.tolist(), sums, like)]

    def exchange(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """The tensors of each process; a tensor may have another length in each, and is sent as it is, without a copy.

        Args:
            tensors: On one device; number, types and all but the first dimension are the same in all processes.
        """
        if self.size == 1:
            return [list(tensors)]
        own = [each.detach().contiguous() for each in tensors]
        received = [
            own if rank == self.rank else [each.new_empty(count, *each.shape[1:]) for each, count in zip(own, counts)]
            for rank, counts in enumerate(self._lengths([len(each) for each in own]))
        ]
        messages = []
        for offset in range(1, self.size):  # so that not all send to the same one first
            to, source = (self.rank + offset) % self.size, (self.rank - offset) % self.size
            messages += [dist.P2POp(dist.isend, each, to) for each in own if each.numel()]
            messages += [dist.P2POp(dist.irecv, each, source) for each in received[source] if each.numel()]
        with _peers():
            for message in dist.batch_isend_irecv(messages) if messages else ():
                message.wait()
        return received

    def gather(self, value: Any) -> list[Any]:  # noqa: ANN401
        """The values of all processes, JSON-ready, in their order."""
        if self.size == 1:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode() + b" "), dtype=torch.uint8)
        return [json.loads(bytes(each.tolist())) for (each,) in self.exchange([text])]

    def check_call(self, name: str) -> None:
        """Raises an `InputError` in all processes if they are about to do different things."""
        first, *others = self.gather(name)
        for rank, other in enumerate(others, 1):
            if other != first:
                raise InputError(
                    f"Process {rank} of {self.size} calls `{other}` while process 0 calls `{first}`; all processes "
                    f"have to make the same calls."
                )

    def check_same(self, what: str, value: Any) -> None:  # noqa: ANN401
        """Raises an `InputError` in all processes if their values, JSON-ready, differ."""
        first, *others = self.gather(value)
        for rank, other in enumerate(others, 1):
            if other != first:
                raise InputError(
                    f"Process {rank} of {self.size} has other {what} than process 0; give all processes the same."
                )

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))))

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, JSON-ready; an `InputError` of its making is raised in all.

        Args:
            make: Called in the first process only.
        """
        with self.together():
            value = make() if self.is_first else None
        return self.gather(value)[0]

    def broadcast(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the first process, by name; those of the others are not looked at."""
        found = self.gather([[name, str(each.dtype), list(each.shape)] for name, each in tensors.items()])[0]
        given = {}
        for name, kind, shape in found:
            known = getattr(torch, kind.removeprefix("torch."))
            given[name] = tensors[name].contiguous() if self.is_first else torch.empty(shape, dtype=known)
            with _peers():
                dist.broadcast(given[name].flatten().view(torch.uint8), src=0)
        return given

    def make_equal(self, tensors: Sequence[Tensor]) -> None:
        """Gives tensors, of the same shapes in all processes, the values that they have in the first one."""
        for tensor in tensors if self.size > 1 else ():
            values = tensor.detach().contiguous()
            with _peers():
                dist.broadcast(values.flatten().view(torch.uint8), src=0)  # gloo does not know all types
            tensor.detach().copy_(values)

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Within the context only the first process warns; what is wrong with data or arguments is so in all."""
        with warnings.catch_warnings():
            if not self.is_first:
                warnings.simplefilter("ignore", InputWarning)
            yield

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within the context each process works for itself; an `InputError` in one of them is raised in all.

        Raises:
            InputError: That of the first process that has one, with its number if it is not true of all.
        """
        fault: InputError | None = None
        try:
            yield
        except LostProcessError:
            raise
        except InputError as error:
            fault = error
        if self.size == 1:
            if fault is not None:
                raise fault
            return
        faults = self.gather(None if fault is None else str(fault))
        found = [rank for rank, each in enumerate(faults) if each is not None]
        if not found:
            return
        text = faults[found[0]]
        place = "" if found[0] == 0 or len(set(faults)) == 1 else f"In process {found[0]} of {self.size}: "
        raise (type(fault) if fault is not None and str(fault) == text else InputError)(f"{place}{text}") from fault

    def _lengths(self, own: Sequence[int]) -> list[list[int]]:
        """The lengths of all processes; by the CPU, so that no GPU is waited for."""
        every = [torch.empty(len(own), dtype=torch.int64) for _ in range(self.size)]
        with _peers():
            dist.all_gather(every, torch.tensor(own))
        return [each.tolist() for each in every]


ALONE = Processes()


@contextmanager
def _peers() -> Iterator[None]:
    """Within the context, that another process is gone or silent is a clear error."""
    try:
        yield
    except RuntimeError as error:
        if not LOST.search(str(error)):
            raise
        if TOO_LATE.search(str(error)):
            what = "Another process did not answer within the time limit; is each of them given the same work?"
        else:
            what = "Another process of this job has ended: it was killed, or has said why."
        raise LostProcessError(what) from error
