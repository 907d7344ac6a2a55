"""From a batch to the losses of its tasks."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from nextrec_like.batch import Batch
from nextrec_like.errors import warn
from nextrec_like.objectives import Objective, TaskLosses

COMPILING = {"recompile_limit": 256, "fail_on_recompile_limit_hit": True}
"""Each training compiles anew, and torch would stop that after eight in a process without a word."""


class Forward:
    """Model, then objective.

    Compiled, batches of one size run as few kernels, on a GPU as CUDA graphs; others, such as the last one of an
    epoch, run as they are, because each further size would cost a compilation of many seconds.

    Args:
        model: Gives one logit per task.
        objective: Gives a loss per task.
        device: Where the model is.
        precision: Type in which the model computes.
        jit: Whether to compile.
        num_rows: Size of the batches that are compiled; None: that of the first one.
        in_parts: Whether several batches add up their gradients; one CUDA graph for all of them would overwrite those
            of the batch before.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        device: torch.device,
        precision: torch.dtype,
        *,
        jit: bool,
        num_rows: int | None = None,
        in_parts: bool = False,
    ) -> None:
        self.model, self.objective, self.device, self.precision = model, objective, device, precision
        mode = "reduce-overhead" if device.type == "cuda" and not in_parts else None
        self._compiled = torch.compile(self._compute, mode=mode, dynamic=False) if jit else None
        self._size, self._has_compiled = num_rows, False

    def __call__(self, batch: Batch) -> TaskLosses:
        assert batch.labels is not None
        with self._autocast():
            if self._compiled is None or self._size not in (None, len(batch)) or not torch.is_grad_enabled():
                losses, counts = self._compute(batch.ids, batch.dense, batch.labels)
            else:
                losses, counts = self._compute_fast(batch.ids, batch.dense, batch.labels)
        return TaskLosses(losses, counts)

    def _compute(self, ids: Tensor, dense: Tensor, labels: Tensor) -> tuple[list[Tensor], Tensor]:
        logits = self.model(Batch(ids, dense, labels))
        losses = self.objective({task: logit.float() for task, logit in logits.items()}, labels)
        return losses.values, losses.counts

    def _compute_fast(self, ids: Tensor, dense: Tensor, labels: Tensor) -> tuple[list[Tensor], Tensor]:
        assert self._compiled is not None
        try:
            torch.compiler.cudagraph_mark_step_begin()
            with nullcontext() if self._has_compiled else torch._dynamo.config.patch(COMPILING):
                self._size, self._has_compiled = len(ids), True
                return self._compiled(ids, dense, labels)
        except _compiler_errors() as error:
            why = str(error).strip().splitlines()
            warn(f"`jit` has no effect, because torch.compile failed here: {why[0] if why else type(error).__name__}")
            self._compiled = None
            return self._compute(ids, dense, labels)

    def _autocast(self) -> AbstractContextManager[None]:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What torch.compile raises; a function, because the compiler takes most of a second to import."""
    # OSError: a folder of the compiler that cannot be written.
    return torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit, OSError
