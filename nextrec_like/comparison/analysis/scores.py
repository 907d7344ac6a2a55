"""The test metrics of all runs of a comparison, by variant and seed."""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean, stdev
from typing import Any

from nextrec_like.comparison.results import Estimate, RunRecord, VariantRecord
from nextrec_like.comparison.store import Store


class Scores:
    """What the runs have reached on the test rows.

    A variant that came to the same runs as another one has the runs of that one.

    Args:
        variants: What is compared.
        runs: A record for each variant and seed.
        seeds: The seeds that were asked for.
        store: The folder of the comparison.

    Raises:
        InputError: If the result of a finished run is missing or damaged.
    """

    def __init__(
        self, variants: Sequence[VariantRecord], runs: Sequence[RunRecord], seeds: Sequence[int], store: Store
    ) -> None:
        self.seeds = list(seeds)
        self.variants = {variant.name: variant for variant in variants}
        self.runs = {(run.variant, run.seed): run for run in runs}
        folders = {key: run.folder for key, run in self.runs.items() if run.folder is not None and run.reason is None}
        self._folders = folders
        read = {folder: store.run(folder).result() for folder in dict.fromkeys(folders.values())}
        self._results: dict[tuple[str, int], dict[str, Any]] = {key: read[folder] for key, folder in folders.items()}
        self._judged = {
            (output, metric) for result in read.values() for output, named in result["test"].items() for metric in named
        }

    def runs_of(self, variant: str) -> str:
        """Name of the variant whose runs are those of a variant: mostly its own."""
        return self.variants[variant].same_as or variant

    def is_judged(self, output: str, metric: str) -> bool:
        """Whether the metric applies to the output."""
        return (output, metric) in self._judged

    def value(self, variant: str, seed: int, output: str, metric: str) -> float | None:
        """A metric of a run; None if the run failed, or if the metric has no value on these rows."""
        result = self._results.get((self.runs_of(variant), seed))
        value = None if result is None else result["test"].get(output, {}).get(metric)
        return value if value is not None and isfinite(value) else None

    def folder(self, variant: str, seed: int) -> str:
        """Folder of a run that has a value."""
        return self._folders[self.runs_of(variant), seed]

    def values(self, variant: str, output: str, metric: str) -> dict[int, float]:
        """A metric by seed, where there is one."""
        by_seed = {seed: self.value(variant, seed, output, metric) for seed in self.seeds}
        return {seed: value for seed, value in by_seed.items() if value is not None}

    def reason(self, variant: str, output: str, metric: str) -> str | None:
        """Why values are missing; None if there is one for each seed."""
        missing = [seed for seed in self.seeds if self.value(variant, seed, output, metric) is None]
        said = dict.fromkeys(self._reason(variant, seed, output, metric).rstrip(".") for seed in missing)
        if not missing:
            return None
        place = "" if len(missing) == len(self.seeds) else f"seed {', '.join(map(str, missing))}: "
        return place + "; ".join(said)

    def estimate(self, variant: str, output: str, metric: str) -> Estimate:
        """The mean over the seeds."""
        values = self.values(variant, output, metric)
        return Estimate(
            variant=variant,
            output=output,
            metric=metric,
            mean=fmean(values.values()) if values else None,
            deviation=stdev(values.values()) if len(values) > 1 else None,
            values={str(seed): values.get(seed) for seed in self.seeds},
            reason=self.reason(variant, output, metric),
        )

    def _reason(self, variant: str, seed: int, output: str, metric: str) -> str:
        own = self.runs_of(variant)
        if (own, seed) not in self._results:
            run = self.runs.get((own, seed))
            return (run.reason if run is not None else None) or "it was not trained"
        reasons = self._results[own, seed].get("reasons", {}).get("test", {}).get(output, {})
        return str(reasons.get(metric, f"`{metric}` is missing or not finite in its result"))
