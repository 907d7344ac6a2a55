"""Which setting of a variant is trained with all seeds: chosen by validation scores, and by nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean

from nextrec_like.comparison.results import Candidate
from nextrec_like.comparison.running.runner import Request, Runner
from nextrec_like.comparison.search import Sampler, Weights, make_sampler, resolve_sampler
from nextrec_like.comparison.variants import Setting, Variant, settings_of
from nextrec_like.config import Config
from nextrec_like.config.comparison import TunedFixed


@dataclass(frozen=True)
class Choice:
    """A variant with the setting that was chosen for it.

    Attributes:
        variant: The variant.
        setting: The chosen setting.
        candidates: What it was chosen from; empty if there was only one.
    """

    variant: Variant
    setting: Setting
    candidates: list[Candidate]


def choose(scores: Sequence[float | None]) -> int:
    """Position of the highest score; the first of several, and the first of all if there is none."""
    known = [score for score in scores if score is not None]
    return list(scores).index(max(known)) if known else 0


def budget(section: TunedFixed, variants: Sequence[Variant]) -> int:
    """Settings that a search for fixed weights may try: as many as the adaptive methods beside it try together."""
    return section.trials or sum(len(variant.settings) for variant in variants if variant.role == "method")


class Selection:
    """Tries settings with the first seeds.

    Args:
        config: The configuration of the comparison.
        runner: Where trainings go.
    """

    def __init__(self, config: Config, runner: Runner) -> None:
        self.section, self.runner = config.comparison, runner
        self.task_names = [task.name for task in config.tasks]
        self.seeds = config.training.all_seeds[: self.section.search_seeds]

    def sampler_name(self) -> str:
        """How fixed weights are searched for.

        Raises:
            InputError: For a sampler that these tasks, or this installation, cannot use.
        """
        return resolve_sampler(self._tuning().sampler, len(self.task_names))

    def requests(self, variant: Variant, settings: Sequence[Setting]) -> Iterator[Request]:
        """The trainings that a choice among settings needs."""
        for setting in settings:
            for seed in self.seeds:
                yield Request(f"{variant.name} ({setting.label})", setting.config, seed)

    def with_proposals(self, variant: Variant, family: Sequence[Variant]) -> Variant:
        """A variant of fixed weights with the settings that a search has tried."""
        rates = max(1, len(self.section.learning_rates))
        trials = ceil(budget(self._tuning(), family) / rates)
        sampler: Sampler = make_sampler(self.sampler_name(), len(self.task_names), trials)
        while proposals := sampler.ask():
            tried = [list(self._fixed(variant, weights)) for weights in proposals]
            settings = [setting for each in tried for setting in each]
            self.runner.train(self.requests(variant, settings))
            sampler.tell([self._best(each) for each in tried])
            variant = replace(variant, settings=[*variant.settings, *settings])
        return variant

    def choice(self, variant: Variant) -> Choice:
        """The best setting of a variant whose trainings are done."""
        if len(variant.settings) == 1:
            return Choice(variant, variant.settings[0], [])
        scores = [self._score(setting) for setting in variant.settings]
        chosen = choose(scores)
        candidates = [
            self._candidate(setting, score, index == chosen)
            for index, (setting, score) in enumerate(zip(variant.settings, scores))
        ]
        return Choice(variant, variant.settings[chosen], candidates)

    def _tuning(self) -> TunedFixed:
        return self.section.tuned_fixed or TunedFixed()

    def _fixed(self, variant: Variant, weights: Weights) -> Iterator[Setting]:
        by_task = dict(zip(self.task_names, weights))
        label = ", ".join(f"{task} {weight:g}" for task, weight in by_task.items())
        yield from settings_of(variant.settings[0].config, label, by_task)

    def _best(self, settings: Sequence[Setting]) -> float | None:
        scores = [score for score in map(self._score, settings) if score is not None]
        return max(scores, default=None)

    def _score(self, setting: Setting) -> float | None:
        """Mean validation score over the search seeds; None if one of them has none."""
        keys = [self.runner.key(setting.config, seed) for seed in self.seeds]
        if any(key in self.runner.failures for key in keys):
            return None
        return _mean([self.runner.folder(key).result()["score"] for key in keys])

    def _candidate(self, setting: Setting, score: float | None, chosen: bool) -> Candidate:
        keys = [self.runner.key(setting.config, seed) for seed in self.seeds]
        failed = [self.runner.failures[key] for key in keys if key in self.runner.failures]
        done = [key for key in keys if key not in self.runner.failures]
        return Candidate(
            label=setting.label,
            weighting=setting.config.weighting,
            learning_rate=(setting.config.training.optimizer_params or {}).get("lr"),
            score=score,
            chosen=chosen,
            folders=[f"runs/{key}" for key in done],
            test=_mean_metrics([self.runner.folder(key).result()["test"] for key in done]),
            reason=failed[0] if failed else None if score is not None else "no validation score",
        )


def _mean_metrics(results: Sequence[dict[str, dict[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    if not results:
        return {}
    return {
        output: {metric: _mean([each[output][metric] for each in results]) for metric in metrics}
        for output, metrics in results[0].items()
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
