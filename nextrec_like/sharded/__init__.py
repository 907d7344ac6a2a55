"""Embedding tables that several processes share out among themselves, by TorchRec (extra ``sharded``)."""

from nextrec_like.sharded.build import build_sharded, check_whole
from nextrec_like.sharded.options import check_steps
from nextrec_like.sharded.shards import read_table
from nextrec_like.sharded.tables import ShardedTables

__all__ = ["ShardedTables", "build_sharded", "check_steps", "check_whole", "read_table"]
