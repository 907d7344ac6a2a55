"""What all parts of the report look up in the results."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from nextrec_like.comparison.results import Difference, Estimate, Output, Results, RunRecord, VariantRecord
from nextrec_like.comparison.store import RunFolder, Store
from nextrec_like.errors import InputError

T = TypeVar("T")
FEW = 7
"""Up to so many variants each have a colour of their own."""
ROLE_COLOURS = {"equal": "ink", "tuned_fixed": "c2", "fixed": "c3", "single_task": "c4", "method": "faint"}
ROLE_NAMES = {
    "equal": "equal weights",
    "tuned_fixed": "tuned fixed weights",
    "fixed": "fixed weights",
    "single_task": "single task",
    "method": "other weightings",
}


@dataclass(frozen=True)
class Content:
    """Results with the ways that the report looks at them.

    Args:
        results: What was found.
        store: Where the evidence of each run is.
    """

    results: Results
    store: Store

    @cached_property
    def variants(self) -> list[VariantRecord]:
        """Those that are shown: variants that are not the same as another one."""
        return [each for each in self.results.variants if each.same_as is None]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each variant in tables and plots."""
        return {variant.name: number for number, variant in enumerate(self.variants, start=1)}

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role of each variant by name."""
        return {variant.name: variant.role for variant in self.results.variants}

    @cached_property
    def estimates(self) -> dict[tuple[str, str, str], Estimate]:
        """By variant, output and metric."""
        return {(each.variant, each.output, each.metric): each for each in self.results.estimates}

    @cached_property
    def directions(self) -> dict[str, bool | None]:
        """For each metric whether higher is better; None where a target value is best."""
        return {metric.name: metric.higher_is_better for metric in self.results.metrics}

    @cached_property
    def main_metrics(self) -> dict[str, str]:
        """The main metric of each output; outputs in which it has no direction or no value are left out."""
        valued = {(each.output, each.metric) for each in self.results.estimates if each.mean is not None}
        found = {each.name: self.results.main_metric(each.name) for each in self.results.outputs}
        return {
            output: metric
            for output, metric in found.items()
            if metric is not None and (output, metric) in valued and self.directions[metric] is not None
        }

    @cached_property
    def judged(self) -> list[Output]:
        """Outputs that have a main metric."""
        return [output for output in self.results.outputs if output.name in self.main_metrics]

    @cached_property
    def references(self) -> list[str]:
        """Variants that others are compared with, in the order of the report."""
        used = {difference.reference for difference in self.results.differences}
        return [variant.name for variant in self.results.variants if variant.name in used]

    @cached_property
    def colours(self) -> dict[str, str]:
        """Colour of each variant: its own one if there are few, otherwise that of its role."""
        if len(self.variants) > FEW + 1:
            return {variant.name: ROLE_COLOURS[variant.role] for variant in self.variants}
        own = iter(f"c{number}" for number in range(1, FEW + 2))
        equal = next((each.name for each in self.variants if each.role == "equal"), None)
        return {each.name: "ink" if each.name == equal else next(own) for each in self.variants}

    def legend(self) -> list[tuple[str, str]]:
        """Colour and text of each entry that explains `colours`."""
        if len(self.variants) > FEW + 1:
            present = {variant.role for variant in self.variants}
            return [(ROLE_COLOURS[role], name) for role, name in ROLE_NAMES.items() if role in present]
        return [(colour, name) for name, colour in self.colours.items()]

    def differences(self, reference: str, output: str, metric: str) -> list[Difference]:
        """The differences to a reference, in the order of the variants."""
        return [
            each
            for each in self.results.differences
            if (each.reference, each.output, each.metric) == (reference, output, metric)
            and each.variant in self.numbers
        ]

    def main_estimate(self, variant: str, output: str) -> Estimate | None:
        """Estimate of the main metric of an output."""
        return self.estimates.get((variant, output, self.main_metrics[output]))

    def runs(self, variant: str) -> list[RunRecord]:
        """The runs of a variant, by seed."""
        return sorted((run for run in self.results.runs if run.variant == variant), key=lambda run: run.seed)


@dataclass
class Reader:
    """Reads one kind of evidence from run folders, and keeps in words what could not be read.

    Args:
        content: The results.
    """

    content: Content
    missing: list[str] = field(default_factory=list)

    def each(self, variant: str, read: Callable[[RunFolder], T]) -> list[T]:
        """What `read` finds in each finished run of a variant; runs that cannot be read are left out."""
        found = []
        for run in self.content.runs(variant):
            if run.folder is None or run.reason is not None:
                continue
            try:
                found.append(read(self.content.store.run(run.folder)))
            except InputError as error:
                self.missing.append(f"{variant}, seed {run.seed}: {error}")
        return found

    def shared(self, read: Callable[[], T]) -> T | None:
        """What `read` finds outside of the run folders; None if it cannot be read."""
        try:
            return read()
        except InputError as error:
            self.missing.append(str(error))
            return None
