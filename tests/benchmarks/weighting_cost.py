"""CPU time of a training step under every weighting, beside `equal`.

The workload: MMoE with 20 id columns of 100,000 values x 16 in one table, 4 experts [256, 128], towers [64]; batch
4,096, one thread. A step is forward, backward and weighting; with `--optimizer` also fused Adam on everything. The
table is dense, with a gradient of its full size, or leaf-gather: the rows of the batch are gathered into a leaf, and
only they get a gradient. In each round every method makes one step on the same batch, in random order, and `equal`
one more for every eight others; the figures are medians over the rounds of the ratio to the median of `equal` in the
same round. A `!` marks a missed target, for which the exit status is 1. Run on an idle machine:

    python tests/benchmarks/weighting_cost.py --rounds 25 --optimizer
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypeAlias

import numpy as np
import torch
from results import machine, parser_of, write_results
from torch import Tensor, nn
from torch.nn import functional as F

from nextrec_like import MMoE, SparseFeature
from nextrec_like.batch import Batch
from nextrec_like.layers import EmbeddingTable
from nextrec_like.objectives import LOSSES, OBJECTIVES, TaskLosses, build_losses, build_objective
from nextrec_like.training.compiled import Sites
from nextrec_like.training.randomness import random_state, replayed
from nextrec_like.weighting import WEIGHTINGS, Balancer, LabelStatistics, TaskStats, Weighting, build_weighting

NUM_IDS, VOCAB, WIDTH, BATCH_SIZE, RATES = 20, 100_000, 16, 4096, (0.2, 0.05, 0.02, 0.01)
SHAPE = {"num_experts": 4, "expert_params": {"dims": [256, 128]}, "tower_params": {"dims": [64]}}
BATCHES, WARMUP_ROUNDS, SOLVES, SOLVE_SIZES, CPU = 4, 2, 200, (2, 4, 8), torch.device("cpu")
OPTIONS: dict[str, dict[str, object]] = {"fixed": {"weights": 0.5}, "pareto": {"c": 0.1}}
"""Options without a default."""
JUDGED = [name for name, kind in WEIGHTINGS.items() if kind.needs in ("norms", "gramian")]
"""Methods with a target for their steps."""
TARGETS = {("K=2", "default"): 1.25, ("K=4", "default"): 1.45} | {(f"K={k}", "representation"): 1.15 for k in (2, 4)}
"""Largest ratio to `equal`, by number of tasks and site."""
MAX_SOLVE_MS, TABLE_MB = 1.0, NUM_IDS * VOCAB * WIDTH * 4 / 1e6

Column: TypeAlias = tuple[str, str, str]
"""Number of tasks, table, and site; or ``adam`` for the default site and an optimizer."""


@dataclass
class Cost:
    """What a step of a method costs; memory is the peak above that of `equal`, in MB, give or take some 50."""

    ratio: float
    milliseconds: float
    table_passes: int
    extra_memory: float


class LeafTable(nn.Module):
    """An embedding table of which only the rows of the batch require a gradient."""

    def __init__(self, table: EmbeddingTable, on_gradient: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.table, self.on_gradient = table, on_gradient

    def forward(self, ids: Tensor) -> Tensor:
        rows = ids[:, self.table.start : self.table.stop] + self.table.offsets
        unique, inverse = rows.unique(return_inverse=True)
        leaf = self.table.weight.detach().index_select(0, unique).requires_grad_()  # (U, H)
        if torch.is_grad_enabled():
            leaf.register_hook(self.on_gradient)
        return F.embedding(inverse, leaf)  # (B, C, H)


class Workload:
    """The model, its batches, and how many backward passes have reached its table."""

    def __init__(self, num_tasks: int, table: str, has_optimizer: bool, smoke: bool) -> None:
        vocab, batch_size = (50, 64) if smoke else (VOCAB, BATCH_SIZE)
        self.names = [f"task_{index}" for index in range(num_tasks)]
        features = [SparseFeature(f"id_{index}", vocab, WIDTH) for index in range(NUM_IDS)]
        self.model = MMoE(sparse_features=features, target=self.names, **SHAPE)
        losses = build_losses(None, self.model.tasks, LOSSES)
        self.objective = build_objective(self.model.default_objective, self.model.tasks, losses, OBJECTIVES)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True) if has_optimizer else None
        self.sites = Sites(self.model.last_shared(), self.model.representation(), self.model.dense_parameters())
        self.table_passes, tables = 0, self.model.embedding.tables
        if table == "leaf":
            tables[0] = LeafTable(tables[0], self._count)
        else:
            tables[0].weight.register_hook(self._count)
        generator = torch.Generator().manual_seed(0)
        self.batches = [self._make_batch(vocab, batch_size, generator) for _ in range(BATCHES)]

    def losses(self, batch: Batch) -> TaskLosses:
        return self.objective(self.model(batch), batch.labels)

    def _make_batch(self, vocab: int, batch_size: int, generator: torch.Generator) -> Batch:
        ids = torch.randint(vocab, (batch_size, NUM_IDS), generator=generator)
        rates = torch.tensor(RATES[: len(self.names)]).expand(batch_size, -1)
        return Batch(ids, torch.zeros(batch_size, 0), torch.bernoulli(rates, generator=generator))

    def _count(self, gradient: Tensor) -> None:
        self.table_passes += 1


class Trial:
    """Steps of one method at one site, as the trainer makes them."""

    def __init__(self, work: Workload, method: str, variant: str) -> None:
        weighting = make_weighting(method, work.names, {"site": variant} if variant == "representation" else {})
        site = work.sites.site_of(weighting)
        self.work, self.method, self.variant = work, method, variant
        self.balancer = Balancer(weighting, site)
        self.seconds: list[list[float]] = []  # of each step in each round

    def step(self, batch: Batch, other: Batch) -> float:
        """CPU seconds of a step; a second forward or batch, where a method needs one, counts too."""
        work, balancer = self.work, self.balancer
        balancer.site.attach()  # what it records lives no longer than the step: all methods share the model
        start = time.process_time()
        state = random_state(CPU) if balancer.weighting.revisits else None
        step = balancer.backward([work.losses(batch)], draw=lambda: work.losses(other))
        if work.optimizer is not None:
            work.optimizer.step()
        work.model.zero_grad(set_to_none=True)
        if state is not None:
            with torch.no_grad(), replayed(state, CPU):
                balancer.revisit(step, torch.stack(work.losses(batch).values))
        balancer.observe(step, 0.0)
        seconds = time.process_time() - start
        balancer.site.detach()
        return seconds


def make_weighting(method: str, names: list[str], options: dict[str, object]) -> Weighting:
    weighting = build_weighting({"method": method, **OPTIONS.get(method, {}), **options}, names, WEIGHTINGS)
    rate = torch.tensor(np.resize(RATES, len(names)))
    weighting.see_labels(LabelStatistics(mean=rate, variance=rate * (1 - rate)))
    return weighting


def memory(field: str) -> float:
    """``VmRSS`` or ``VmHWM``, its peak, in MB, as only Linux tells them; NaN elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field)), np.nan)


