"""A finished comparison on disk that nobody trained: labels, predictions, histories and results that fit together."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from nextrec_like.comparison.results import (
    Candidate,
    Difference,
    Estimate,
    Gain,
    MetricRecord,
    Output,
    Results,
    RunRecord,
    VariantRecord,
)
from nextrec_like.comparison.store import Store

METHODS = ("grad_norm", "uncertainty", "pcgrad")
TUNED = "tuned_fixed"
FINGERPRINT = "0123456789abcdef0123"
METRICS = (MetricRecord("auc", True), MetricRecord("logloss", False), MetricRecord("pcoc", None))


def make_sample(
    folder,
    tasks=("click", "conversion"),
    methods=METHODS,
    *,
    seeds=(0, 1, 2, 3, 4),
    rows=1500,
    epochs=3,
    failed=None,
    same=None,
    probed=None,
    astray=None,
    steps=40,
):
    """Writes the store, and gives the results that belong to it.

    Args:
        folder: Where the comparison is.
        tasks: Names of the tasks, the first one the most frequent.
        methods: Names of the weightings besides equal, tuned fixed and single task.
        seeds: Their seeds.
        rows: Test rows.
        epochs: Epochs of each run.
        failed: Name of a method whose last seed failed.
        same: Name of a method that is said to be the same as equal weights.
        probed: Methods whose steps have norms and cosines; None: all but the second.
        astray: Name of a method that learned nothing.
        steps: Logged steps of each run.
    """
    rng = np.random.default_rng(0)
    store = Store(folder, FINGERPRINT)
    store.data.mkdir(parents=True)
    latent = rng.normal(size=(rows, 1)) + 0.7 * rng.normal(size=(rows, len(tasks)))
    rates = np.log([0.35, 0.09, 0.04, 0.02][: len(tasks)])
    labels = (rng.random(latent.shape) < 1 / (1 + np.exp(-latent - rates))).astype(float)
    pq.write_table(pa.table(dict(zip(tasks, labels.T))), store.data / "labels.parquet")
    outputs = [Output(task, task, "binary", rows, int(label.sum())) for task, label in zip(tasks, labels.T)]
    variants = make_variants(tasks, methods, same)
    runs, values = [], {}
    for number, variant in enumerate(each for each in variants if each.same_as is None):
        noise = 3.0 if variant.name == astray else 0.9 + 0.12 * rng.normal()
        for seed in seeds:
            key = f"runs/{number:08x}{seed:08x}"
            if variant.name == failed and seed == seeds[-1]:
                runs.append(RunRecord(variant.name, seed, None, reason="The loss of `click` is not finite in epoch 1."))
                continue
            scores = latent + rates + noise * rng.normal(size=latent.shape) * (1 + 0.04 * rng.normal(size=len(tasks)))
            predictions = 1 / (1 + np.exp(-scores))
            runs.append(
                RunRecord(
                    variant.name,
                    seed,
                    key,
                    None,
                    0.8,
                    epochs,
                    epochs - 1,
                    12.0 + number + rng.random(),
                    20.0 + 2 * number,
                    400_000_000 + 9_000_000 * number,
                )
            )
            values[variant.name, seed] = write_run(folder / key, tasks, labels, predictions, rng, epochs)
            has_probe = number % 3 != 2 if probed is None else variant.name in probed
            step_rows(tasks, number, rng, steps, has_probe).to_parquet(folder / key / "steps.parquet")
    estimates = make_estimates(variants, tasks, seeds, values)
    differences = [
        difference(variant.name, reference, task, metric, seeds, values)
        for variant in variants
        if variant.same_as is None
        for reference in variant.references
        for task in tasks
        for metric in METRICS[:2]
    ]
    return Results(
        name="sample",
        outputs=outputs,
        metrics=list(METRICS),
        seeds=list(seeds),
        variants=variants,
        runs=runs,
        estimates=estimates,
        differences=differences,
        gains=[Gain(each.name, "single_task", "auc", 0.12, -0.03, 0.27) for each in variants[:-1]],
        floors=[{"name": "item rate", "metric": "auc", "values": {tasks[0]: 0.653, tasks[-1]: 0.6}}],
        notes=["A click here means an interaction against a random item."],
        provenance={
            "command": "nextrec-like compare configs/sample.yaml --jobs 2",
            "versions": {"nextrec_like": "0.1.0", "python": "3.11.2", "torch": "2.13.0"},
            "machine": {"platform": "Linux-6.1", "device": "cpu", "processors": 2},
            "data": {"fingerprint": FINGERPRINT},
            "parts": {part: {"rows": rows, **{task: 0.123456789 for task in tasks}} for part in ("train", "test")},
            "split": {"by": "time", "fractions": [0.8, 0.1, 0.1]},
        },
        config="model: {name: mmoe}\ntraining: {epochs: 3}\n",
    ), store


def make_variants(tasks, methods, same):
    candidates = [
        Candidate(
            f"{first:.1f}, rest {1 - first:.1f}",
            [first, 1 - first],
            None,
            0.8 - abs(first - 0.4) / 9,
            first == 0.4,
            [f"runs/{9:08x}{i:08x}"],
            {task: {"auc": 0.705 + 0.02 * abs((n > 0) - first) - 0.006 * n} for n, task in enumerate(tasks)},
        )
        for i, first in enumerate((0.2, 0.4, 0.6, 0.8))
    ]
    variants = [
        VariantRecord("equal", "mmoe", "marginal", "equal", "equal"),
        VariantRecord(TUNED, "mmoe", "marginal", TUNED, TUNED, "0.4, rest 0.6", ["equal"], candidates),
    ]
    variants += [
        VariantRecord(
            name,
            "mmoe",
            "marginal",
            name,
            "method",
            references=["equal", "tuned_fixed"],
            same_as="equal" if name == same else None,
        )
        for name in methods
    ]
    return [
        *variants,
        VariantRecord("single_task", "single_task", "marginal", "equal", "single_task", references=["equal"]),
    ]


def write_run(folder, tasks, labels, predictions, rng, epochs):
    folder.mkdir(parents=True)
    pq.write_table(pa.table(dict(zip(tasks, predictions.T))), folder / "predictions.parquet")
    with (folder / "history.jsonl").open("w") as file:
        for epoch in range(1, epochs + 1):
            loss = {task: 0.5 / (n + 1) + 0.1 / epoch + 0.01 * rng.random() for n, task in enumerate(tasks)}
            valid = {
                task: {"auc": 0.72 - 0.02 * n - 0.03 / epoch + 0.002 * rng.random()} for n, task in enumerate(tasks)
            }
            file.write(json.dumps({"epoch": epoch, "loss": loss, "weights": {}, "valid": valid}) + "\n")
    shares = [{"gate": f"gates.{task}", "shares": rng.dirichlet([4, 3, 2, 2]).tolist()} for task in tasks]
    (folder / "gates.json").write_text(json.dumps(shares))
    return {
        (task, metric): value
        for n, task in enumerate(tasks)
        for metric, value in (
            ("auc", roc_auc_score(labels[:, n], predictions[:, n])),
            ("logloss", log_loss(labels[:, n], predictions[:, n])),
            ("pcoc", predictions[:, n].sum() / labels[:, n].sum()),
        )
    }


def step_rows(tasks, number, rng, steps, has_probe):
    rows = []
    drift = rng.normal(size=len(tasks)) * (number > 1)
    for step in range(1, steps + 1):
        weights = np.exp(drift * step / steps + 0.05 * rng.normal(size=len(tasks)))
        for n, task in enumerate(tasks):
            rows.append((1, step, "weight", task, None, weights[n]))
            rows.append((1, step, "loss", task, None, 0.4))
            if has_probe:
                rows.append((1, step, "norm", task, None, np.exp(-n - step / steps + 0.2 * rng.normal())))
        for one, other in combinations(tasks, 2) if has_probe else ():
            rows.append((1, step, "cosine", one, other, np.tanh(rng.normal(0.3, 0.4))))
    return pd.DataFrame(rows, columns=["epoch", "step", "figure", "task", "other", "value"])


def make_estimates(variants, tasks, seeds, values):
    found = []
    for variant in (each for each in variants if each.same_as is None):
        for task in tasks:
            for metric in METRICS:
                by_seed = {str(s): values.get((variant.name, s), {}).get((task, metric.name)) for s in seeds}
                known = [value for value in by_seed.values() if value is not None]
                deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
                found.append(Estimate(variant.name, task, metric.name, float(np.mean(known)), deviation, by_seed))
    return found


def difference(variant, reference, task, metric, seeds, values):
    both = [seed for seed in seeds if (variant, seed) in values and (reference, seed) in values]
    gaps = np.array([values[variant, s][task, metric.name] - values[reference, s][task, metric.name] for s in both])
    mean, sign = float(gaps.mean()), 1 if metric.higher_is_better else -1
    wins, losses = int((sign * gaps > 0).sum()), int((sign * gaps < 0).sum())
    rows = (mean - 0.004, mean + 0.004, 0.01, "DeLong")
    if len(both) < 2:
        return Difference(
            variant,
            reference,
            task,
            metric.name,
            mean,
            None,
            None,
            None,
            None,
            wins,
            0,
            losses,
            *rows,
            None,
            "undefined",
            "one seed gives no interval",
        )
    low, high = stats.t.interval(0.95, len(gaps) - 1, mean, stats.sem(gaps))
    p = float(stats.ttest_1samp(gaps, 0).pvalue)
    verdict = "none" if p > 0.05 else "uncertain" if abs(mean) < 0.004 else "better" if sign * mean > 0 else "worse"
    return Difference(
        variant,
        reference,
        task,
        metric.name,
        mean,
        float(low),
        float(high),
        p,
        p,
        wins,
        0,
        losses,
        *rows,
        int(4 + 1e4 * np.std(gaps)),
        verdict,
        f"{verdict} with {len(both)} seeds",
    )
