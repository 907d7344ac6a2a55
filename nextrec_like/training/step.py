"""One step of the optimizer: losses of a batch, balanced gradients, update."""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor, nn

from nextrec_like.batch import Batch
from nextrec_like.distributed import ALONE, Processes, Sum
from nextrec_like.objectives import TaskLosses
from nextrec_like.training.buffers import Buffers
from nextrec_like.training.compiled import Compiled
from nextrec_like.training.forward import Forward
from nextrec_like.training.randomness import kept_buffers, random_state, replayed
from nextrec_like.weighting import Step


class Stepper:
    """Makes steps of a model.

    A step whose losses or gradients are not finite moves nothing. On the CPU it ends early. On a GPU that would mean
    to wait for it, so the optimizer's kernels are told on the device instead, where they can be.

    Args:
        model: Gives one logit per task.
        parts: Optimizer, objective, balancer.
        device: Where the model is.
        draw: Gives an independent batch, for weightings that need more than one.
        num_rows: Rows of the usual batch; with `jit` the others run as they are.
        looks_at_tasks: Whether gradients of single tasks are looked at, so that the model must not be compiled.
        processes: Those that make the same step on other rows of the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        parts: Compiled,
        device: torch.device,
        draw: Callable[[], Batch],
        num_rows: int | None = None,
        *,
        looks_at_tasks: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.parts, self.device, self.draw, self.processes = model, parts, device, draw, processes
        self.forward = Forward(
            model,
            parts.objective,
            device,
            parts.precision,
            jit=parts.jit and not looks_at_tasks,
            num_rows=None if num_rows is None else ceil(num_rows / parts.accumulate_steps),
            in_parts=parts.accumulate_steps > 1,
        )
        can_be_told = getattr(parts.optimizer, "_step_supports_amp_scaling", False)
        self.waits = device.type == "cpu" or not can_be_told

    @cached_property
    def buffers(self) -> Buffers:
        """The buffers of the model, which has to be on its device."""
        return Buffers(self.model)

    def step(self, batch: Batch, probe: bool = False) -> Step:
        """One step; `Step.is_finite` says, on the device, whether it was taken.

        Args:
            batch: With labels.
            probe: Whether to probe the gradients of the tasks even if the weighting does not ask for them.
        """
        parts, balancer = self.parts, self.parts.balancer
        revisits = balancer.weighting.revisits and balancer.asks
        random = random_state(self.device) if revisits else None
        counts, buffers = self._counts(batch), self.buffers.read()
        step = balancer.backward(
            self._losses(batch), counts, draw=self._drawn_losses, probe=probe, scale=parts.scale.factor
        )
        gradients = self._gradients()
        norm = nn.utils.get_total_norm(gradients)
        step.is_finite = self._is_finite(step, norm)
        parts.scale.update(step.is_finite)
        if self.waits and not step.is_finite:
            self.clear()
            self.buffers.write(buffers)
            parts.schedule.skip_step()
            balancer.skip()
            return step
        if parts.clip_norm is not None:
            torch._foreach_mul_(gradients, (parts.clip_norm / (norm + 1e-6)).clamp(max=1))
        self._update(step)
        if not self.waits:
            self.buffers.write(buffers, unless=step.is_finite)
        if random is not None:
            with torch.no_grad(), replayed(random, self.device), kept_buffers(self.model):
                after = self._joint_losses(batch, step.counts)
            balancer.revisit(step, after)
        balancer.observe(step, parts.schedule.last_lr, masked=not self.waits)
        return step

    def _gradients(self) -> list[Tensor]:
        """All gradients, those of all processes, of embedding tables only the rows that are not zero."""
        parts = self.parts
        self._sum_gradients()
        dense = [parameter.grad for parameter in parts.dense_parameters if parameter.grad is not None]
        gradients = [*dense, *parts.tables.values()]
        parts.scale.unscale(gradients)
        return gradients

    def _sum_gradients(self) -> None:
        """Makes the gradients those of all processes: the dense ones by one message, then the rows of tables."""
        if self.processes.size == 1:
            return
        trained = [parameter for parameter in self.parts.dense_parameters if parameter.requires_grad]
        joint = self.processes.sum_gradients([parameter.grad for parameter in trained], trained)
        for parameter, gradient in zip(trained, joint):
            parameter.grad = gradient
        self.parts.tables.sum_over(self.processes)

    def _update(self, step: Step) -> None:
        parts = self.parts
        parts.tables.write_dense()
        found_inf = None if self.waits else 1 - step.is_finite.float()
        parts.optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        parts.schedule.optimizer_step()
        self.clear()

    def backward_alone(self, batch: Batch, task: int) -> None:
        """Accumulates the gradient of the loss of one task, given by its position, in the parameters."""
        for losses in self._losses(batch):
            if losses.values[task].requires_grad:
                losses.values[task].backward()
            self.parts.balancer.site.release()
        self._sum_gradients()

    def clear(self) -> None:
        """Forgets all gradients."""
        for parameter in self.parts.dense_parameters:
            parameter.grad = None
        self.parts.tables.clear()

    def _parts(self, batch: Batch) -> list[Batch]:
        """As many parts in each process; alone it has two rows or more in each, as batch normalisation needs them."""
        count = self.parts.accumulate_steps
        if self.processes.size == 1:
            count = max(1, min(count, len(batch) // 2))
        bounds = [-(-len(batch) * index // count) for index in range(count + 1)]  # the first part is not empty
        return [batch.slice(*part) for part in pairwise(bounds)]

    def _counts(self, batch: Batch) -> Sum | None:
        """Observed rows of each part in all processes, shape ``(P, T)``; None if there is one part and process."""
        parts = self._parts(batch)
        if len(parts) == self.processes.size == 1:
            return None
        counts = [self.parts.objective.counts(part.labels) for part in parts if part.labels is not None]
        return self.processes.begin_sum(torch.stack(counts))

    def _losses(self, batch: Batch) -> Iterator[TaskLosses]:
        """The losses of each part of the batch."""
        for part in self._parts(batch):
            yield self.forward(part)

    def _drawn_losses(self) -> TaskLosses:
        with kept_buffers(self.model):
            return self.forward(self.draw())

    def _joint_losses(self, batch: Batch, counts: Tensor) -> Tensor:
        sums = [torch.stack(losses.values) * losses.counts for losses in self._losses(batch)]
        return self.processes.sum(torch.stack(sums).sum(dim=0)) / counts.clamp(min=1)

    @staticmethod
    def _is_finite(step: Step, norm: Tensor) -> Tensor:
        """Whether losses and gradients are finite, also those of further batches."""
        others = [*(direction for _, direction in step.moves), *step.stats.more_gradients]
        norms = [norm, *torch._foreach_norm(others)] if others else [norm]
        return torch.cat([torch.stack(norms), step.losses]).isfinite().all()
