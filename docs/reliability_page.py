"""Writes the figures of docs/reliability.md from the results of tests/reliability.

python docs/reliability_page.py [--results FOLDER] [--page FILE]

They stand between two marks. What has no results is not measured, and the page says so.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from performance_tables import table

DOCS = Path(__file__).parent
FIGURES = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- end of figures -->)", re.DOTALL)
Rows = list[dict[str, Any]]
AFTERWARDS = ["damage afterwards", "any bit flipped"]
"""What was done to checkpoints that were complete."""


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrites the page in place."""
    parser = argparse.ArgumentParser(description="Write the figures of docs/reliability.md.")
    parser.add_argument("--results", type=Path, default=DOCS / "reliability", help="folder with the JSON files")
    parser.add_argument("--page", type=Path, default=DOCS / "reliability.md")
    arguments = parser.parse_args(argv)
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results.glob("*.json")}
    text = arguments.page.read_text(encoding="utf-8")
    text = FIGURES.sub(lambda match: f"{match[1]}{figures(results)}{match[2]}", text)
    arguments.page.write_text(text, encoding="utf-8")


def figures(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of targets, and a table for each run that there are results of."""
    rows = [
        [what, target, *(measure(results[name]["results"]) if name in results else ["", "not measured"])]
        for what, target, name, measure in TARGETS
    ]
    parts = [table(["what", "target", "measured", ""], rows)]
    for name, (title, write) in TABLES.items():
        if name in results:
            parts.append(f"### {title}\n{write(results[name]['results'])}\n{machine(results[name]['machine'])}")
    return "\n".join(parts)


def machine(known: Mapping[str, Any]) -> str:
    """On what, with which versions, and when."""
    return (
        f"{known['cpu']}, {known['cores']} cores, {known['memory'] / 1e9:.0f} GB; Python {known['python']}, "
        f"torch {known['torch']}; commit `{known['commit']}`, {known['date'][:10]}.\n"
    )


def _verdict(text: str, is_met: bool) -> list[str]:
    return [text, "met" if is_met else "**missed**"]


def _survived(rows: Rows, all_of: str, good: str) -> list[str]:
    total, survived = sum(row[all_of] for row in rows), sum(row[good] for row in rows)
    return _verdict(f"{survived:,} of {total:,}", survived == total)


def _kills(rows: Rows) -> list[str]:
    return _survived(rows, "kills", "survived")


def _jobs(rows: Rows) -> list[str]:
    survived = sum(row["jobs"] - len(row["faults"]) for row in rows)
    jobs, kills = (sum(row[name] for row in rows) for name in ("jobs", "kills"))
    return _verdict(f"{survived} of {jobs}, with {kills} kills", survived == jobs)


def _faults(rows: Rows) -> list[str]:
    return _survived([row for row in rows if row["operation"] not in AFTERWARDS], "cases", "survived")


def _damage(rows: Rows) -> list[str]:
    return _survived([row for row in rows if row["operation"] in AFTERWARDS], "cases", "survived")


def _broken(rows: Rows) -> list[str]:
    cases, failures = (sum(row[name] for row in rows) for name in ("cases", "failures"))
    return _verdict(f"{cases - failures:,} of {cases:,}", failures == 0)


def _cost(rows: Rows) -> list[str]:
    (row,) = rows
    whole = f"{row['cost']:+.1%} of all time, which varies by more from round to round"
    return _verdict(f"{whole}; steps held {row['held']:.2%}; {row['state_bytes'] / 1e6:,.0f} MB", row["cost"] < 0.02)


def _blocked(rows: Rows) -> list[str]:
    (row,) = rows
    return _verdict(f"{row['most_blocked']}", row["most_blocked"] <= 1)


def _growth(rows: Rows) -> list[str]:
    growth = max(row["growth"] for row in rows)
    return _verdict(f"{growth:+.2%}", growth < 0.01)


TARGETS: list[tuple[str, str, str, Callable[[Rows], list[str]]]] = [
    ("random kills survived with a bitwise equal end", "all of 200", "kills", _kills),
    ("jobs of two processes, a random one of which is killed, that end bitwise equal", "20 of 20", "rank_kills", _jobs),
    ("faults in writing checkpoints with a loadable latest one, and a bitwise equal end", "all", "faults", _faults),
    ("damage to complete checkpoints that is noticed, so that the one before is used", "all", "faults", _damage),
    ("inputs from the fuzzer that work, or are refused clearly", "all of 20,000", "fuzz", _broken),
    ("time for a checkpoint every 30 s", "under 2 %", "checkpoint_cost", _cost),
    ("steps that a checkpoint blocks", "at most 1", "checkpoint_cost", _blocked),
    ("memory growth over 10,000 steps", "under 1 %", "memory_growth", _growth),
]
"""What, the target, whose results, and what they come to with the verdict."""


def _kill_table(rows: Rows) -> str:
    names = ["weighting", "tables", "rows", "precision", "by", "kills", "survived", *HITS, "signals"]
    cells = [[str(row[name]) for name in names] for row in rows]
    return table(names, [*cells, ["all", *[""] * 4, *(str(sum(row[name] for row in rows)) for name in names[5:])]])


HITS = ["before the first checkpoint", "while a checkpoint was written", "in validation", "while ending"]
"""Where kills hit; the others hit while it started or trained. A kill may count more than once."""


def _fault_table(rows: Rows) -> str:
    while_writing = [row for row in rows if row["operation"] not in AFTERWARDS]
    afterwards = [row for row in rows if row["operation"] in AFTERWARDS]
    return "\n".join(_crossed(each) for each in (while_writing, afterwards))


def _crossed(rows: Rows) -> str:
    ways, operations = (list(dict.fromkeys(row[name] for row in rows)) for name in ("how", "operation"))
    found = {(row["operation"], row["how"]): f"{row['survived']} of {row['cases']}" for row in rows}
    return table(["survived", *ways], [[each, *(found.get((each, way), "") for way in ways)] for each in operations])


def _fuzz_table(rows: Rows) -> str:
    names = ["kind", "cases", "worked", "clear_errors", "failures"]
    return table([name.replace("_", " ") for name in names], [[f"{row[name]}" for name in names] for row in rows])


def _cost_table(rows: Rows) -> str:
    (row,) = rows
    cells = [
        ["checkpoints", f"{row['checkpoints']}"],
        ["of training time, by which steps were held", f"{row['held']:.2%}"],
        ["a step, median", f"{row['median_gap'] * 1e3:,.0f} ms"],
        ["longest step without checkpoints", f"{row['longest_gap_without'] * 1e3:,.0f} ms"],
        ["longest step with them", f"{row['longest_gap_with'] * 1e3:,.0f} ms"],
        ["steps that a checkpoint was begun in", _listed(gaps[0] for gaps in row["gaps_at_checkpoints"] if gaps)],
        ["the steps after them", _listed(gap for gaps in row["gaps_at_checkpoints"] for gap in gaps[1:])],
    ]
    return table(["what", "measured"], cells)


def _listed(gaps: Any) -> str:  # noqa: ANN401
    sorted_gaps = sorted(1e3 * gap for gap in gaps)
    return f"{sorted_gaps[0]:,.0f} to {sorted_gaps[-1]:,.0f} ms" if sorted_gaps else ""


def _growth_table(rows: Rows) -> str:
    names = ["tensors", "threads", "open files"]
    cells = []
    for row in rows:
        held = [f"{first} → {last}" for first, last in zip(row["held_first"], row["held_last"])]
        memory = f"{row['memory_first'] / 1e6:,.1f} → {row['memory_last'] / 1e6:,.1f} MB"
        cells.append([row["weighting"], row["rows"], f"{row['steps']:,}", memory, f"{row['growth']:+.2%}", *held])
    return table(["weighting", "rows", "steps", "memory", "growth", *names], cells)


TABLES: dict[str, tuple[str, Callable[[Rows], str]]] = {
    "kills": ("Kills", _kill_table),
    "faults": ("Faults in writing checkpoints", _fault_table),
    "fuzz": ("Broken inputs", _fuzz_table),
    "checkpoint_cost": ("Cost of checkpoints", _cost_table),
    "memory_growth": ("Memory", _growth_table),
}
"""By the name of the results, a title and what writes the table."""

if __name__ == "__main__":
    main()
