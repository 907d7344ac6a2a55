"""Writes the Beibei pairs of KAIST's AI607 project as train, valid and test parquet files: click -> cart -> buy.

python datasets/beibei/prepare.py --source FOLDER [--out FOLDER]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from nextrec_like.data.splits import split_random
from nextrec_like.errors import InputError

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

from parts import part_files  # noqa: E402

URL = "https://github.com/axellundin/AI607-term-project"
PAIRS_FILE, OTHERS_FILE = "task1_val_answers.tsv", "task2_train.tsv"
COLUMNS = ["user", "item", "level"]
LEVELS = {"click": 1, "cart": 2, "buy": 3}
"""The smallest level at which each event has happened; level 0 is a pair that was drawn at random."""
FRACTIONS = (0.7, 0.1, 0.2)


def read_pairs(path: Path, levels: Sequence[int]) -> pd.DataFrame:
    """User, item and level of each line.

    Raises:
        InputError: If the file is missing, or a line is not what it should be.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing. `--source` should be the folder `data` of {URL}")
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=COLUMNS),
            parse_options=pa_csv.ParseOptions(delimiter="\t"),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.int32()), null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} should hold user, item and level, integers with tabs between. {error}") from error
    pairs = table.to_pandas()
    wrong = pairs.index[~pairs["level"].isin(levels)]
    if len(wrong):
        raise InputError(f"{path}, line {wrong[0] + 1}: level {pairs['level'][wrong[0]]} is not one of {list(levels)}.")
    twice = pairs.index[pairs.duplicated(["user", "item"])]
    if len(twice):
        raise InputError(f"{path}, line {twice[0] + 1}: the same user and item are in an earlier line.")
    return pairs


def count_items(others: pd.DataFrame) -> pd.DataFrame:
    """How many other users put an item into their cart, and bought it, with the items as index."""
    happened = pd.DataFrame({f"item_{event}s": others["level"] >= LEVELS[event] for event in ("cart", "buy")})
    return happened.groupby(others["item"]).sum()


def join(pairs: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The pairs with the labels of each event and with the counts of their item among other users.

    Raises:
        InputError: If a user is in both tables, so that a count could hold the pair that it describes.
    """
    both = set(pairs["user"]) & set(others["user"])
    if both:
        raise InputError(
            f"{len(both)} users, such as {min(both)}, are in {PAIRS_FILE} and in {OTHERS_FILE}. Counts of items "
            "must come from other users only; the files do not belong together."
        )
    counts = count_items(others).reindex(pairs["item"], fill_value=0).astype("int32").reset_index(drop=True)
    labels = {event: (pairs["level"] >= level).astype("int8") for event, level in LEVELS.items()}
    return pairs[["user", "item"]].join(counts).assign(**labels)


def prepare(source: Path) -> dict[str, pd.DataFrame]:
    """Everything from a folder of raw files to the three tables."""
    if not source.is_dir():
        raise InputError(f"`--source` should be a folder. Received {source}, which is not one.")
    table = join(read_pairs(source / PAIRS_FILE, range(4)), read_pairs(source / OTHERS_FILE, (2, 3)))
    train, valid, test = split_random(table, FRACTIONS, seed=0)
    return {"train": train, "valid": valid, "test": test}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the Beibei data set.")
    parser.add_argument("--source", type=Path, required=True, help=f"folder with {PAIRS_FILE} and {OTHERS_FILE}")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, list(LEVELS)) as files:
            for name, part in prepare(arguments.source).items():
                files.write(name, pa.Table.from_pandas(part, preserve_index=False))
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(files.summary())


if __name__ == "__main__":
    main()
