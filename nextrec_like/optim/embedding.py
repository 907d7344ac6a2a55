"""Which optimizer each embedding table has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nextrec_like.distributed import Processes
from nextrec_like.errors import InputError, check_keys, unknown, warn
from nextrec_like.layers import select_rows
from nextrec_like.optim.optimizers import build_optimizer, checked_params, name_of
from nextrec_like.optim.row_optimizers import ROW_OPTIMIZERS, RowOptimizer
from nextrec_like.optim.tables import Table, TableRows

LARGE = 4_000_000
"""Numbers in a table from which on ``auto`` updates only the rows of a batch."""

SAME_FAMILY = {"adam": "lazy_adam", "adamw": "lazy_adam", "adagrad": "adagrad", "sgd": "sgd"}
"""For an optimizer, the one for rows that takes over its options."""

OFF = {"amsgrad": False, "maximize": False, "momentum": 0, "nesterov": False, "lr_decay": 0}
"""Options that no optimizer for rows has, and the value with which it does not need them."""


class JointOptimizer(Optimizer):
    """Several optimizers as one, for schedulers and checkpoints: their groups and states one after the other.

    Attributes:
        found_inf: 1 if the step is not to be taken, on the device; None: it is taken.
    """

    found_inf: Tensor | None = None

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        # Schedulers look here for what they may change, which then all groups must have.
        common = {name: value for name, value in groups[0].items() if all(name in group for group in groups)}
        super().__init__(groups, {name: value for name, value in common.items() if name != "params"})
        self._link()

    @property
    def _step_supports_amp_scaling(self) -> bool:
        return all(getattr(optimizer, "_step_supports_amp_scaling", False) for optimizer in self.optimizers)

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """A step of each."""
        for optimizer in self.optimizers:
            optimizer.found_inf = self.found_inf  # type: ignore[attr-defined]
            optimizer.step()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()  # torch's own leaves out what it does not know

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._link()

    def _link(self) -> None:
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.state = self.state
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]


class TableGradients:
    """Gradients of all embedding tables in a training.

    Args:
        tables: The rows that steps read of each table.
        dense: Those among them that an optimizer updates as a whole.

    Attributes:
        moves_in_backward: Whether the backward pass moves them, so that no step can be skipped.
    """

    def __init__(self, tables: Sequence[TableRows], dense: Sequence[TableRows]) -> None:
        self.tables, self.dense = list(tables), list(dense)

    moves_in_backward = False

    @contextmanager
    def spread(self, processes: Processes, device: torch.device, seed: int) -> Iterator[None]:
        """Within the context the tables are where the training wants them; see `sharded.ShardedTables`."""
        yield

    def place_absent(self, processes: Processes, device: torch.device) -> None:
        """Places tables that are neither whole nor shared out, so that the model can predict."""

    def write(self, folder: Path, processes: Processes, *, weights_only: bool = False) -> None:
        """Has all processes write what they hold of sharded tables into a folder that all of them have."""

    def read(self, folder: Path, *, best: bool) -> None:
        """Takes what this process holds of sharded tables from a folder; `best`: also what `keep_best` has kept."""

    def keep_best(self) -> None:
        """Keeps tables that are no parameters of the model, for `restore_best`."""

    def restore_best(self) -> None:
        """Puts back what `keep_best` has kept."""

    def is_finite(self) -> bool:
        """Whether tables that are no parameters of the model have finite numbers only."""
        return True

    @contextmanager
    def gathered(self, *, jit: bool = False) -> Iterator[None]:
        """Within the context, look-ups in the tables go through leaves of the size of the batch.

        Args:
            jit: Whether the model is compiled, of which look-ups then are no part: they keep what they have read.
        """
        try:
            for rows in self.tables:
                rows.table.lookup = torch.compiler.disable(rows.lookup) if jit else rows.lookup
            yield
        finally:
            for rows in self.tables:
                rows.table.lookup = select_rows
                rows.release()

    def values(self) -> list[Tensor]:
        """The gradient of each table that has one, without the rows where it is zero, shape ``(n, H)``."""
        gradients = [rows.gradient() for rows in self.tables]
        return [gradient.values for gradient in gradients if gradient is not None]

    def agree(self, processes: Processes) -> None:
        """Before weights are made equal: has all processes hold the same tables."""

    def sum_over(self, processes: Processes) -> None:
        """Makes the gradients those of all processes: each sends the rows that it has read."""
        tables = [rows for rows in self.tables if rows.weight.requires_grad]
        if processes.size == 1 or not tables:
            return
        received = processes.exchange([part for rows in tables for part in rows.own_gradient()])
        for index, rows in enumerate(tables):
            rows.take_joint([(each[2 * index], each[2 * index + 1]) for each in received])

    def write_dense(self) -> None:
        """Puts gradients where optimizers look for them."""
        for rows in self.dense:
            rows.write_dense()

    def clear(self) -> None:
        """Forgets the step."""
        for rows in self.tables:
            rows.clear()


def build_optimizers(
    spec: str | Optimizer,
    params: Mapping[str, object] | None,
    parameters: Sequence[nn.Parameter],
    tables: Sequence[Table],
    embedding_spec: str = "auto",
    embedding_params: Mapping[str, object] | None = None,
) -> tuple[Optimizer, TableGradients]:
    """The optimizer of all parameters, and the gradients of the tables.

    Args:
        spec: For the parameters outside embedding tables, and for tables that are updated as a whole; see
            `build_optimizer`.
        params: Its options.
        parameters: All parameters of the model.
        tables: Its embedding tables.
        embedding_spec: ``auto``, ``dense`` or a key of `ROW_OPTIMIZERS`.
        embedding_params: Options of the latter.

    Raises:
        InputError: For an unknown name or option, with the closest one.
    """
    if len({id(table.weight) for table in tables}) < len(tables):
        raise InputError(
            "Two embedding tables of the model share one weight; give their features one `embedding_name`."
        )
    rows = [TableRows(table) for table in tables]
    params = checked_params(params)
    kinds = _kinds(spec, params, rows, embedding_spec)
    options = row_options(spec, params, embedding_spec, embedding_params)
    by_kind = {kind: [table for table, own in zip(rows, kinds) if own == kind] for kind in dict.fromkeys(kinds)}
    dense = by_kind.pop("dense", [])
    in_rows = {id(table.weight) for tables_of in by_kind.values() for table in tables_of}
    check_apart(spec, in_rows, embedding_spec)
    main = build_optimizer(spec, params, [parameter for parameter in parameters if id(parameter) not in in_rows])
    row_optimizers = [_build(kind, tables_of, options) for kind, tables_of in by_kind.items()]
    optimizer = JointOptimizer([main, *row_optimizers]) if row_optimizers else main
    _check_trained(optimizer, tables)
    return optimizer, TableGradients(rows, dense)


def check_apart(spec: str | Optimizer, in_rows: set[int], embedding_spec: str) -> None:
    """Raises if an optimizer instance would update tables that have their own optimizer."""
    groups = spec.param_groups if isinstance(spec, Optimizer) else []
    if any(id(parameter) in in_rows for group in groups for parameter in group["params"]):
        raise InputError(
            f"`optimizer` holds embedding tables, which `embedding_optimizer` {embedding_spec} would update as "
            f"well; make it with `model.dense_parameters()`."
        )


def _check_trained(optimizer: Optimizer, tables: Sequence[Table]) -> None:
    """Warns of tables that no optimizer has, as where an instance was made without them."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    left = [table for table in tables if table.weight.requires_grad and id(table.weight) not in held]
    if left:
        warn(
            f"`optimizer` holds {len(tables) - len(left)} of {len(tables)} embedding tables, so the others are not "
            f"trained; make it with `model.parameters()`, or give an `embedding_optimizer` such as rowwise_adagrad."
        )


