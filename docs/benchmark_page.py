"""Writes the tables of docs/benchmarks.md from the folders of comparisons.

python docs/benchmark_page.py [RUNS]

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``, where RUNS/NAME-compare is the folder of a
comparison that has come to its end. Tables whose folder is not there stay as they are.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextrec_like.comparison import Results, read_results
from nextrec_like.comparison.analysis import best_in_last_epoch
from nextrec_like.comparison.results import Difference, Estimate

PAGE = Path(__file__).with_name("benchmarks.md")
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MARKS = {"better": "**+**", "worse": "**-**", "uncertain": "?", "none": "", "undefined": ""}


def table(results: Results) -> str:
    """A row for each variant, and one for each floor.

    Columns: the main metric of every output with its difference to the reference, the gain, and the processor time.
    """
    metrics = {output.name: results.main_metric(output.name) or "" for output in results.outputs}
    header = ["variant", *(f"{output} {metric}".rstrip() for output, metric in metrics.items()), "delta-m %", "CPU s"]
    rows = [header, ["---"] * len(header)]
    for variant in results.variants:
        if variant.same_as is not None:
            rows.append([f"`{variant.name}`", f"the same as `{variant.same_as}`", *[""] * (len(header) - 2)])
            continue
        cells = [cell(results, variant.name, output, metric) for output, metric in metrics.items()]
        last = [gain(results, variant.name), cost(results, variant.name)]
        rows.append([named(variant.name, variant.setting), *cells, *last])
    rows += [[f"floor: {floor['name']}", *floor_cells(floor, metrics), "", ""] for floor in results.floors]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def floor_cells(floor: Mapping[str, Any], metrics: Mapping[str, str]) -> list[str]:
    """The values of a floor for the outputs whose main metric it is in; others stay empty."""
    values = [floor["values"].get(output) if floor["metric"] == metric else None for output, metric in metrics.items()]
    return ["" if value is None else f"{value:.4f}" for value in values]


def named(name: str, setting: str) -> str:
    """The variant, with the setting that was chosen for it."""
    return f"`{name}`" + (f" ({setting})" if setting else "")


def cell(results: Results, variant: str, output: str, metric: str) -> str:
    """The mean over seeds with its deviation, and the difference to the first reference with its interval."""
    (estimate,) = [each for each in results.estimates if is_about(each, variant, output, metric)] or [None]
    if estimate is None or estimate.mean is None:
        return "-"
    value = f"{estimate.mean:.4f}" + ("" if estimate.deviation is None else f" ± {estimate.deviation:.4f}")
    differences = [each for each in results.differences if is_about(each, variant, output, metric)]
    if not differences or differences[0].low is None:
        return value
    first = differences[0]
    interval = f"{first.mean:+.4f} [{first.low:+.4f}, {first.high:+.4f}]"
    return f"{value}<br>{interval} {MARKS[first.verdict]}".rstrip()


def is_about(record: Estimate | Difference, variant: str, output: str, metric: str) -> bool:
    """Whether a record belongs to this variant, output and metric."""
    return (record.variant, record.output, record.metric) == (variant, output, metric)


def gain(results: Results, variant: str) -> str:
    """The multi-task gain in the main metric of the first output, over the tasks that this metric applies to."""
    metric = results.main_metric(results.outputs[0].name)
    found = [each for each in results.gains if (each.variant, each.metric) == (variant, metric)]
    return f"{found[0].mean:+.3f}" if found and found[0].mean is not None else ""


def cost(results: Results, variant: str) -> str:
    """Mean processor time of a training; runs that failed do not count."""
    seconds = [run.cpu_seconds for run in results.runs if run.variant == variant and run.cpu_seconds is not None]
    return f"{sum(seconds) / len(seconds):.1f}" if seconds else "failed"


def facts(results: Results) -> str:
    """What the table was made of, and by which command."""
    known = results.provenance
    versions = known["versions"]
    at_end, count = best_in_last_epoch(results.runs)
    return (
        f"{len(results.seeds)} seeds; {len(results.variants)} variants; data fingerprint "
        f"`{known['data']['fingerprint'][:16]}`; nextrec_like {versions['nextrec_like']}, torch {versions['torch']}; "
        f"{known['machine']['processes']} trainings at a time, {known['machine']['threads per process']} thread each; "
        f"{at_end} of {count} runs were best in their last epoch.\n"
    )


def counts(results: Results) -> str:
    """How many methods were better or worse, for each reference and output."""
    kinds = {variant.name: variant.role for variant in results.variants if variant.same_as is None}
    lines = []
    for reference in dict.fromkeys(each.reference for each in results.differences):
        for output in results.outputs:
            found = [
                each.verdict
                for each in results.differences
                if (each.reference, each.output, each.metric)
                == (reference, output.name, results.main_metric(output.name))
                and kinds.get(each.variant) == "method"
            ]
            if found:
                words = ", ".join(f"{found.count(word)} {text}" for word, text in WORDS.items())
                lines.append(f"* {output.name}, {len(found)} methods against `{reference}`: {words}.")
    return "\n".join(lines)


WORDS = {
    "better": "better",
    "worse": "worse",
    "uncertain": "different over seeds, but not once the test rows' own uncertainty is added",
    "none": "no difference seen",
}


def block(folder: Path) -> str:
    """What stands on the page for a comparison."""
    results = read_results(folder / "results.json")
    return "\n".join([facts(results), counts(results), "", table(results), ""])


def rewrite(text: str, runs: Path) -> str:
    """The page with the tables of the comparisons whose folders are there."""

    def fill(match: re.Match[str]) -> str:
        folder = runs / f"{match[2]}-compare"
        return f"{match[1]}\n{block(folder)}\n{match[3]}" if (folder / "results.json").is_file() else match[0]

    return BLOCK.sub(fill, text)


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrites the page in place."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/benchmarks.md.")
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="folder with the comparisons")
    arguments = parser.parse_args(argv)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), arguments.runs), encoding="utf-8")


if __name__ == "__main__":
    main()
