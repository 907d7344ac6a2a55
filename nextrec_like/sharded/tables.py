"""The embedding tables of a training, shared out among its processes."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nextrec_like.distributed import Processes
from nextrec_like.errors import InputError, LostProcessError
from nextrec_like.layers import EmbeddingTable, select_rows
from nextrec_like.optim import TableGradients
from nextrec_like.sharded.shards import BEST, WEIGHT, Shard, copy_shards, draw, read_shards, write_shards
from nextrec_like.storage.atomic import flush, writing

FIX = "a checkpoint has to be as it was written"


class FusedOptimizer(Optimizer):
    """Stands for the updates that FBGEMM makes within the backward pass, so that schedules set their learning rate.

    Its state is that of the shards, and not here.

    Args:
        weights: The tables.
        options: Learning rate and other numbers.
    """

    _step_supports_amp_scaling = True

    def __init__(self, weights: Sequence[nn.Parameter], options: Mapping[str, float]) -> None:
        super().__init__(weights, dict(options))

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Nothing is left to do."""


class ShardedTables(TableGradients):
    """Tables of which each process of a training holds a part, and whose rows they send each other.

    The backward pass moves them, so that they have no gradients to see.

    Args:
        tables: The tables.
        ways: The ways in which they may be cut.
        kind: A key of `FUSED`.
        optimizer: With the learning rate of the moment.

    Attributes:
        warm_up: The part of the learning rate that the coming step has.
    """

    moves_in_backward = True

    def __init__(
        self, tables: Sequence[EmbeddingTable], ways: tuple[str, ...], kind: str, optimizer: FusedOptimizer
    ) -> None:
        super().__init__([], [])
        self.sharded, self.ways, self.kind, self.optimizer = list(tables), ways, kind, optimizer
        self.warm_up: Callable[[], float] = lambda: 1.0
        self._parts: list[Any] = []
        self._best: list[Shard] = []

    @contextmanager
    def spread(self, processes: Processes, device: torch.device, seed: int) -> Iterator[None]:
        """Within the context each process has its part of the tables; then all have them whole, where they fit.

        After an error, or where they do not fit, they stay as they are: then `predict` and the like are for all
        processes together, too.

        Args:
            processes: Of this training, two or more.
            device: Of the model.
            seed: Of initial values.

        Raises:
            InputError: If there is one process only, or the tables do not fit in all of them.
        """
        whole = self.place(processes, device, seed)
        with load_engine().summed_gradients(), _peers():
            yield
        self._best = []
        if whole:
            self._gather(processes)

    def agree(self, processes: Processes) -> None:
        """What is too large for one of them, none has whole."""
        if not self._are_whole(processes):
            for table in self.sharded:
                table.weight.data = table.weight.new_empty(0, table.dim)

    def place(self, processes: Processes, device: torch.device, seed: int) -> bool:
        """Gives each process its part; whether the tables would fit in each."""
        if processes.size < 2:
            raise InputError("`sharding` needs two or more processes; start the program by torchrun.")
        if device.type != "cpu":
            raise InputError(f"`device` is '{device}', and sharded tables are on the CPU so far; give `device='cpu'`.")
        if not self._parts:
            self._parts = load_engine().shard(self.sharded, self.ways, self.kind, self.optimizer.defaults, processes)
        whole = self._are_whole(processes)
        for table, part in zip(self.sharded, self._parts):
            if table.lookup is select_rows:  # otherwise they have stayed where they are
                self._fill(table, part.weights(), seed, whole)
                table.weight.data = table.weight.new_empty(0, table.dim)
                table.lookup = partial(self._lookup, part)
        return whole

    def place_absent(self, processes: Processes, device: torch.device) -> None:
        """Places tables that are nowhere yet, so that the model can predict."""
        if not self._are_whole(processes):
            self.place(processes, device, seed=0)

    def shards(self) -> list[Shard]:
        """What a checkpoint has to hold of this process."""
        return [shard for part in self._parts for shard in part.shards()] + self._best

    def is_finite(self) -> bool:
        """Whether all numbers of this process are."""
        return all(bool(shard.values.isfinite().all()) for shard in self.shards())

    def keep_best(self) -> None:
        """Keeps the tables as they are now, for `restore_best`."""
        self._best = [
            Shard(shard.table, BEST, shard.row, shard.column, shard.values.clone()) for shard in self._weights()
        ]

    def restore_best(self) -> None:
        """Puts back what `keep_best` has kept."""
        for shard, best in zip(self._weights(), self._best):
            shard.values.copy_(best.values)

    def write(self, folder: Path, processes: Processes, *, weights_only: bool = False) -> None:
        """Has all processes write their parts into a new folder, on a disk that all of them have.

        Args:
            folder: The folder; what is there is removed.
            processes: All of them are in this method.
            weights_only: Whether what optimizers keep is left out.

        Raises:
            InputError: If one of them cannot write.
        """
        with processes.together(), writing("The folder", folder):
            if processes.is_first:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
        with processes.together(), writing("The folder", folder):
            file = folder / f"{processes.rank:05d}-of-{processes.size:05d}.safetensors"
            write_shards(file, self._weights() if weights_only else self.shards())
            flush(file)

    def read(self, folder: Path, *, best: bool) -> None:
        """Takes the part of this process from what any number of processes have written, however they cut tables.

        Args:
            folder: As given to `write`.
            best: Whether the best tables had been kept.

        Raises:
            InputError: If the files are damaged or incomplete.
        """
        self._best = []
        if best:
            self.keep_best()
        read_shards(folder, self.shards(), FIX)

    def _are_whole(self, processes: Processes) -> bool:
        return not processes.any(not all(table.is_whole for table in self.sharded))

    def _weights(self) -> list[Shard]:
        return [shard for part in self._parts for shard in part.weights()]

    def _lookup(self, part: Any, weight: Tensor, rows: Tensor) -> Tensor:  # noqa: ANN401
        if torch.is_grad_enabled():
            part.set_learning_rate(self.optimizer.param_groups[0]["lr"] * self.warm_up())
            return part.lookup(rows)
        with torch.inference_mode(False), torch.no_grad():  # FBGEMM has no kernels for the inference mode
            return part.lookup(rows)

    @staticmethod
    def _fill(table: EmbeddingTable, shards: Sequence[Shard], seed: int, whole: bool) -> None:
        if whole:
            names = table.blocks.items()
            copy_shards([Shard(name, WEIGHT, 0, 0, table.weight.data[r.start : r.stop]) for name, r in names], shards)
        elif table.saved is not None:
            read_shards(table.saved, shards, "save the model again")
        else:
            for shard in shards:
                draw(shard, table.dim, seed, padding=table.blocks[shard.table].start in table.padding)

    def _gather(self, processes: Processes) -> None:
        """Gives every process the whole tables."""
        for table, part in zip(self.sharded, self._parts):
            own = part.weights()
            layouts = processes.gather([[shard.table, shard.row, shard.column, *shard.values.shape] for shard in own])
            sent = processes.exchange([torch.cat([table.weight.new_empty(0), *(s.values.flatten() for s in own)])])
            weight = table.weight.new_empty(table.num_rows, table.dim)
            wholes = [Shard(name, WEIGHT, 0, 0, weight[r.start : r.stop]) for name, r in table.blocks.items()]
            for layout, (values,) in zip(layouts, sent):
                sizes = [rows * columns for *_, rows, columns in layout]
                for (name, row, column, *shape), each in zip(layout, values.split(sizes)):
                    copy_shards([Shard(name, WEIGHT, row, column, each.view(shape))], wholes)
            table.weight.data, table.lookup = weight, select_rows


@contextmanager
def _peers() -> Iterator[None]:
    """Within the context, that another process is gone in a look-up or a backward pass is a clear error."""
    try:
        yield
    except RuntimeError as error:
        if "gloo" not in str(error):
            raise
        raise LostProcessError(
            "Another process of this job has ended or does not answer: it was killed, or has said why."
        ) from error


def load_engine() -> ModuleType:
    """The module that needs the extra ``sharded``.

    Raises:
        InputError: If it is not installed.
    """
    try:
        from nextrec_like.sharded import engine
    except ImportError as error:
        if error.name is not None and error.name.startswith("nextrec_like"):
            raise
        raise InputError(
            f"`sharding` needs TorchRec and FBGEMM ({error}); install them by `pip install 'nextrec_like[sharded]'` "
            f"and `pip install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0`."
        ) from error
    return engine
