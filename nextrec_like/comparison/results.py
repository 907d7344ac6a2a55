"""What a comparison found, as plain records: the content of ``results.json`` and of the CSV files."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd

from nextrec_like.errors import InputError, within
from nextrec_like.storage.atomic import write_text
from nextrec_like.storage.reading import check_format, read_json
from nextrec_like.storage.records import build

FORMAT = 1
MAX_BYTES = 2**28
"""Size of a ``results.json``: that of a hundred variants with every metric has a few megabytes."""
Role: TypeAlias = Literal["equal", "fixed", "tuned_fixed", "method", "single_task"]
Verdict: TypeAlias = Literal["better", "worse", "uncertain", "none", "undefined"]
"""``uncertain``: a difference over seeds that the size of the test set does not bear; ``none``: no difference seen."""


@dataclass(frozen=True)
class Output:
    """What is predicted and judged: a task, or a task where its parent happened.

    Attributes:
        name: Such as ``conversion`` or ``conversion_given_click``.
        task: The task.
        kind: ``binary`` or ``regression``.
        rows: Test rows with a label.
        positives: Test rows with a positive label; None for a regression.
    """

    name: str
    task: str
    kind: str
    rows: int
    positives: int | None


@dataclass(frozen=True)
class MetricRecord:
    """A metric and its direction: None where a target value is best."""

    name: str
    higher_is_better: bool | None


@dataclass(frozen=True)
class Candidate:
    """A setting that was tried on the validation rows.

    Attributes:
        label: In words, such as ``alpha 0.5, lr 0.001``.
        weighting: The weighting as `compile` takes it.
        learning_rate: None: that of the configuration.
        score: Mean validation score over the search seeds; None if a run failed or has no score.
        chosen: Whether it was chosen.
        folders: Run folders of the search seeds.
        test: Test metrics by output, mean over the search seeds. Shown only, never used for a choice.
        reason: Why there is no score.
    """

    label: str
    weighting: Any
    learning_rate: float | None
    score: float | None
    chosen: bool
    folders: list[str]
    test: dict[str, dict[str, float | None]]
    reason: str | None = None


@dataclass(frozen=True)
class VariantRecord:
    """A way to train that is compared: a model with an objective and a weighting.

    Attributes:
        name: Unique; only the parts that differ between variants.
        model: Its name.
        objective: Its name.
        weighting: Name of the weighting, or ``tuned_fixed``.
        role: What it is in the comparison.
        setting: Label of the chosen candidate; empty if there was nothing to choose.
        references: Names of the variants that it is compared with.
        candidates: What was tried; empty if there was nothing to choose.
        same_as: Name of the variant that resolves to the same runs, if there is one.
    """

    name: str
    model: str
    objective: str
    weighting: str
    role: Role
    setting: str = ""
    references: list[str] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    same_as: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """One training.

    Attributes:
        variant: Name of the variant.
        seed: Its seed.
        folder: Run folder, relative to that of the comparison; None if it has none.
        reason: Why it failed; None if it finished.
        score: Best monitored validation value.
        epochs: Epochs trained.
        best_epoch: Epoch whose weights were kept.
        seconds: Wall time of the training, without reading data and evaluation.
        cpu_seconds: Processor time of it.
        peak_memory: Peak bytes: of the process on CPU, allocated on a GPU.
    """

    variant: str
    seed: int
    folder: str | None
    reason: str | None = None
    score: float | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class Estimate:
    """A metric of a variant on the test rows over the seeds.

    Attributes:
        variant: Name of the variant.
        output: Name of the output.
        metric: Name of the metric.
        mean: Over the seeds that have a value; None without one.
        deviation: Standard deviation over these seeds; None for fewer than two.
        values: By seed, as text (as JSON keys are); None where undefined or failed.
        reason: Why a value is missing.
    """

    variant: str
    output: str
    metric: str
    mean: float | None
    deviation: float | None
    values: dict[str, float | None]
    reason: str | None = None


@dataclass(frozen=True)
class Difference:
    """A variant minus a reference, paired over the seeds that both have.

    Attributes:
        variant: Name of the variant.
        reference: Name of the variant that is subtracted.
        output: Name of the output.
        metric: Name of the metric.
        mean: Mean difference; None without a common seed.
        low: Lower end of the 95 % interval over seeds (paired t); None for fewer than two seeds.
        high: Upper end.
        p_value: Of the paired t test; None where the interval is.
        adjusted_p: Of one test with the uncertainties of seeds and test rows, or of the paired t test where the rows
            have no interval; after Holm's correction over the variants with this reference, output and metric.
        wins: Seeds in which the variant is better.
        ties: Seeds in which both are equal.
        losses: Seeds in which it is worse.
        rows_low: Lower end of the 95 % interval from the test rows, for the mean over seeds; None if not available.
        rows_high: Upper end.
        rows_p_value: Two-sided p-value from the test rows.
        rows_method: ``DeLong``, ``group bootstrap`` or ``row means``; None if not available.
        seeds_needed: Seeds with which a paired t test would see a difference of 0.001 with a power of 80 %; None
            for fewer than two seeds, or where 0.001 has no meaning on the scale of the metric.
        verdict: In one word.
        sentence: In words.
    """

    variant: str
    reference: str
    output: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p: float | None
    wins: int
    ties: int
    losses: int
    rows_low: float | None
    rows_high: float | None
    rows_p_value: float | None
    rows_method: str | None
    seeds_needed: int | None
    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class Gain:
    """The multi-task gain delta-m of a variant against SingleTask, in per cent, over seeds; positive is better.

    It is the mean over the tasks that the metric applies to; seeds in which one of them has no value are left out.
    Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, eq. 1. https://arxiv.org/abs/1904.08918
    """

    variant: str
    reference: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Results:
    """Everything that a comparison found.

    Attributes:
        name: Of the comparison.
        outputs: What is judged.
        metrics: By which metrics.
        seeds: With which seeds.
        variants: What is compared, in the order of the report.
        runs: Every training of a variant and seed; those of the search only are in the candidates.
        estimates: Means over seeds.
        differences: Paired differences.
        gains: Multi-task gains; empty without SingleTask.
        floors: Known values to be above: ``{"name": ..., "metric": ..., "values": {output: value}}``.
        notes: Sentences about the data or the comparison that belong to the report.
        provenance: Command, versions, machine, data fingerprint, rows and rates of the parts, split, selection score.
        config: The configuration as YAML text.
    """

    name: str
    outputs: list[Output]
    metrics: list[MetricRecord]
    seeds: list[int]
    variants: list[VariantRecord]
    runs: list[RunRecord]
    estimates: list[Estimate]
    differences: list[Difference]
    gains: list[Gain]
    floors: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    config: str = ""
    format: int = FORMAT

    def main_metric(self, output: str) -> str | None:
        """The first metric of an output with a direction; those with a value go before; None without an estimate."""
        found = [each for each in self.estimates if each.output == output]
        known = {each.metric for each in found if each.mean is not None} or {each.metric for each in found}
        listed = [metric for metric in self.metrics if metric.name in known]
        return min(listed, key=lambda each: each.higher_is_better is None).name if listed else None

    def save(self, folder: Path) -> None:
        """Writes ``results.json``, ``estimates.csv``, ``differences.csv`` and ``runs.csv``."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False, ensure_ascii=False)
        write_text(folder / "results.json", text + "\n")
        for part, records in (("estimates", self.estimates), ("differences", self.differences), ("runs", self.runs)):
            table = pd.json_normalize([asdict(record) for record in records])
            write_text(folder / f"{part}.csv", table.to_csv(index=False))


def read_results(file: Path) -> Results:
    """The results in a ``results.json``.

    Raises:
        InputError: If the file is missing, damaged or of another version.
    """
    if not file.exists():
        raise InputError(f"There is no `{file}`; give the folder of a comparison that came to its end.")
    fix = "run the comparison again"
    content = check_format(read_json(file, fix, max_bytes=MAX_BYTES), FORMAT, file, fix)
    with within(f"In `{file}`: "):
        return build(Results, content, "the comparison")
