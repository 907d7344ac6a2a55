"""Training speed of `model.fit` beside a hand-written loop of the same mathematics.

The workload: MMoE with 10 id columns of 10,000 values x 16, 5 numeric columns, 4 experts [64, 32], towers [32, 16],
2 tasks; 320,000 rows, batch 2,048, Adam. The loops alternate, one epoch each, so that a slow phase of the machine
hits all of them. Run on an idle machine:

    python tests/benchmarks/throughput.py
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nextrec_like import DenseFeature, MMoE, SparseFeature

NUM_IDS, VOCAB, WIDTH, NUM_DENSE = 10, 10_000, 16, 5
EXPERTS, EXPERT_DIMS, TOWER_DIMS, TASKS = 4, [64, 32], [32, 16], ("click", "conversion")


def make_data(num_rows: int) -> dict[str, np.ndarray]:
    """Random ids and numbers, with labels that depend on them."""
    random = np.random.default_rng(0)
    data = {f"id{i}": random.integers(0, VOCAB, num_rows) for i in range(NUM_IDS)}
    data |= {f"x{i}": random.standard_normal(num_rows).astype(np.float32) for i in range(NUM_DENSE)}
    score = data["x0"] + 0.1 * (data["id0"] % 7) - 1.5
    data["click"] = (random.random(num_rows) < 1 / (1 + np.exp(-score))).astype(np.float32)
    data["conversion"] = data["click"] * (random.random(num_rows) < 0.1)
    return data


class HandWritten(nn.Module):
    """The same network as plain tensors: one table, batched experts, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        in_dim = NUM_IDS * WIDTH + NUM_DENSE
        self.table = nn.Parameter(torch.randn(NUM_IDS * VOCAB, WIDTH) * 0.05)
        self.first = nn.Linear(in_dim, EXPERTS * EXPERT_DIMS[0])
        self.second = nn.Parameter(torch.randn(EXPERTS, EXPERT_DIMS[0], EXPERT_DIMS[1]) * 0.1)
        self.second_bias = nn.Parameter(torch.zeros(EXPERTS, 1, EXPERT_DIMS[1]))
        self.gates = nn.ModuleList(nn.Linear(in_dim, EXPERTS) for _ in TASKS)
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(EXPERT_DIMS[1], TOWER_DIMS[0]),
                nn.ReLU(),
                nn.Linear(TOWER_DIMS[0], TOWER_DIMS[1]),
                nn.ReLU(),
                nn.Linear(TOWER_DIMS[1], 1),
            )
            for _ in TASKS
        )

    def forward(self, ids: torch.Tensor, dense: torch.Tensor) -> list[torch.Tensor]:
        x = torch.cat([F.embedding(ids, self.table).flatten(1), dense], dim=1)
        hidden = self.first(x).relu().unflatten(1, (EXPERTS, EXPERT_DIMS[0])).transpose(0, 1)
        experts = torch.baddbmm(self.second_bias, hidden, self.second).relu()  # (E, B, H)
        mixed = [torch.einsum("be,ebh->bh", gate(x).softmax(-1), experts) for gate in self.gates]
        return [tower(h).squeeze(-1) for tower, h in zip(self.towers, mixed)]


class HandLoop:
    """Epochs of a hand-written training loop."""

    def __init__(self, data: dict[str, np.ndarray], batch_size: int, device: str) -> None:
        offsets = np.arange(NUM_IDS) * VOCAB
        ids = np.stack([data[f"id{i}"] for i in range(NUM_IDS)], axis=1) + offsets
        self.ids = torch.from_numpy(ids).to(device)
        self.dense = torch.from_numpy(np.stack([data[f"x{i}"] for i in range(NUM_DENSE)], axis=1)).to(device)
        self.labels = torch.from_numpy(np.stack([data[task] for task in TASKS], axis=1).astype(np.float32)).to(device)
        self.model = HandWritten().to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.batch_size = batch_size

    def epoch(self) -> None:
        """One pass in random order."""
        order = torch.randperm(len(self.ids)).to(self.ids.device)
        for rows in order.split(self.batch_size):
            labels = self.labels[rows]
            logits = self.model(self.ids[rows], self.dense[rows])
            losses = [F.binary_cross_entropy_with_logits(z, y) for z, y in zip(logits, labels.unbind(1))]
            sum(losses).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()


class Fit:
    """Epochs of `model.fit`."""

    def __init__(self, data: dict[str, np.ndarray], batch_size: int, device: str, loss_weights: object) -> None:
        self.data, self.batch_size, self.device = data, batch_size, device
        self.model = MMoE(
            [DenseFeature(f"x{i}") for i in range(NUM_DENSE)],
            [SparseFeature(f"id{i}", VOCAB, WIDTH) for i in range(NUM_IDS)],
            target=list(TASKS),
            num_experts=EXPERTS,
            expert_params={"dims": EXPERT_DIMS},
            tower_params={"dims": TOWER_DIMS},
        )
        self.model.compile(optimizer="adam", optimizer_params={"lr": 1e-3}, loss_weights=loss_weights)

    def epoch(self) -> None:
        """One call of `fit` with one epoch: checks and packing of the columns included."""
        self.model.fit(self.data, batch_size=self.batch_size, device=self.device, verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=320_000)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = make_data(args.rows)
    loops = {
        "hand-written": HandLoop(data, args.batch_size, args.device),
        "fit, fixed weights": Fit(data, args.batch_size, args.device, [0.3, 0.7]),
        "fit, grad_norm": Fit(data, args.batch_size, args.device, "grad_norm"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(args.repeats + 1):
        for name, loop in loops.items():
            start = time.perf_counter()
            loop.epoch()
            if args.device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    seconds = {name: values[1:] for name, values in seconds.items()}  # the first round warms up
    hand, fixed, grad_norm = seconds.values()
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads, {args.repeats} rounds")
    for name, values in seconds.items():
        print(f"{name:20s} {args.rows / median(values):>10,.0f} samples/s")
    print(f"fit / hand-written   {median(h / f for h, f in zip(hand, fixed)):10.3f}   (target: at least 0.85)")
    print(f"grad_norm / fixed    {median(g / f for g, f in zip(grad_norm, fixed)):10.3f}   (target: at most 1.3)")


if __name__ == "__main__":
    main()
