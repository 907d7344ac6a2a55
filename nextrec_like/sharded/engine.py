"""Look-ups in tables that TorchRec has cut and shared out. Imported only where sharding is asked for."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil

import torch
import torch.distributed as dist
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torchrec.distributed import comm_ops
from torchrec.distributed.embedding import EmbeddingCollectionSharder, ShardedEmbeddingCollection
from torchrec.distributed.planner import EmbeddingShardingPlanner
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import (
    KernelConfig,
    ParameterConstraints,
    PlannerError,
    TopologyFactory,
    TrainerConfig,
)
from torchrec.distributed.types import ShardingEnv, ShardingPlan
from torchrec.modules.embedding_configs import EmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from nextrec_like.distributed import Processes
from nextrec_like.errors import InputError
from nextrec_like.layers import EmbeddingTable
from nextrec_like.memory import memory_of_process
from nextrec_like.sharded.options import ALIGNED
from nextrec_like.sharded.shards import SUM, WEIGHT, Shard

OPTIMIZERS = {
    "sgd": EmbOptimType.EXACT_SGD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
}
KEPT_FREE = 0.15
"""Share of the memory that is no place for tables."""


class Part:
    """What a process holds of the tables of one width.

    Args:
        collection: TorchRec's module.
        keys: How its tables are called there.
        blocks: By our names for them the numbers of their rows, one after the other.
    """

    def __init__(
        self, collection: ShardedEmbeddingCollection, keys: Sequence[str], blocks: Mapping[str, range]
    ) -> None:
        self._collection = collection
        self._keys, self._names = list(keys), dict(zip(keys, blocks))
        self._first_rows = torch.tensor([rows.start for rows in blocks.values()])
        self._ends = torch.tensor([0, *(rows.stop for rows in blocks.values())])
        self._learning_rate: float | None = None

    def lookup(self, rows: Tensor) -> Tensor:
        """The embeddings of rows, ``(B, C) -> (B, C, H)``; each distinct row is sent once.

        All processes have to call it, with as many rows as each has, and then the backward pass.
        """
        distinct, position = rows.unique(return_inverse=True)
        counts = torch.searchsorted(distinct, self._ends).diff()  # sorted rows are sorted by table
        ids = distinct - self._first_rows.repeat_interleave(counts)
        found = self._collection(KeyedJaggedTensor(keys=self._keys, values=ids, lengths=counts.int()))
        embedded = torch.cat([found[key].values() for key in self._keys])  # (n, H)
        return embedded.index_select(0, position.flatten()).unflatten(0, rows.shape)

    def set_learning_rate(self, value: float) -> None:
        """For the coming backward passes."""
        if value != self._learning_rate:
            for group in self._collection.fused_optimizer.param_groups:
                group["lr"] = value
            self._collection.fused_optimizer.step()  # passes it on to FBGEMM, and does nothing else
            self._learning_rate = value

    def weights(self) -> list[Shard]:
        """The shards of the tables, in FBGEMM's memory."""
        found = self._collection.state_dict()
        return [shard for key in self._keys for shard in self._shards(key, WEIGHT, found[f"embeddings.{key}.weight"])]

    def shards(self) -> list[Shard]:
        """Those of the tables and of what their optimizer keeps."""
        found = self._collection.fused_optimizer.state_dict()["state"]
        sums = [
            shard
            for key in self._keys
            for value in found.get(f"embeddings.{key}.weight", {}).values()
            for shard in self._shards(key, SUM, value)
        ]
        return self.weights() + sums

    def _shards(self, key: str, slot: str, sharded: ShardedTensor) -> Iterator[Shard]:
        for shard in sharded.local_shards():
            row, column, *_ = (*shard.metadata.shard_offsets, 0)
            values = shard.tensor.detach()
            yield Shard(self._names[key], slot, row, column, values if values.dim() == 2 else values[:, None])


