"""From T losses to one gradient: the only code that touches autograd."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from nextrec_like.distributed import ALONE, Processes, Sum
from nextrec_like.errors import InputError
from nextrec_like.weighting.base import TaskStats, Weighting, share_among_active
from nextrec_like.weighting.numbers import task_numbers
from nextrec_like.weighting.probe import Probe
from nextrec_like.weighting.site import Site, own_leaves
from nextrec_like.weighting.step import Losses, Step

LOW_SHARE = 0.01
"""Share of the weights under which a task hardly learns."""
LOW_STEPS = 200
"""Steps in a row under `LOW_SHARE` after which a weight counts as collapsed."""


class Balancer(nn.Module):
    """Probes the gradient of each task at a small site, asks the weighting, and runs one ordinary backward.

    Args:
        weighting: Bound to the tasks.
        site: Where gradients are probed.

    Attributes:
        steps: Steps so far, skipped ones included.
        seed: From which, with the number of the step, all draws are made.
        processes: Those that share the rows of a batch; all of them see the same weights.
    """

    def __init__(self, weighting: Weighting, site: Site) -> None:
        super().__init__()
        options = weighting.options
        self.weighting, self.site, self.options = weighting, site, options
        self.normalize = weighting.normalized if options.normalize is None else options.normalize
        self.steps = self.seed = 0
        self.processes: Processes = ALONE
        self._scale: Tensor | None = None
        base = task_numbers("base", 1.0 if options.base is None else options.base, weighting.task_names)
        self.base: Tensor
        self.last: Tensor
        self.low: Tensor
        self.register_buffer("base", torch.tensor(base, dtype=torch.float32))
        self.register_buffer("last", torch.ones(len(base)))
        self.register_buffer("low", torch.zeros(len(base), dtype=torch.int64))

    @property
    def asks(self) -> bool:
        """Whether the method sees the coming step."""
        since_warmup = self.steps - self.options.warmup_steps
        return since_warmup >= 0 and since_warmup % self.options.every == 0

    def backward(
        self,
        parts: Iterable[Losses],
        counts: Sum | None = None,
        *,
        draw: Callable[[], Losses] | None = None,
        probe: bool = False,
        scale: Tensor | None = None,
    ) -> Step:
        """Accumulates ``grad(sum_k w_k L_k)`` in the parameters.

        Of a batch in parts, the method sees the first before its weights are needed; methods that give the gradient
        at the site itself give that of each part, and learn from all of them. With several processes a part is what
        all of them have of it, and the gradients that each accumulates have to be summed over them.

        Args:
            parts: The losses of a batch, or of consecutive parts of it, made one after the other.
            counts: Observed rows of each task in each part, in all processes, shape ``(P, T)``; None if there is one
                part and one process.
            draw: Gives the losses of an independent batch, for methods with `Weighting.extra_batches`.
            probe: Whether to probe gradients even where the method does not ask for them.
            scale: What every gradient is multiplied with on its way through the graph; what the method sees is free of
                it, and what is accumulated is not.

        Raises:
            InputError: If gradients are needed, but no two tasks share a parameter.
        """
        try:
            with ExitStack() as hooks:
                self._scale = scale
                return self._backward(parts, counts, draw, probe, hooks)
        finally:
            self.site.release()

    def _backward(
        self,
        parts: Iterable[Losses],
        counts: Sum | None,
        draw: Callable[[], Losses] | None,
        probe: bool,
        hooks: ExitStack,
    ) -> Step:
        directs = self.weighting.needs == "gradients" and self.asks
        step: Step | None = None
        gradients: list[Tensor] = []
        means: list[tuple[Sum, Tensor]] = []
        for index, part in enumerate(parts):
            losses = torch.stack(list(part.values))
            if not losses.requires_grad:
                raise InputError("No parameter of the model is trained: all have requires_grad=False; unfreeze some.")
            joint = part.counts if counts is None else counts.wait()[index]
            total = part.counts if counts is None else counts.wait().sum(dim=0)
            own, of_batch = _ratio(part.counts, joint), _ratio(joint, total)  # of this process, and of this part
            means.append((self._joint(losses.detach(), own), of_batch))
            seen, stats = None, TaskStats(self._known(losses, means[-1][0]), joint > 0, key=(self.seed, self.steps))
            if step is None:
                stats, seen = self._look(part, stats, own, probe, draw)
                step = self._weigh(stats, total)
                self._turn_own_layers(part.values, step.weights, hooks)
            elif directs:
                stats, seen = self._look(part, stats, own)
            if directs:
                assert stats.gradients is not None
                gradients.append(stats.gradients * of_batch[:, None])
            weights = step.weights * of_batch
            self._run(torch.dot(weights * own, losses), weights, stats, seen)
        assert step is not None
        for mean, of_batch in means:
            step.losses = step.losses + mean.wait() * of_batch
        if directs:
            assert seen is not None
            joint = torch.stack(gradients).sum(dim=0) if seen.is_at_parameters else gradients[0]
            active = step.active & seen.reached()
            step.stats = replace(step.stats, gradients=joint, losses=step.losses, active=active)
            step.moves = self._bypass(step, seen)
        elif self.weighting.needs == "losses":
            step.stats = replace(step.stats, losses=step.losses, active=step.active)
        return step

    def observe(self, step: Step, learning_rate: float, *, masked: bool = False) -> None:
        """Ends a step after the optimizer has made it.

        Args:
            step: The step.
            learning_rate: At which it was made.
            masked: Whether `Step.is_finite` decides on the device if anything changes; otherwise it is true.
        """
        with self._unless_skipped(step) if masked else nullcontext():
            self._observe(step, learning_rate)
        self.steps += 1

    @contextmanager
    def _unless_skipped(self, step: Step) -> Iterator[None]:
        """Within the context state and parameters may change; they are put back if the step is not finite."""
        moved = {id(parameter): parameter.detach().clone() for parameter, _ in step.moves}
        before = {name: value.clone() for name, value in self.named_buffers()}
        yield
        for name, value in self.named_buffers():
            old = before[name] if before[name].shape == value.shape else 0  # a state that got its size in this step
            value.copy_(torch.where(step.is_finite, value, old))
        with torch.no_grad():
            for parameter, _ in step.moves:
                parameter.copy_(torch.where(step.is_finite, parameter, moved[id(parameter)]))

    def _observe(self, step: Step, learning_rate: float) -> None:
        with torch.no_grad():
            for parameter, direction in step.moves:
                parameter.sub_(direction, alpha=learning_rate)
        if step.asked:
            seen = step.stats.active.to(self.last.device)
            self.last.copy_(torch.where(seen, step.own_weights, self.last))
            self.weighting.observe(step.stats)
        if self.weighting.adapts:
            self._count_low(step)

    def _count_low(self, step: Step) -> None:
        size = torch.where(step.active, step.weights, 0).abs()
        is_low = (self.base > 0) & (size < LOW_SHARE * size.sum())
        self.low.copy_(torch.where(step.active, (self.low + 1) * is_low, self.low))

    def revisit(self, step: Step, after: Tensor) -> None:
        """Shows the method the losses of the batch after the step, shape ``(T,)``; before `observe`."""
        self.weighting.revisit(step.losses, after, step.active & after.isfinite())

    def skip(self) -> None:
        """Ends a step that is not taken: the last weights and all state stay."""
        self.steps += 1

    def collapsed(self) -> list[str]:
        """Tasks whose weight has been under 1 % of the sum for 200 steps or more; waits for the device."""
        if not self.weighting.adapts:
            return []
        return [name for name, steps in zip(self.weighting.task_names, self.low.tolist()) if steps >= LOW_STEPS]

    def get_extra_state(self) -> Tensor:
        """The counter, for the checkpoint."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Restores the counter."""
        self.steps = int(state)

    def _joint(self, losses: Tensor, own: Tensor) -> Sum:
        """Mean losses over the rows of all processes, shape ``(T,)``."""
        return self.processes.begin_sum(losses if self.processes.size == 1 else losses * own)

    def _known(self, losses: Tensor, joint: Sum) -> Tensor:
        """What the method sees of the losses; one that does not look waits for no other process before the backward."""
        method = self.weighting
        return joint.wait() if method.uses_losses or method.needs != "losses" else losses.detach()

    def _look(
        self,
        part: Losses,
        stats: TaskStats,
        own: Tensor,
        probe: bool = False,
        draw: Callable[[], Losses] | None = None,
    ) -> tuple[TaskStats, Probe | None]:
        """What the method is to see of a part of the batch, and the probe of its gradients, if any."""
        needs = self.weighting.needs if self.asks else "losses"
        if needs == "losses" and not probe:
            return stats, None
        seen = Probe(self.site, part.values, self._scale, self.processes, own)
        if needs == "gradients":
            self._check_joint(seen)
        stats = replace(stats, active=stats.active & seen.reached())
        if needs == "norms":
            return replace(stats, norms=seen.norms(), gramian=seen.gramian() if probe else None), seen
        gramian = seen.gramian()
        stats = replace(stats, gramian=gramian, norms=gramian.diagonal().sqrt().to(stats.losses.dtype))
        if needs == "gradients":
            more = () if draw is None else tuple(self._probe_more(draw) for _ in range(self.weighting.extra_batches))
            stats = replace(stats, gradients=seen.matrix(), blocks=seen.blocks, more_gradients=more)
        return stats, seen

    def _probe_more(self, draw: Callable[[], Losses]) -> Tensor:
        drawn = draw()
        own = _ratio(drawn.counts, self.processes.sum(drawn.counts))
        return Probe(self.site, drawn.values, self._scale, self.processes, own).matrix()

    def _check_joint(self, seen: Probe) -> None:
        """Raises if gradients that the method combines are spread over processes."""
        if self.processes.size > 1 and not seen.is_at_parameters:
            raise InputError(
                f"{type(self.weighting).__name__} combines gradients number by number, and at activations each process "
                f"has those of other rows; use `site` last_shared or shared if layers are shared, or one process."
            )

    def _weigh(self, stats: TaskStats, counts: Tensor) -> Step:
        own, asked = self.last, self.asks
        if self.steps < self.options.warmup_steps:
            own = torch.ones_like(self.last)
        elif asked:
            stats = on_cpu(stats) if self.weighting.needs == "gramian" else stats
            own = self._answer(stats)
        weights = torch.where(counts > 0, own * self.base, 0)
        if self.normalize:
            weights = share_among_active(weights, counts > 0)
        return Step(stats, asked, own, weights, counts, torch.zeros_like(own))

    def _answer(self, stats: TaskStats) -> Tensor:
        """The method's weights, with those before for tasks that it did not see.

        No solver is shown what is not finite, as the step will be skipped. Where weights are normalized, their mean
        is 1, so that those before, from whatever set of tasks, are on the same scale.
        """
        if self.weighting.needs == "gramian":
            assert stats.gramian is not None
            if not (stats.gramian.isfinite().all() and stats.losses.isfinite().all()):
                return self.last
        answer, active = self.weighting(stats).to(self.last), stats.active.to(self.last.device)
        known = active & answer.isfinite()
        if self.normalize:
            answer = share_among_active(answer, known)
        return torch.where(known, answer, self.last)

    def _run(self, total: Tensor, weights: Tensor, stats: TaskStats, seen: Probe | None) -> None:
        """The one backward of a part of the batch; at the site with the method's own gradient, if it gives one."""
        total = total if self._scale is None else total * self._scale
        if seen is None or self.weighting.needs == "losses" or not self.asks:  # then diagnosis must change nothing
            total.backward()
            return
        if self.weighting.replaces_optimizer:
            seen.backward(total, None)
            return
        direction = self.weighting.direction(stats, weights)
        if seen.is_at_parameters:
            if direction is not None and not self.processes.is_first:
                direction = torch.zeros_like(direction)  # it is that of all processes, over which gradients are summed
            seen.backward(total, seen.combined(weights) if direction is None else seen.split(direction))
            return
        replaced = (
            [] if direction is None else seen.split(direction if self._scale is None else direction * self._scale)
        )
        with ExitStack() as hooks:
            for tensor, part in zip(seen.tensors, replaced):
                hooks.callback(tensor.register_hook(_replacement(part)).remove)
            total.backward()

    def _turn_own_layers(self, losses: Sequence[Tensor], weights: Tensor, hooks: ExitStack) -> None:
        """Has the layers of a single task descend its loss also where its weight is negative: they get its size."""
        if self.weighting.needs != "gramian" or not (weights < 0).any():
            return
        for leaves, weight in zip(own_leaves(losses), weights.tolist()):
            for leaf in leaves if weight < 0 else ():
                hooks.callback(leaf.register_hook(torch.neg).remove)

    def _bypass(self, step: Step, seen: Probe) -> list[tuple[Tensor, Tensor]]:
        """The steps of parameters that the method moves itself; the optimizer sees no gradient of them."""
        if not self.weighting.replaces_optimizer:
            return []
        direction = self.weighting.direction(step.stats, step.weights)
        assert direction is not None
        return list(zip(seen.tensors, seen.split(direction)))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """What the rows of a part count among all, per task, float32, shape ``(T,)``; 1 if these are all there are."""
    if part is whole:
        return torch.ones_like(part, dtype=torch.float32)
    return torch.where(part == whole, 1.0, part / whole.clamp(min=1))


def on_cpu(stats: TaskStats) -> TaskStats:
    """The same for a solver, which runs on the CPU; a GPU is waited for once."""
    assert stats.gramian is not None
    packed = torch.cat([stats.gramian, stats.losses[None].double(), stats.active[None].double()]).cpu()
    return replace(stats, gramian=packed[:-2], losses=packed[-2], active=packed[-1] > 0)


def _replacement(part: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: part.to(gradient.dtype)
