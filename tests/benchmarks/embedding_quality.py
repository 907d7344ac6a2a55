"""AUC of optimizers for embedding tables against dense Adam: three data sets, five seeds, tuned learning rates.

For each optimizer the learning rate with the best mean AUC over the tasks on the validation rows of one seed is taken;
then five seeds are trained, and their AUC on the test rows is compared with that of dense Adam, seed by seed.
"untuned" has the default learning rate of the tables:

    python datasets/census_income/prepare.py
    python datasets/beibei/prepare.py --source FOLDER
    python tests/benchmarks/embedding_quality.py

The large-vocabulary funnel is drawn here: a million impressions, 50,000 users, 20,000 items, in order of time.
"""

import argparse
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, stdev
from typing import Any

import torch
from results import ROOT, parser_of, write_results
from scipy import stats

from nextrec_like import synthetic_funnel
from nextrec_like.config import load_config, read_data
from nextrec_like.config.build import build_features, build_model, fit_arguments
from nextrec_like.config.data import fit_processor
from nextrec_like.data.splits import split_by_time

CONFIGS = {
    "census_income": ("census_income_mmoe", ["training.epochs=8", "training.patience=2"]),
    "beibei": ("beibei_compare", ["training.epochs=4", "training.patience=1"]),
    "funnel": ("synthetic_funnel_compare", ["training.optimizer=adam", "training.epochs=4"]),
}
FUNNEL_ROWS = 1_000_000
REFERENCE = "dense"
WHOLE = {"dense": (2e-3, 4e-3, 8e-3, 1.6e-2), "lazy_adam": (2e-3, 4e-3, 8e-3, 1.6e-2)}
"""Learning rates of the whole model, as ``auto`` shares them."""
TABLES = {"rowwise_adagrad": (0.03, 0.1, 0.3, 1.0), "adagrad": (0.03, 0.1, 0.3, 1.0)}
"""Learning rates of the tables; the rest of the model has Adam at the rate found for dense Adam."""


@dataclass(frozen=True)
class Run:
    """One training: data set, optimizer of the tables, learning rates of the model and of the tables, seed."""

    data: str
    optimizer: str
    rate: float
    table_rate: float | None = None
    seed: int = 0

    @property
    def label(self) -> str:
        """What the page calls it."""
        return f"{self.optimizer}, untuned" if self.optimizer in TABLES and self.table_rate is None else self.optimizer


@cache
def prepared(name: str) -> tuple[Any, Any, Any]:
    """Configuration, tables and fitted processor of a data set."""
    file, overrides = CONFIGS[name]
    config = load_config(ROOT / "configs" / f"{file}.yaml", overrides)
    if name == "funnel":
        tables = dict(zip(("train", "valid", "test"), split_by_time(synthetic_funnel(FUNNEL_ROWS), "time")))
    else:
        tables = read_data(config)
    return config, tables, fit_processor(config, tables["train"])


def train(run: Run) -> dict[str, Any]:
    """Test AUC by task, and the score on validation, of one training."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    config, tables, processor = prepared(run.data)
    model = build_model(config, build_features(config, processor), processor)
    model.compile(
        "adam",
        {**(config.training.optimizer_params or {}), "lr": run.rate},
        embedding_optimizer=run.optimizer,
        embedding_optimizer_params=None if run.table_rate is None else {"lr": run.table_rate},
    )
    arguments = {**fit_arguments(config), "diagnose": False, "device": "cpu", "metrics": ["auc"], "group_id": None}
    history = model.fit(tables["train"], tables["valid"], **arguments, seed=run.seed, verbose=0)
    assert history.best_epoch is not None
    result = model.evaluate(tables["test"], metrics="auc", device="cpu")
    auc = {task: result[task]["auc"] for task in model.task_names}
    return {"run": run, "valid": history.epochs[history.best_epoch - 1].score, "auc": auc}


def tuned(pool: ProcessPoolExecutor, name: str) -> dict[str, Run]:
    """For each optimizer the run of seed 0 that is best on the validation rows."""
    best: dict[str, Run] = {}
    whole = [Run(name, kind, rate) for kind, rates in WHOLE.items() for rate in rates]
    for stage in (whole, None):
        runs = stage or [
            Run(name, kind, best[REFERENCE].rate, rate) for kind, rates in TABLES.items() for rate in rates
        ]
        done = sorted(pool.map(train, runs), key=lambda result: result["valid"])
        best |= {result["run"].label: result["run"] for result in done}
    untuned = Run(name, "rowwise_adagrad", best[REFERENCE].rate)
    return {**best, untuned.label: untuned}


def compared(by_optimizer: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each optimizer and task."""
    rows = []
    for optimizer, runs in by_optimizer.items():
        chosen: Run = runs[0]["run"]
        for task in runs[0]["auc"]:
            values = [run["auc"][task] for run in runs]
            differences = [a - b["auc"][task] for a, b in zip(values, by_optimizer[REFERENCE])]
            half = 0.0
            if optimizer != REFERENCE and len(differences) > 1:
                half = stats.t.ppf(0.975, len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
            rows.append(
                {
                    "data": chosen.data,
                    "optimizer": optimizer,
                    "lr": chosen.rate,
                    "table_lr": chosen.table_rate,
                    "task": task,
                    "auc": fmean(values),
                    "deviation": stdev(values) if len(values) > 1 else None,
                    "difference": None if optimizer == REFERENCE else fmean(differences),
                    "half_width": None if optimizer == REFERENCE else half,
                }
            )
    return rows


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    results = []
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
        for name in arguments.data:
            runs = [replace(run, seed=seed) for run in tuned(pool, name).values() for seed in range(arguments.seeds)]
            trained = list(pool.map(train, runs))
            labels = dict.fromkeys(run.label for run in runs)
            rows = compared({label: [each for each in trained if each["run"].label == label] for label in labels})
            results += rows
            for row in rows:
                rate = row["table_lr"] or row["lr"]
                against = "" if row["difference"] is None else f"{row['difference']:+.4f} ± {row['half_width']:.4f}"
                print(
                    f"{name:14s} {row['optimizer']:24s} lr {rate:<7g} {row['task']:14s} {row['auc']:.4f}  {against}",
                    flush=True,
                )
    settings = {"seeds": arguments.seeds, "funnel_rows": FUNNEL_ROWS, "data": arguments.data}
    write_results("embedding_quality", settings, results, arguments.output)


if __name__ == "__main__":
    main()
