"""Writes MovieLens-1M as train, valid and test parquet files with two tasks: the rating, and whether it is 4 or 5.

python datasets/movielens_1m/prepare.py --source FOLDER [--split time|random] [--out FOLDER]
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from nextrec_like.data.splits import split_by_time, split_random
from nextrec_like.errors import InputError

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

from parts import PARTS, PartFiles, find_file, part_files  # noqa: E402

ORIGIN = "https://grouplens.org/datasets/movielens/1m/"
COLUMNS = {
    "ratings.dat": ["user_id", "movie_id", "rating", "time"],
    "users.dat": ["user_id", "gender", "age", "occupation", "zip_code"],
    "movies.dat": ["movie_id", "title", "genres"],
}
NUMBERS = ["user_id", "movie_id", "rating", "time", "age", "occupation"]
LIKED = 4
YEAR = re.compile(r"\((\d{4})\)$")


def read_dat(source: Path, name: str) -> pd.DataFrame:
    """One of the files: ISO 8859-1 text, ``::`` between values, no header.

    Raises:
        InputError: If a line has another number of values, or text where a number should be.
    """
    path, columns = find_file(source, name, ORIGIN), COLUMNS[name]
    rows = [line.split("::") for line in path.read_text(encoding="latin-1").split("\n") if line]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise InputError(
                f"{path} should have {'::'.join(columns)} in every line. Received {'::'.join(row)} in line {number:,}."
            )
    table = pd.DataFrame(rows, columns=columns)
    try:
        return table.astype({column: "int32" for column in columns if column in NUMBERS})
    except ValueError as error:
        raise InputError(f"{path} should have whole numbers where numbers belong: {error}.") from error


def read_movies(source: Path) -> pd.DataFrame:
    """Genres as a list, and the year, which the title ends with; -1 where it does not."""
    movies = read_dat(source, "movies.dat")
    years = movies["title"].str.strip().str.extract(YEAR, expand=False)
    genres = movies["genres"].str.strip().str.split("|")
    return pd.DataFrame({"movie_id": movies["movie_id"], "year": years.fillna("-1").astype("int32"), "genres": genres})


def join(ratings: pd.DataFrame, features: pd.DataFrame, key: str) -> pd.DataFrame:
    """The ratings with features of their user or movie.

    Raises:
        InputError: If one has no features, or has them twice.
    """
    if features[key].duplicated().any():
        raise InputError(f"`{key}` {features[key][features[key].duplicated()].iloc[0]} has more than one row.")
    unknown = ~ratings[key].isin(features[key])
    if unknown.any():
        raise InputError(
            f"ratings.dat has `{key}` {ratings[key][unknown].iloc[0]}, which the file of its features does not have."
        )
    return ratings.merge(features, on=key, how="left")


def with_labels(table: pd.DataFrame) -> pa.Table:
    """Adds ``like``, whose metadata name the column that it was read from.

    Raises:
        InputError: For a rating that is not 1 to 5.
    """
    wrong = table["rating"][~table["rating"].between(1, 5)]
    if len(wrong):
        raise InputError(f"A rating should be 1 to 5. Received {wrong.iloc[0]} in row {wrong.index[0]} of ratings.dat.")
    ratings = pa.Table.from_pandas(table, preserve_index=False)
    like = pa.array((table["rating"] >= LIKED).astype("int8"))
    return ratings.append_column(pa.field("like", pa.int8(), metadata={"derived_from": "rating"}), like)


def prepare(source: Path, split: str, files: PartFiles) -> str:
    """Reads, joins and divides the ratings, 80, 10 and 10 %.

    Returns:
        How many rows are of users that the training part knows.
    """
    ratings = join(read_dat(source, "ratings.dat"), read_dat(source, "users.dat"), "user_id")
    table = with_labels(join(ratings, read_movies(source), "movie_id"))
    tables = dict(zip(PARTS, split_random(table) if split == "random" else split_by_time(table, "time")))
    for part, rows in tables.items():
        files.write(part, rows)
    users = {part: rows["user_id"].to_pandas() for part, rows in tables.items()}
    shares = {part: users[part].isin(users["train"].unique()).mean() for part in ("valid", "test")}
    return ", ".join(f"{part} {share:.1%}" for part, share in shares.items())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare MovieLens-1M.")
    parser.add_argument("--source", type=Path, required=True, help="folder with the unpacked ml-1m.zip")
    parser.add_argument("--split", choices=("time", "random"), default="time")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, ["like"]) as files:
            known = prepare(arguments.source, arguments.split, files)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{files.summary()}\nrows of users that are in train: {known}")


if __name__ == "__main__":
    main()
