"""What a comparison says at its end."""

from collections.abc import Sequence
from pathlib import Path

from nextrec_like.comparison.analysis import too_short
from nextrec_like.comparison.results import Difference, Estimate, Results, RunRecord
from nextrec_like.comparison.selection import Choice
from nextrec_like.printable import printable


def describe_choices(choices: Sequence[Choice]) -> str:
    """What was chosen on the validation rows; empty if there was nothing to choose."""
    lines = []
    for choice in choices:
        scores = [each.score for each in choice.candidates if each.score is not None]
        if choice.candidates:
            best = f"score {max(scores):.5f}" if scores else "none of which has a score"
            lines.append(f"  {choice.variant.name}: {choice.setting.label}   best of {len(choice.candidates)}, {best}")
    return "\n".join(["\nchosen on the validation rows", *lines]) if lines else ""


def describe_comparison(results: Results, folder: Path) -> str:
    """A table for each output, what failed, and where the report is."""
    blocks = [table for output in results.outputs if (table := output_table(results, output.name))]
    same = [f"{each.name} is the same as {each.same_as}" for each in results.variants if each.same_as]
    failed = failures(results.runs)
    return "\n".join([*blocks, *same, *failed, *too_short(results.runs), f"\nreport: {folder / 'report.html'}"])


def output_table(results: Results, output: str) -> str:
    """The main metric of an output: each variant, its difference to the first reference, and the verdict.

    Empty if no metric applies to the output.
    """
    metric = results.main_metric(output)
    if metric is None:
        return ""
    rows = []
    for variant in results.variants:
        found = [each for each in results.estimates if _is(each, variant.name, output, metric)]
        differences = [each for each in results.differences if _is(each, variant.name, output, metric)]
        if found:
            difference = [_difference(differences[0]), _plain(differences[0].sentence)] if differences else ["", ""]
            rows.append([printable(cell) for cell in (variant.name, _value(found[0]), *difference)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join(
        [f"\n{output}: test {metric}, {len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''}", *lines]
    )


def failures(runs: Sequence[RunRecord]) -> list[str]:
    """One line for each variant with a failed run."""
    lines: dict[str, str] = {}
    for run in runs:
        if run.reason is not None:
            lines.setdefault(run.variant, f"{run.variant} failed with seed {run.seed}: {run.reason}")
    return list(lines.values())


def _plain(sentence: str) -> str:
    return sentence.replace("\N{MINUS SIGN}", "-")  # not every terminal can show the other sign


def _is(record: Estimate | Difference, variant: str, output: str, metric: str) -> bool:
    return (record.variant, record.output, record.metric) == (variant, output, metric)


def _value(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "-"
    return f"{estimate.mean:.5f}" + ("" if estimate.deviation is None else f" ± {estimate.deviation:.5f}")


def _difference(difference: Difference) -> str:
    if difference.mean is None:
        return "-"
    return f"{difference.mean:+.5f} against {difference.reference}"