@contextmanager
def summed_gradients() -> Iterator[None]:
    """Within the context TorchRec sums the gradients of processes; otherwise it takes their mean."""
    before = comm_ops.get_gradient_division()
    comm_ops.set_gradient_division(False)
    try:
        yield
    finally:
        comm_ops.set_gradient_division(before)


def shard(
    tables: Sequence[EmbeddingTable],
    ways: Sequence[str],
    kind: str,
    options: Mapping[str, float],
    processes: Processes,
) -> list[Part]:
    """The part of this process of each table; their values are of no account.

    Args:
        tables: The tables.
        ways: In which TorchRec may share them out.
        kind: A key of `OPTIMIZERS`.
        options: Of the optimizer.
        processes: The processes.

    Raises:
        InputError: If the tables do not fit.
    """
    collections = nn.ModuleList(_collection(number, table) for number, table in enumerate(tables))
    sharder = EmbeddingCollectionSharder(
        fused_params={
            "optimizer": OPTIMIZERS[kind],
            "learning_rate": options["lr"],
            "eps": options.get("eps", 0.0),
        }
    )
    plan = _plan(collections, sharder, ways, processes)
    env = ShardingEnv.from_process_group(dist.group.WORLD)
    parts = []
    for number, (collection, table) in enumerate(zip(collections, tables)):
        sharded = sharder.shard(collection, plan.plan[str(number)], env, torch.device("cpu"))
        parts.append(Part(sharded, _keys(number, table), table.blocks))
    for each in (shard for part in parts for shard in part.shards() if shard.slot == SUM):
        each.values.fill_(options["initial_accumulator_value"])
    return parts


def _collection(number: int, table: EmbeddingTable) -> EmbeddingCollection:
    configs = [
        EmbeddingConfig(name=key, feature_names=[key], num_embeddings=len(rows), embedding_dim=table.dim)
        for key, rows in zip(_keys(number, table), table.blocks.values())
    ]
    return EmbeddingCollection(tables=configs, device=torch.device("meta"))


def _keys(number: int, table: EmbeddingTable) -> list[str]:
    """Names that TorchRec takes, and that no other table has."""
    return [f"{number}_{block}" for block in range(len(table.blocks))]


def _plan(
    collections: nn.ModuleList, sharder: EmbeddingCollectionSharder, ways: Sequence[str], processes: Processes
) -> ShardingPlan:
    """Who gets what, as the first process has found it."""
    plan: list[ShardingPlan | None] = [None]
    with processes.together():
        if processes.is_first:
            plan = [_planned(collections, sharder, ways, processes.size)]
    dist.broadcast_object_list(plan)
    assert plan[0] is not None
    return plan[0]


def _planned(
    collections: nn.ModuleList, sharder: EmbeddingCollectionSharder, ways: Sequence[str], size: int
) -> ShardingPlan:
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    memory = memory_of_process()
    trainer = TrainerConfig(world_size=size, local_world_size=local_size, ddr_cap_bytes=memory)
    planner = EmbeddingShardingPlanner(
        topology=TopologyFactory.create_topology(trainer, kernel_config=KernelConfig(compute_device="cpu")),
        storage_reservation=FixedPercentageStorageReservation(KEPT_FREE),
        constraints={
            config.name: ParameterConstraints(
                sharding_types=list(ways), compute_kernels=["fused"], min_partition=_columns(config.embedding_dim, size)
            )
            for collection in collections
            for config in collection.embedding_configs()  # type: ignore[operator]
        },
    )
    try:
        return planner.plan(collections, [sharder])
    except PlannerError as error:
        raise InputError(
            f"TorchRec finds no place for the embedding tables in {size} processes with {memory / 2**30:.1f} GiB each; "
            f"start more of them, on more machines, or use `sharding` column_wise, which cuts single tables. "
            f"({error})"
        ) from error


def _columns(dim: int, size: int) -> int:
    """Columns of a part of a row, if each process has one."""
    return ALIGNED * ceil(dim / size / ALIGNED)
