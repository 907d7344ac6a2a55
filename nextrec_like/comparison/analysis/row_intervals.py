"""Intervals from the test rows for the differences between variants, with few predictions in memory at a time."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeAlias

from nextrec_like.comparison.analysis.rows import METHODS, FloatArray, JudgedRows
from nextrec_like.comparison.analysis.scores import Scores
from nextrec_like.comparison.store import Store
from nextrec_like.errors import InputError
from nextrec_like.metrics import Interval

Pair: TypeAlias = tuple[str, str]
"""Names of a variant and its reference."""
_Runs: TypeAlias = tuple[str, tuple[int, ...]]
_Figures: TypeAlias = dict[str, FloatArray]
Found: TypeAlias = dict[tuple[Pair, str], tuple[Interval, str, tuple[int, ...]]]
"""By pair and metric the interval, its method, and the seeds that it stands for."""


class RowIntervals:
    """Reads predictions and finds intervals.

    Args:
        scores: Which runs have values.
        store: The folder of the comparison.
        threads: Work on several variants at a time.
    """

    def __init__(self, scores: Scores, store: Store, threads: Executor) -> None:
        self.scores, self.store, self.threads = scores, store, threads

    def of_output(self, output: str, metrics: Sequence[str], pairs: Sequence[Pair]) -> Found:
        """The intervals for an output, of each pair that has a common seed.

        Args:
            output: Name of the output.
            metrics: Names of metrics; those without a method are left out.
            pairs: Names of variants with runs of their own.

        Raises:
            InputError: If predictions are missing or damaged.
        """
        if not any(metric in METHODS for metric in metrics):
            return {}
        groups = self.store.groups() if "gauc" in metrics else None
        work = _Work(self, output, JudgedRows(self.store.labels(output), groups, metrics))
        return work.found(pairs) if work.rows.methods else {}


class _Work:
    """The intervals of one output."""

    def __init__(self, whole: RowIntervals, output: str, rows: JudgedRows) -> None:
        self.whole, self.output, self.rows = whole, output, rows

    def found(self, pairs: Sequence[Pair]) -> Found:
        families: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for variant in dict.fromkeys(variant for variant, _ in pairs):
            families[tuple(reference for other, reference in pairs if other == variant)].append(variant)
        found: Found = {}
        for references, members in families.items():  # so that only one family's references are in memory
            for part in self._family(references, members):
                found |= part
        return found

    def _family(self, references: tuple[str, ...], members: Sequence[str]) -> Iterator[Found]:
        threads = self.whole.threads
        needed = [(reference, self._common((member, reference))) for reference in references for member in members]
        distinct = [each for each in dict.fromkeys(needed) if each[1]]
        kept = dict(zip(distinct, threads.map(self._figures, distinct)))
        return threads.map(partial(self._member, references, kept), members)

    def _member(self, references: tuple[str, ...], kept: Mapping[_Runs, _Figures], variant: str) -> Found:
        found: Found = {}
        own: dict[_Runs, _Figures] = {}
        for reference in references:
            seeds = self._common((variant, reference))
            if not seeds:
                continue
            mine, theirs = (variant, seeds), (reference, seeds)
            if mine not in own:
                own = {mine: kept[mine] if mine in kept else self._figures(mine)}
            for metric, interval in self.rows.intervals(own[mine], kept[theirs]).items():
                found[(variant, reference), metric] = (interval, self.rows.methods[metric].name, seeds)
        return found

    def _common(self, pair: Pair) -> tuple[int, ...]:
        """The seeds with which both variants have all metrics."""
        scores = self.whole.scores
        return tuple(
            seed
            for seed in scores.seeds
            if all(
                scores.value(name, seed, self.output, metric) is not None
                for name in pair
                for metric in self.rows.methods
            )
        )

    def _figures(self, runs: _Runs) -> _Figures:
        variant, seeds = runs
        return self.rows.mean_figures([partial(self._read, variant, seed) for seed in seeds])

    def _read(self, variant: str, seed: int) -> FloatArray:
        folder = self.whole.scores.folder(variant, seed)
        prediction = self.whole.store.run(folder).predictions(self.output)
        expected = len(self.rows.observed)
        if len(prediction) != expected:
            raise InputError(
                f"The run folder `{folder}` has predictions of {len(prediction)} rows, and there are {expected} test "
                "rows; delete it and compare again."
            )
        return prediction
