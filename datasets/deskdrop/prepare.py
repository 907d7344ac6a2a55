"""Writes the DeskDrop log as train, valid and test parquet files: does who opens an article like, bookmark, ... it?

python datasets/deskdrop/prepare.py --source FOLDER [--out FOLDER]
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from nextrec_like.data.splits import split_by_time
from nextrec_like.errors import InputError

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

from parts import part_files, require  # noqa: E402

ORIGIN = "https://www.kaggle.com/gspmoreira/articles-sharing-reading-from-cit-deskdrop"
FILE = "users_interactions.csv"
NAMES = {
    "timestamp": "time",
    "eventType": "event",
    "contentId": "article",
    "personId": "user",
    "userAgent": "agent",
    "userRegion": "region",
    "userCountry": "country",
}
TYPES = {**dict.fromkeys(NAMES, pa.string()), **dict.fromkeys(("timestamp", "contentId", "personId"), pa.int64())}
EVENTS = {"like": "LIKE", "bookmark": "BOOKMARK", "comment": "COMMENT CREATED", "follow": "FOLLOW"}
COUNTED = {"view": "VIEW", **EVENTS}
AGENTS = {  # the first that the text contains counts: Android says Linux, too
    "Android": "android",
    "iOS": "ios",
    "iPhone": "ios",
    "iPad": "ios",
    "Windows": "windows",
    "Macintosh": "mac",
    "Linux": "linux",
}
WINDOW = 7 * 24 * 3600
"""Seconds after the first view within which an event counts."""
FRACTIONS = (0.6, 0.2, 0.2)

Counts = npt.NDArray[np.int32]


def read_bytes(folder: Path) -> bytes:
    """The CSV file in a folder, plain or zipped.

    Raises:
        InputError: If it is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"`--source` should be a folder. Received {folder}, which is not one.")
    plain, zipped = folder / FILE, folder / f"{FILE}.zip"
    if plain.is_file():
        return plain.read_bytes()
    if not zipped.is_file():
        raise InputError(f"{folder} should hold {FILE} or {zipped.name}, and does not. It is at {ORIGIN}")
    try:
        with zipfile.ZipFile(zipped) as archive:
            return archive.read(FILE)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{zipped} is damaged or lacks {FILE} ({error}). Fetch it again: {ORIGIN}") from error


def read_events(content: bytes) -> pd.DataFrame:
    """All events in order of time, at equal times views first; lines that are there twice count once.

    Raises:
        InputError: If a column or a value is missing, a line is damaged, or an event has no known name.
    """
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content),
            convert_options=pa_csv.ConvertOptions(
                column_types=TYPES, include_columns=list(TYPES), null_values=["", "?"], strings_can_be_null=True
            ),
        )
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{FILE} should be a CSV file with the columns {', '.join(TYPES)}. {error}") from error
    require(table, ["timestamp", "eventType", "contentId", "personId"])
    events = table.to_pandas().rename(columns=NAMES)
    unknown = set(events["event"]) - set(COUNTED.values())
    if unknown:
        raise InputError(f"{FILE} has the eventType {unknown.pop()!r}. Known: {', '.join(COUNTED.values())}.")
    events = events.drop_duplicates().assign(is_action=lambda table: table["event"] != "VIEW")
    return events.sort_values(["time", "is_action", "user", "article"], kind="stable", ignore_index=True)


def first_views(events: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of user and article: its first event, if that is a view; pairs without one are left out."""
    first = events.drop_duplicates(["user", "article"])
    return first[~first["is_action"]].drop(columns=["event", "is_action"]).reset_index(drop=True)


def within_window(events: pd.DataFrame, views: pd.DataFrame) -> pd.DataFrame:
    """For each first view, whether each event followed in the window, as 0 and 1."""
    start = views.set_index(["user", "article"])["time"].rename("start")
    timed = events.join(start, on=["user", "article"], how="inner")
    timed = timed[timed["time"] <= timed["start"] + WINDOW]
    labels = {}
    for label, event in EVENTS.items():
        happened = pd.MultiIndex.from_frame(timed.loc[timed["event"] == event, ["user", "article"]].drop_duplicates())
        labels[label] = start.index.isin(happened).astype(np.int8)
    return pd.DataFrame(labels)


def count_before(events: pd.DataFrame, views: pd.DataFrame, column: str) -> dict[str, Counts]:
    """How many events of each kind the user or article of each row had, strictly before the row's time."""
    counts = {}
    for name, event in COUNTED.items():
        known = {key: group.to_numpy() for key, group in events[events["event"] == event].groupby(column)["time"]}
        none = np.empty(0, np.int64)
        rows = zip(views[column], views["time"], strict=True)
        counts[f"{column}_{name}s"] = np.array(
            [np.searchsorted(known.get(key, none), time) for key, time in rows], np.int32
        )
    return counts


def agent_kind(agents: pd.Series) -> pd.Series:
    """The system that a user agent names, `other` if none, missing where there is no agent."""
    kind = pd.Series("other", agents.index).where(agents.notna(), None)
    for word, name in reversed(AGENTS.items()):
        kind = kind.mask(agents.str.contains(word, regex=False, na=False), name)
    return kind


def rows(events: pd.DataFrame) -> pd.DataFrame:
    """One row per first view: what was known then, and what followed."""
    views = first_views(events)
    moment = pd.to_datetime(views["time"], unit="s")
    born = events.groupby("article")["time"].min()
    known: dict[str, npt.ArrayLike] = {
        "agent": agent_kind(views["agent"]),
        "hour": moment.dt.hour.astype("int8"),
        "weekday": moment.dt.day_of_week.astype("int8"),
        "article_age": (views["time"] - views["article"].map(born)) / 3600,
        **count_before(events, views, "user"),
        **count_before(events, views, "article"),
    }
    told = views.drop(columns="agent")
    return told.join(pd.DataFrame(known)).join(within_window(events, views))


def divide(table: pd.DataFrame, end: int) -> dict[str, pd.DataFrame]:
    """Parts by time, each without the rows whose window reaches into the next part or past the end of the log.

    Raises:
        InputError: If a part has no rows.
    """
    parts = dict(zip(("train", "valid", "test"), split_by_time(table, "time", FRACTIONS), strict=True))
    ends = [parts["valid"]["time"].min(), parts["test"]["time"].min(), end]
    for (name, part), stop in zip(parts.items(), ends, strict=True):
        parts[name] = part[part["time"] + WINDOW < stop]
        if parts[name].empty:
            raise InputError(f"`{name}` has no row of which the week after is known, too; {FILE} is too short a log.")
    return parts


def prepare(source: Path) -> dict[str, pd.DataFrame]:
    """Everything from the folder of the raw file to the three tables."""
    events = read_events(read_bytes(source))
    return divide(rows(events), int(events["time"].max()))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the DeskDrop data set.")
    parser.add_argument("--source", type=Path, required=True, help=f"folder with {FILE}, plain or zipped")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, list(EVENTS)) as files:
            for name, part in prepare(arguments.source).items():
                files.write(name, pa.Table.from_pandas(part, preserve_index=False))
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(files.summary())


if __name__ == "__main__":
    main()
