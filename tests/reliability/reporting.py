"""The command lines and JSON files of the long runs, in the form of those of the benchmarks."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "benchmarks"))

from results import write_results  # noqa: E402

FOLDER = ROOT / "docs" / "reliability"
"""Where results go, and where docs/reliability_page.py reads them."""

__all__ = ["parser_of", "write_results"]


def parser_of(description: str) -> argparse.ArgumentParser:
    """A command line with the option that every long run has, ``--output``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON file")
    return parser
