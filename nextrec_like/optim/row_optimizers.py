"""Optimizers of embedding tables that update only the rows of a batch, so that a step costs the same at any size."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import inf, log
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nextrec_like.errors import InputError, number_in
from nextrec_like.optim.tables import RowGradient, TableRows


class RowOptimizer(Optimizer):
    """Updates the rows that have a gradient; all others, and their state, stay as they are.

    Weight decay, too, acts on a row only in steps that read it.

    Args:
        tables: The tables.
        lr: Learning rate.
        weight_decay: Added to the gradient as ``weight_decay * row``.
        options: Further numbers that the method keeps in its parameter group.

    Attributes:
        found_inf: 1 if the step is not to be taken, 0 otherwise, on the device of the tables; None: it is taken.
    """

    found_inf: Tensor | None = None
    _step_supports_amp_scaling = True

    def __init__(self, tables: Sequence[TableRows], *, lr: float, weight_decay: float, **options: object) -> None:
        number_in("`lr`", lr)
        number_in("`weight_decay`", weight_decay)
        # `capturable` is torch's word for a count of steps that stays on the device.
        defaults = {"lr": lr, "weight_decay": weight_decay, "capturable": True, **options}
        super().__init__([table.weight for table in tables], defaults)
        self.tables = {table.weight: table for table in tables}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()  # torch's own leaves out the tables

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates the rows that the last backward pass has reached."""
        for group in self.param_groups:
            for weight in group["params"]:
                gradient = self.tables[weight].gradient()
                if gradient is not None:
                    self._update(weight, gradient, group)

    def _update(self, weight: Tensor, gradient: RowGradient, group: dict[str, Any]) -> None:
        before = weight.index_select(0, gradient.rows)  # (n, H)
        slope = gradient.by_row
        if group["weight_decay"]:
            slope = slope.add(before, alpha=group["weight_decay"])
        self._write(weight, gradient.rows, before, before - self.move(weight, gradient.rows, slope, group))

    @abstractmethod
    def move(self, weight: Tensor, rows: Tensor, slope: Tensor, group: dict[str, Any]) -> Tensor:
        """What to take off the rows, shape ``(n, H)``; updates the state.

        Args:
            weight: The table, shape ``(V, H)``, the key of the state.
            rows: Row numbers, shape ``(n,)``; a row that stands twice has the same gradient in both places.
            slope: Gradient of each, weight decay included, shape ``(n, H)``.
            group: The parameter group.
        """

    def _write(self, target: Tensor, rows: Tensor, before: Tensor, after: Tensor) -> None:
        """Writes rows, unless the step is not to be taken."""
        if self.found_inf is not None:
            after = torch.where(self.found_inf > 0, before, after)
        target.index_copy_(0, rows, after)

    def _slot(self, weight: Tensor, name: str, *shape: int) -> Tensor:
        """A state of this table, zeros at first."""
        state = self.state[weight]
        if name not in state:
            state[name] = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        return state[name]