def _kinds(
    spec: str | Optimizer, params: Mapping[str, object] | None, tables: Sequence[TableRows], embedding_spec: str
) -> list[str]:
    """``dense`` or a key of `ROW_OPTIMIZERS` for each table."""
    known = ["auto", "dense", *ROW_OPTIMIZERS]
    if not isinstance(embedding_spec, str) or embedding_spec not in known:
        raise unknown("embedding_optimizer", embedding_spec, known)
    if embedding_spec != "auto":
        return [embedding_spec] * len(tables)
    family = SAME_FAMILY.get(name_of(spec))
    if family is None or any((params or {}).get(name, off) != off for name, off in OFF.items()):
        return ["dense"] * len(tables)
    return [family if table.weight.numel() > LARGE else "dense" for table in tables]


def row_options(
    spec: str | Optimizer,
    params: Mapping[str, object] | None,
    embedding_spec: str,
    embedding_params: Mapping[str, object] | None,
) -> dict[str, object]:
    """Options for the rows: those given, and of an optimizer of the same family all that the other one has."""
    if embedding_params is not None and not isinstance(embedding_params, Mapping):
        raise InputError(
            f"`embedding_optimizer_params` should be a dict such as {{'lr': 0.02}}. Received {embedding_params!r}."
        )
    given = dict(embedding_params or {})
    if embedding_spec in ("auto", "dense") and given:
        raise InputError(
            f"`embedding_optimizer_params` need an `embedding_optimizer` given by name: {', '.join(ROW_OPTIMIZERS)}."
        )
    family = SAME_FAMILY.get(name_of(spec))
    kind = family if embedding_spec == "auto" else embedding_spec
    if kind is None or kind == "dense":
        return {}
    allowed = _options_of(ROW_OPTIMIZERS[kind])
    check_keys(f"option of embedding_optimizer `{kind}`", given, allowed)
    if kind != family:
        return given
    shared = {name: value for name, value in (params or {}).items() if name in allowed}
    if name_of(spec) == "adamw":
        shared = {"weight_decay": 1e-2, "decoupled_weight_decay": True, **shared}
    return {**shared, **given}


def _options_of(kind: type[RowOptimizer]) -> list[str]:
    return [name for name in signature(kind).parameters if name != "tables"]


def _build(kind: str, tables: Sequence[TableRows], options: Mapping[str, object]) -> RowOptimizer:
    try:
        return ROW_OPTIMIZERS[kind](tables, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Options of embedding_optimizer `{kind}` are not valid: {error} Received {dict(options)}."
        ) from error
