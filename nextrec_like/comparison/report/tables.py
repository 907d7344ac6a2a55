"""The tables of the report: plain rows that the page and its Markdown twin both show."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nextrec_like.comparison.analysis import too_short
from nextrec_like.comparison.report.content import ROLE_NAMES, Content
from nextrec_like.comparison.results import Difference, Estimate, Gain, RunRecord


@dataclass(frozen=True)
class Row:
    """A variant, output and metric, with the difference to one kind of reference.

    Args:
        variant: Name of the variant or floor.
        number: Number of the variant; None for a floor.
        output: Name of the output.
        metric: Name of the metric.
        against: Role of the reference.
        is_main: Whether it is the main metric of the output.
        estimate: Mean over seeds.
        difference: None for the reference itself, and where nothing is compared.
    """

    variant: str
    number: int | None
    output: str
    metric: str
    against: str
    is_main: bool
    estimate: Estimate
    difference: Difference | None


def kinds(content: Content) -> dict[str, str]:
    """Kinds of reference that differences are taken to: role and words."""
    return {role: ROLE_NAMES[role] for role in dict.fromkeys(content.roles[name] for name in content.references)}


def rows(content: Content) -> list[Row]:
    """By kind of reference, output, metric and variant; the floors at the end of each group."""
    differences: dict[tuple[str, str, str, str], Difference] = {}
    for found in content.results.differences:
        differences.setdefault((found.variant, found.output, found.metric, content.roles[found.reference]), found)
    listed = []
    for kind in kinds(content) or {"": ""}:
        for output in [output.name for output in content.results.outputs]:
            for metric in content.directions:
                is_main = content.main_metrics.get(output) == metric
                for variant, number in content.numbers.items():
                    if each := content.estimates.get((variant, output, metric)):
                        difference = differences.get((variant, output, metric, kind))
                        listed.append(Row(variant, number, output, metric, kind, is_main, each, difference))
                listed += [
                    Row(each.variant, None, output, metric, kind, is_main, each, None)
                    for each in floors(content, output, metric)
                ]
    return listed


def floors(content: Content, output: str, metric: str) -> list[Estimate]:
    """Known values that a model should be above."""
    return [
        Estimate(f"floor: {floor['name']}", output, metric, floor["values"][output], None, {})
        for floor in content.results.floors
        if floor["metric"] == metric and floor["values"].get(output) is not None
    ]


def gains(content: Content) -> list[tuple[int, Gain]]:
    """Multi-task gains with the number of their variant."""
    return [(content.numbers[each.variant], each) for each in content.results.gains if each.variant in content.numbers]


@dataclass(frozen=True)
class Run:
    """A training with its values.

    Args:
        record: The run.
        number: Number of its variant.
        link: Its folder as seen from the report; None if it has none.
        values: Main metric of each judged output.
    """

    record: RunRecord
    number: int
    link: str | None
    values: list[float | None]


def runs(content: Content, folder: Path) -> list[Run]:
    """All trainings of the variants that are shown, by variant and seed.

    Args:
        content: The results.
        folder: Where the report is.
    """
    return [
        Run(
            run, number, link(content, run.folder, folder), [_value(content, run, each.name) for each in content.judged]
        )
        for variant, number in content.numbers.items()
        for run in content.runs(variant)
    ]


def link(content: Content, relative: str | None, folder: Path) -> str | None:
    """Address of a run folder as seen from the report."""
    if relative is None:
        return None
    path = os.path.relpath(content.store.path / relative, folder)
    return "./" + quote(Path(path).as_posix() + "/")


def _value(content: Content, run: RunRecord, output: str) -> float | None:
    each = content.main_estimate(run.variant, output)
    return None if each is None else each.values.get(str(run.seed))


@dataclass(frozen=True)
class Tried:
    """A setting that was tried.

    Args:
        variant: Name of the variant.
        label: In words.
        score: On the validation rows; None without one.
        chosen: Whether it was chosen.
        reason: Why there is no score.
        links: Its runs as seen from the report.
    """

    variant: str
    label: str
    score: float | None
    chosen: bool
    reason: str | None
    links: list[str]


def tried(content: Content, folder: Path) -> list[Tried]:
    """All settings that were tried on the validation rows."""
    return [
        Tried(
            variant.name,
            each.label,
            each.score,
            each.chosen,
            each.reason,
            [address for relative in each.folders if (address := link(content, relative, folder))],
        )
        for variant in content.results.variants
        for each in variant.candidates
    ]


def settings(content: Content) -> list[tuple[str, str, int]]:
    """Variant, chosen setting, and number of settings tried."""
    return [(each.name, each.setting, len(each.candidates)) for each in content.variants if each.setting]


def troubles(content: Content) -> list[str]:
    """Sentences about what failed or was too short, and about variants that are the same as another one."""
    found = [
        f"{each.variant}, seed {each.seed}, failed: {each.reason}"
        for each in content.results.runs
        if each.reason and each.variant in content.numbers
    ]
    found += [
        f"{each.name} resolves to the same runs as {each.same_as} and is shown once."
        for each in content.results.variants
        if each.same_as is not None
    ]
    found += too_short(content.results.runs)
    undefined = {
        (each.output, each.metric, each.reason): None
        for each in content.results.estimates
        if each.reason and each.mean is None
    }
    return found + [f"{output}, {metric}, has no value: {reason}" for output, metric, reason in undefined]


def facts(content: Content) -> list[tuple[str, Any]]:
    """The provenance with headings in words."""
    return [(str(key).replace("_", " "), value) for key, value in content.results.provenance.items()]
