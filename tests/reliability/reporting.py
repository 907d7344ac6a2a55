"""The command lines and JSON files of the long runs, in the form of those of the benchmarks, and their workload."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "benchmarks"))

from loops import build_model  # noqa: E402
from results import alternate, median_ratio, write_results  # noqa: E402
from workload import Columns, Workload, make_data  # noqa: E402

FOLDER = ROOT / "docs" / "reliability"
"""Where results go, and where docs/reliability_page.py reads them."""

__all__ = [
    "Columns",
    "Workload",
    "alternate",
    "build_model",
    "make_data",
    "median_ratio",
    "parser_of",
    "write_results",
]


def parser_of(description: str) -> argparse.ArgumentParser:
    """A command line with the option that every long run has, ``--output``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON file")
    return parser
