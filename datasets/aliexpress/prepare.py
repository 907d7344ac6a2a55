"""Writes one country of the AliExpress search log, in MTReclib's CSV form, as train, valid and test parquet files.

python datasets/aliexpress/prepare.py --source FOLDER [--country NL] [--share 1.0] [--out FOLDER]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from nextrec_like.errors import InputError

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

from parts import PartFiles, draw, find_file, part_files, read_chunks, require, share, whole_numbers  # noqa: E402

ORIGIN = "https://github.com/easezyc/Multitask-Recommendation-Library (Datasets, processed)"
COUNTRIES = ("NL", "ES", "FR", "US")
CATEGORICAL = [f"categorical_{number}" for number in range(1, 17)]
NUMERICAL = [f"numerical_{number}" for number in range(1, 64)]
LABELS = ("click", "conversion")
TYPES = {
    "search_id": pa.string(),
    **dict.fromkeys(CATEGORICAL, pa.float64()),
    **dict.fromkeys(NUMERICAL, pa.float32()),
    **dict.fromkeys(LABELS, pa.int8()),
}
VALID_SHARE = 0.1


def country_folder(source: Path, country: str) -> Path:
    """``AliExpress_NL`` in a folder, or the folder itself if that is its name.

    Raises:
        InputError: If neither is there; names the countries that are.
    """
    name = f"AliExpress_{country}"
    if source.name == name and source.is_dir():
        return source
    if not (source / name).is_dir():
        present = ", ".join(path.name for path in sorted(source.glob("AliExpress_*"))) or "none"
        raise InputError(f"{source} should hold the folder {name}. Found: {present}. It is at {ORIGIN}")
    return source / name


def prepare(folder: Path, kept_share: float, files: PartFiles) -> None:
    """Divides the training file by search page into train and valid; the test file stays what it is."""
    for name in ("train", "test"):
        for raw in read_chunks(find_file(folder, f"{name}.csv", ORIGIN), TYPES):
            require(raw, ["search_id"])
            chunk = whole_numbers(raw, CATEGORICAL)
            part = np.where(draw(chunk["search_id"], "valid") < VALID_SHARE, 1, 0) if name == "train" else 2
            kept = draw(chunk["search_id"], "share") < kept_share
            files.divide(chunk, np.where(kept, part, -1))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare one country of the AliExpress search data set.")
    parser.add_argument("--source", type=Path, required=True, help="folder with AliExpress_NL/{train,test}.csv or more")
    parser.add_argument("--country", choices=COUNTRIES, default="NL")
    parser.add_argument("--share", type=share, default=1.0, help="share of the search pages to keep, in (0, 1]")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, LABELS) as files:
            prepare(country_folder(arguments.source, arguments.country), arguments.share, files)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(files.summary())


if __name__ == "__main__":
    main()
