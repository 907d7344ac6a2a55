"""From trained runs to results."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from nextrec_like.comparison.analysis import analyse
from nextrec_like.comparison.judging import judged
from nextrec_like.comparison.provenance import provenance
from nextrec_like.comparison.results import MetricRecord, Output, Results, RunRecord, VariantRecord
from nextrec_like.comparison.running.runner import Runner
from nextrec_like.comparison.selection import Choice
from nextrec_like.config import Config, dump, resolve
from nextrec_like.errors import InputError
from nextrec_like.metrics import METRICS


def collect(config: Config, choices: Sequence[Choice], runner: Runner, tables: Mapping[str, pa.Table]) -> Results:
    """Reads what was trained, and analyses it.

    Raises:
        InputError: If no training of a variant came to its end.
    """
    seeds, store = config.training.all_seeds, runner.store
    variants, runs = variant_records(choices, runner, seeds[0]), run_records(choices, runner, seeds)
    if all(run.reason is not None for run in runs):
        raise InputError(f"No training came to its end. The first failed because: {runs[0].reason}")
    outputs = [
        Output(name, task, kind, int((~np.isnan(labels)).sum()), int(np.nansum(labels)) if kind == "binary" else None)
        for name, (task, kind, labels) in judged(config, tables["test"]).items()
    ]
    metrics = judged_metrics(config, runner, runs)
    estimates, differences, gains = analyse(
        variants, runs, outputs, metrics, seeds, store, jobs=min(2, runner.pool.jobs)
    )
    return Results(
        name=config.name,
        outputs=outputs,
        metrics=metrics,
        seeds=seeds,
        variants=variants,
        runs=runs,
        estimates=estimates,
        differences=differences,
        gains=gains,
        floors=[floor.model_dump() for floor in config.comparison.floors],
        notes=config.comparison.notes,
        provenance=provenance(config, tables, runner),
        config=dump({**resolve(config), "comparison": config.comparison.model_dump(exclude_defaults=True)}),
    )


def judged_metrics(config: Config, runner: Runner, runs: Sequence[RunRecord]) -> list[MetricRecord]:
    """The metrics of the configuration, and those that tasks have to which none of them applies."""
    names = dict.fromkeys(config.training.metrics)
    for run in runs:
        if run.folder is not None:
            test = runner.store.run(run.folder).result()["test"]
            names |= dict.fromkeys(name for values in test.values() for name in values)
    return [MetricRecord(name, METRICS[name].higher_is_better) for name in names if name in METRICS]


def variant_records(choices: Sequence[Choice], runner: Runner, seed: int) -> list[VariantRecord]:
    """The variants; one that came to the same trainings as an earlier one says so."""
    first: dict[str, str] = {}
    records = []
    for choice in choices:
        variant, key = choice.variant, runner.key(choice.setting.config, seed)
        records.append(
            VariantRecord(
                name=variant.name,
                model=variant.model,
                objective=str(resolve(choice.setting.config)["objective"]),
                weighting=variant.weighting,
                role=variant.role,
                setting=choice.setting.label,
                references=variant.references,
                candidates=choice.candidates,
                same_as=first.get(key),
            )
        )
        first.setdefault(key, variant.name)
    return records


def run_records(choices: Sequence[Choice], runner: Runner, seeds: Sequence[int]) -> list[RunRecord]:
    """One record for each variant and seed."""
    records = []
    for choice in choices:
        for seed in seeds:
            key = runner.key(choice.setting.config, seed)
            if key in runner.failures:
                records.append(RunRecord(choice.variant.name, seed, None, runner.failures[key]))
            else:
                kept = runner.folder(key).result()
                known = {name: kept[name] for name in ("score", "epochs", "best_epoch", "seconds", "cpu_seconds")}
                memory = kept["peak_memory"]
                records.append(RunRecord(choice.variant.name, seed, f"runs/{key}", peak_memory=memory, **known))
    return records
