"""The optimizer of a model with sharded tables."""

from collections.abc import Mapping, Sequence

from torch import nn
from torch.optim import Optimizer

from nextrec_like.errors import InputError, one_of
from nextrec_like.layers import EmbeddingTable, select_rows
from nextrec_like.optim import ROW_OPTIMIZERS, build_optimizer
from nextrec_like.optim.embedding import SAME_FAMILY, JointOptimizer, check_apart, row_options
from nextrec_like.optim.optimizers import checked_params, name_of
from nextrec_like.sharded.options import ALIGNED, fused_options, ways_to_shard
from nextrec_like.sharded.tables import FusedOptimizer, ShardedTables, load_engine


def build_sharded(
    spec: str | Optimizer,
    params: Mapping[str, object] | None,
    parameters: Sequence[nn.Parameter],
    tables: Sequence[EmbeddingTable],
    embedding_spec: str,
    embedding_params: Mapping[str, object] | None,
    sharding: object,
) -> tuple[Optimizer, ShardedTables]:
    """The optimizer of all parameters, and the sharded tables; see `build_optimizers` for the other arguments.

    Args:
        spec: For the parameters outside embedding tables.
        params: Its options.
        parameters: All parameters of the model.
        tables: Its embedding tables.
        embedding_spec: ``auto``, of the same family as `spec`, or a key of `ROW_OPTIMIZERS`.
        embedding_params: Options of the latter.
        sharding: A key of `SHARDINGS`.

    Raises:
        InputError: For what is unknown, or what TorchRec cannot do; or if it is not installed.
    """
    load_engine()
    one_of("embedding_optimizer", embedding_spec, ["auto", "dense", *ROW_OPTIMIZERS])
    kind = embedding_spec if embedding_spec != "auto" else SAME_FAMILY.get(name_of(spec), "dense")
    given = row_options(spec, checked_params(params), embedding_spec, embedding_params)
    options, ways = fused_options(kind, given), ways_to_shard(sharding, kind)
    _check_tables(tables)
    own = {id(table.weight) for table in tables}
    check_apart(spec, own, kind)
    main = build_optimizer(spec, params, [parameter for parameter in parameters if id(parameter) not in own])
    fused = FusedOptimizer([table.weight for table in tables], options)
    return JointOptimizer([main, fused]), ShardedTables(tables, ways, kind, fused)


def _check_tables(tables: Sequence[EmbeddingTable]) -> None:
    if not tables:
        raise InputError("`sharding` is for embedding tables, and this model has no id features; leave it out.")
    for table in tables:
        names = ", ".join(f"`{name}`" for name in table.blocks)
        if table.dim % ALIGNED:
            raise InputError(
                f"With `sharding`, widths of embeddings have to be multiples of {ALIGNED} (FBGEMM); that of {names} is "
                f" {table.dim}; give an `embedding_dim` of {table.dim - table.dim % ALIGNED + ALIGNED}."
            )
        if table.lookup is not select_rows:
            raise InputError(
                f"The tables of {names} are shared out among processes; to compile anew, `save` the model and load it."
            )
        if not table.weight.requires_grad:
            raise InputError(f"With `sharding`, tables are trained, and that of {names} has requires_grad=False.")


def check_whole(tables: Sequence[EmbeddingTable]) -> None:
    """Raises if a table is not in this process as a whole.

    Raises:
        InputError: Says what to do.
    """
    for table in tables:
        if not table.is_whole:
            names, size = ", ".join(f"`{name}`" for name in table.blocks), table.num_rows * table.dim * 4 / 2**30
            raise InputError(
                f"The embedding tables of {names} have {size:.1f} GiB, and are not in this process: share them out "
                f"with `compile(sharding='auto')` in a program that torchrun starts, or make `vocab_size` smaller."
            )