class RowSGD(RowOptimizer):
    """Stochastic gradient descent; without weight decay the same as on the whole table."""

    def __init__(self, tables: Sequence[TableRows], *, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(tables, lr=lr, weight_decay=weight_decay)

    def move(self, weight: Tensor, rows: Tensor, slope: Tensor, group: dict[str, Any]) -> Tensor:
        return slope * group["lr"]


class RowAdagrad(RowOptimizer):
    """Adagrad with a sum of squares for each number; without weight decay the same as on the whole table.

    Duchi et al., "Adaptive Subgradient Methods", JMLR 2011. https://jmlr.org/papers/v12/duchi11a.html

    Args:
        tables: The tables.
        lr: Learning rate.
        weight_decay: Added to the gradient as ``weight_decay * row``.
        initial_accumulator_value: Where the sums begin.
        eps: Added to their roots.
    """

    def __init__(
        self,
        tables: Sequence[TableRows],
        *,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        number_in("`initial_accumulator_value`", initial_accumulator_value)
        number_in("`eps`", eps)
        super().__init__(
            tables, lr=lr, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value, eps=eps
        )

    def move(self, weight: Tensor, rows: Tensor, slope: Tensor, group: dict[str, Any]) -> Tensor:
        total = self._slot(weight, "sum", *self._sum_shape(weight))
        before = total.index_select(0, rows)
        after = before + self._square(slope)
        self._write(total, rows, before, after)
        root = (after + group["initial_accumulator_value"]).sqrt_().add_(group["eps"])
        return slope * group["lr"] / root

    @staticmethod
    def _sum_shape(weight: Tensor) -> tuple[int, ...]:
        return tuple(weight.shape)

    @staticmethod
    def _square(slope: Tensor) -> Tensor:
        return slope.square()


class RowwiseAdagrad(RowAdagrad):
    """Adagrad with one sum per row, of the mean square of its gradient: state of 1/H of the table.

    Gupta et al., "Training Highly Multiclass Classifiers", JMLR 2014, section 4.1; the same as
    ``EXACT_ROWWISE_ADAGRAD`` of FBGEMM. https://jmlr.org/papers/v15/gupta14a.html

    Args:
        tables: The tables.
        lr: Learning rate; the best one was 0.03 to 0.3 in `tests/benchmarks/embedding_quality.py`, so tune it.
        weight_decay: Added to the gradient as ``weight_decay * row``.
        initial_accumulator_value: Where the sums begin.
        eps: Added to their roots.
    """

    def __init__(
        self,
        tables: Sequence[TableRows],
        *,
        lr: float = 0.1,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            tables, lr=lr, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value, eps=eps
        )

    @staticmethod
    def _sum_shape(weight: Tensor) -> tuple[int, ...]:
        return len(weight), 1

    @staticmethod
    def _square(slope: Tensor) -> Tensor:
        return slope.square().mean(dim=1, keepdim=True)


class LazyAdam(RowOptimizer):
    """Adam whose moments of a row change only in steps that read it; the bias correction counts all steps.

    Kingma and Ba, "Adam", ICLR 2015, algorithm 1, in the form of `torch.optim.SparseAdam`.
    https://arxiv.org/abs/1412.6980. Deviation: no step of a row comes from its momentum alone.

    Args:
        tables: The tables.
        lr: Learning rate.
        betas: Decay of the two moments.
        eps: Added to the root of the second one.
        weight_decay: Added to the gradient as ``weight_decay * row``.
        decoupled_weight_decay: Whether to shrink the row instead, as AdamW does, by ``lr * weight_decay``.
    """

    def __init__(
        self,
        tables: Sequence[TableRows],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise InputError(f"`betas` should be two numbers. Received {betas!r}.")
        for beta in betas:
            number_in("Each of `betas`", beta, 0, 1)
        number_in("`eps`", eps)
        super().__init__(
            tables,
            lr=lr,
            weight_decay=weight_decay,
            betas=betas,
            eps=eps,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _update(self, weight: Tensor, gradient: RowGradient, group: dict[str, Any]) -> None:
        if not group["decoupled_weight_decay"]:
            super()._update(weight, gradient, group)
            return
        before = weight.index_select(0, gradient.rows)
        kept = before * (1 - group["lr"] * group["weight_decay"])
        move = self.move(weight, gradient.rows, gradient.by_row, group)
        self._write(weight, gradient.rows, before, kept - move)

    def move(self, weight: Tensor, rows: Tensor, slope: Tensor, group: dict[str, Any]) -> Tensor:
        decay, square_decay = group["betas"]
        step = self._slot(weight, "step")
        step += 1 if self.found_inf is None else 1 - self.found_inf
        mean = self._moved(self._slot(weight, "exp_avg", *weight.shape), rows, slope, decay)
        square = self._moved(self._slot(weight, "exp_avg_sq", *weight.shape), rows, slope.square(), square_decay)
        correction = _bias(square_decay, step).sqrt_() / _bias(decay, step)
        return mean * (group["lr"] * correction) / square.sqrt_().add_(group["eps"])

    def _moved(self, moment: Tensor, rows: Tensor, value: Tensor, decay: float) -> Tensor:
        before = moment.index_select(0, rows)
        after = torch.lerp(before, value, 1 - decay)
        self._write(moment, rows, before, after)
        return after


def _bias(decay: float, step: Tensor) -> Tensor:
    """``1 - decay ** step``, without the cancellation that a 32-bit power suffers."""
    return -torch.expm1(step * (log(decay) if decay else -inf))


ROW_OPTIMIZERS: dict[str, type[RowOptimizer]] = {
    "lazy_adam": LazyAdam,
    "rowwise_adagrad": RowwiseAdagrad,
    "adagrad": RowAdagrad,
    "sgd": RowSGD,
}
"""For `compile(embedding_optimizer=...)`, beside ``dense`` and ``auto``."""
