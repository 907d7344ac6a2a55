"""Writes the tables of docs/performance.md, and draws its plots, from the results of tests/benchmarks.

python docs/performance_page.py [--results FOLDER] [--page FILE]

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; it is made of ``<results>/NAME.json``, and the
plots are written beside that. What has no results is not measured, and the page says so.
"""

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from performance_plots import PLOTS
from performance_tables import TABLES, table
from performance_targets import TARGETS, Results

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MISSING = "Not measured.\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrites the page in place."""
    parser = argparse.ArgumentParser(description="Write the tables and plots of docs/performance.md.")
    parser.add_argument("--results", type=Path, default=DOCS / "performance", help="folder with the JSON files")
    parser.add_argument("--page", type=Path, default=DOCS / "performance.md")
    arguments = parser.parse_args(argv)
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.results.glob("*.json")}
    folder = Path(os.path.relpath(arguments.results, arguments.page.parent)).as_posix()
    text = BLOCK.sub(
        lambda match: f"{match[1]}{block(match[2], results, arguments.results, folder)}{match[3]}",
        arguments.page.read_text(encoding="utf-8"),
    )
    arguments.page.write_text(text, encoding="utf-8")


def block(name: str, results: Results, target: Path, folder: str) -> str:
    """What stands on the page under a name.

    Args:
        name: ``targets``, or a key of `TABLES`.
        results: What the benchmarks wrote, by their names.
        target: Where the plot goes.
        folder: The same, as the page links to it.
    """
    if name == "targets":
        return table(["what", "target", "measured", ""], [target.row(results) for target in TARGETS])
    if name not in results:
        return MISSING
    found = results[name]
    parts = [TABLES[name](found["results"]), machine(found)]
    if name in PLOTS:
        PLOTS[name](found["results"], target / f"{name}.svg")
        parts.append(f"![{name}]({folder}/{name}.svg)\n")
    return "\n".join(parts)


def machine(found: dict[str, Any]) -> str:
    """On what, with which versions, and when."""
    known, settings = found["machine"], found["settings"]
    rounds = f"{settings['rounds']} rounds on " if "rounds" in settings else ""
    peak = settings.get("peak")
    measured = (
        f" measured peak {peak['flops'] / 1e12:,.1f} TFLOP/s, {peak['bandwidth'] / 1e9:,.0f} GB/s;" if peak else ""
    )
    hardware = f"{known['gpu'] or known['cpu']}, {known['cores']} cores, {known['memory'] / 1e9:.0f} GB"
    versions = ", ".join(f"{name} {known[name]}" for name in ("torch", "numpy", "pyarrow"))
    return (
        f"{rounds}{hardware}, {known['threads']} threads;{measured} Python {known['python']}, {versions}; "
        f"commit `{known['commit']}`, {known['date'][:10]}.\n"
    )


if __name__ == "__main__":
    main()