def peak_memory(trial: Trial) -> float:
    """MB that a step holds at most above what there was before."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    trial.step(*trial.work.batches[:2])
    return memory("VmHWM") - before


def measure(trials: list[Trial], rounds: int) -> dict[tuple[str, str], Cost]:
    """Costs by method and variant; the first trial is what the others are compared with."""
    work, order = trials[0].work, random.Random(0)
    turns = trials + trials[:1] * (len(trials) // 8)
    passes, peaks = [], []
    for trial in trials:
        trial.step(*work.batches[:2])  # finds and checks the site
        before = work.table_passes
        peaks.append(peak_memory(trial))
        passes.append(work.table_passes - before)
    for index in range(WARMUP_ROUNDS + rounds):
        batch, other = work.batches[index % BATCHES], work.batches[(index + 1) % BATCHES]
        for trial in trials:
            trial.seconds.append([])
        for trial in order.sample(turns, len(turns)):
            trial.seconds[-1].append(trial.step(batch, other))
    equal, costs = [median(steps) for steps in trials[0].seconds[WARMUP_ROUNDS:]], {}
    for trial, count, peak in zip(trials, passes, peaks):
        seconds = [median(steps) for steps in trial.seconds[WARMUP_ROUNDS:]]
        ratio = median(own / base for own, base in zip(seconds, equal))
        costs[trial.method, trial.variant] = Cost(ratio, 1000 * median(seconds), count, peak - peaks[0])
    return costs


def run_columns(args: argparse.Namespace) -> dict[Column, dict[str, Cost]]:
    """Costs by column and method; all methods and sites of one model take turns."""
    results = {}
    kinds = [(table, args.sites) for table in args.tables] + [("dense", ["adam"])] * args.optimizer
    for num_tasks, (table, variants) in product(args.tasks, kinds):
        work = Workload(num_tasks, table, variants == ["adam"], args.smoke)
        pairs = [(m, v) for v in variants for m in args.methods if v != "representation" or m in JUDGED]
        base = ("equal", "adam" if variants == ["adam"] else "default")
        costs = measure([Trial(work, *pair) for pair in dict.fromkeys([base, *pairs])], args.rounds)
        for variant in variants:
            column = (f"K={num_tasks}", table, variant)
            results[column] = {method: cost for (method, used), cost in costs.items() if used == variant}
    return results


def solve_milliseconds(method: str, num_tasks: int) -> float:
    """Median time of a solve over random Gramians with norms over two decades."""
    rng = np.random.default_rng(num_tasks)
    weighting = make_weighting(method, [f"task_{index}" for index in range(num_tasks)], {})
    seconds = []
    for index in range(SOLVES):
        scale = 10 ** rng.uniform(-2, 0, (num_tasks, 1))
        rows = torch.from_numpy(scale * rng.standard_normal((num_tasks, 64)))
        losses, active = torch.from_numpy(rng.uniform(0.01, 1, num_tasks)).float(), torch.ones(num_tasks).bool()
        stats = TaskStats(losses, active, rows.norm(dim=1).float(), rows @ rows.T, key=(0, index))
        start = time.process_time()
        weighting(stats)
        seconds.append(time.process_time() - start)
    return 1000 * median(seconds)


def missed_by(method: str, column: Column, cost: Cost, smoke: bool) -> list[str]:
    """The targets that it misses; of a smoke test only those that hold at any size."""
    target = TARGETS.get((column[0], column[2]), np.inf) if method in JUDGED and not smoke else np.inf
    found = {
        f"{cost.ratio:.3f} times equal (at most {target})": cost.ratio > target,
        f"{cost.table_passes} backward passes through the table (1)": cost.table_passes != 1,
        f"{cost.extra_memory:.0f} MB more than equal, the table has {TABLE_MB:.0f}": cost.extra_memory >= TABLE_MB,
    }
    return [f"{method}, {' '.join(column)}: {text}" for text, is_missed in found.items() if is_missed]


def print_costs(results: dict[Column, dict[str, Cost]], smoke: bool) -> list[str]:
    """The table of ratios, backward passes and memory; returns the targets that are missed."""
    all_missed = []
    for head in zip(*results):
        print(" " * 18 + "".join(f"{name[:7]:>9s}" for name in head))
    for method in [name for name in WEIGHTINGS if any(name in costs for costs in results.values())]:
        cells, own = "", [costs[method] for costs in results.values() if method in costs]
        for column, costs in results.items():
            cost = costs.get(method)
            missed = [] if cost is None else missed_by(method, column, cost, smoke)
            text = "-" if cost is None else f"{cost.ratio:.2f}" if method != "equal" else f"{cost.milliseconds:.0f} ms"
            cells += f"{text + '!' * bool(missed):>9s}"
            all_missed += missed
        passes, extra = max(cost.table_passes for cost in own), max(cost.extra_memory for cost in own)
        print(f"{method:18s}{cells}{passes:4d} backward through the table, {extra:+.0f} MB")
    return all_missed


def print_solves(solves: dict[str, dict[int, float]], smoke: bool) -> list[str]:
    """The table of solves; returns the targets that are missed."""
    missed = []
    print(f"\n{'solve, ms':18s}" + "".join(f"{f'K={size}':>9s}" for size in SOLVE_SIZES))
    for method, times in solves.items():
        slow = {size: value for size, value in times.items() if value >= MAX_SOLVE_MS and not smoke}
        print(f"{method:18s}" + "".join(f"{value:9.3f}" for value in times.values()) + "!" * bool(slow))
        missed += [f"{method}: {value:.2f} ms a solve at K={k} (under {MAX_SOLVE_MS:g})" for k, value in slow.items()]
    return missed


def rows_of(results: dict[Column, dict[str, Cost]], solves: dict[str, dict[int, float]]) -> list[dict[str, object]]:
    """The figures as they are written: a row per column and method, then one per solver and number of tasks."""
    steps = [
        {"case": "step", "tasks": tasks, "table": table, "variant": variant, "method": method, **asdict(cost)}
        | {"extra_memory": None if np.isnan(cost.extra_memory) else cost.extra_memory}
        for (tasks, table, variant), costs in results.items()
        for method, cost in costs.items()
    ]
    return steps + [
        {"case": "solve", "tasks": f"K={size}", "method": method, "milliseconds": value}
        for method, times in solves.items()
        for size, value in times.items()
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--methods", nargs="+", choices=list(WEIGHTINGS), default=list(WEIGHTINGS), metavar="METHOD")
    parser.add_argument("--tasks", type=int, nargs="+", choices=(2, 4), default=[2, 4])
    parser.add_argument("--tables", nargs="+", choices=("dense", "leaf"), default=["dense", "leaf"])
    sites = ["default", "representation"]
    parser.add_argument("--sites", nargs="+", choices=sites, default=sites)
    parser.add_argument("--optimizer", action="store_true", help="also steps with fused Adam, for the dense table")
    parser.add_argument("--smoke", action="store_true", help="tiny and short, to see that it runs; judges no times")
    args = parser.parse_args()
    args.methods = ["equal", *(method for method in args.methods if method != "equal")]
    args.rounds = 2 if args.smoke else args.rounds
    torch.set_num_threads(args.threads)
    known = machine()
    print(
        f"{known['cpu']}, {known['cores']} cores, torch {known['torch']}, {known['threads']} threads, "
        f"medians of {args.rounds} rounds"
    )
    results = run_columns(args)
    missed = print_costs(results, args.smoke)
    solvers = [method for method in args.methods if WEIGHTINGS[method].needs == "gramian"]
    solves = {method: {size: solve_milliseconds(method, size) for size in SOLVE_SIZES} for method in solvers}
    missed += print_solves(solves, args.smoke)
    print("\n" + "\n".join([f"MISSED: {line}" for line in missed] or ["No target is missed."]))
    settings = {"rounds": args.rounds, "smoke": args.smoke, "missed": missed}
    write_results("weighting_cost", settings, rows_of(results, solves), args.output)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
