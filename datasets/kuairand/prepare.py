"""Writes the standard logs of KuaiRand-1K or KuaiRand-Pure, with features, as train, valid and test parquet files.

python datasets/kuairand/prepare.py --source FOLDER [--variant 1k|pure] [--out FOLDER]
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nextrec_like.errors import InputError

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

from parts import PartFiles, find_file, part_files, read_chunks, require, whole_numbers  # noqa: E402

ORIGIN = "https://zenodo.org/records/10439422"
LOGS = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08")
LABELS = ("is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate")
LOG = {
    "user_id": pa.int64(),
    "video_id": pa.int64(),
    "date": pa.int32(),
    "hourmin": pa.int32(),
    "time_ms": pa.int64(),
    "tab": pa.int32(),
    "duration_ms": pa.float64(),
    **dict.fromkeys(LABELS, pa.int8()),
}
USER_CODES = ["is_lowactive_period", "is_live_streamer", "is_video_author", *(f"onehot_feat{i}" for i in range(18))]
RANGES = ("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range")
USER = {
    "user_active_degree": pa.string(),
    **dict.fromkeys(RANGES, pa.string()),
    **dict.fromkeys(USER_CODES, pa.float64()),
}
VIDEO = {
    "author_id": pa.float64(),
    "video_type": pa.string(),
    "upload_type": pa.string(),
    "music_type": pa.float64(),
    "tag": pa.string(),
}
FIRST_VALID_DAY, FIRST_TEST_DAY = 20220503, 20220506


class Lookup:
    """A table of features by an id, all of it in memory.

    Raises:
        InputError: If the file has no rows, or an id is missing or stands twice.
    """

    def __init__(self, path: Path, key: str, types: Mapping[str, pa.DataType]) -> None:
        chunks = list(read_chunks(path, {key: pa.int64(), **types}))
        if not chunks:
            raise InputError(f"{path} has no rows.")
        table = pa.concat_tables(chunks)
        require(table, [key])
        ids = table[key].to_numpy()
        self.order = np.argsort(ids)
        self.ids = ids[self.order]
        if (self.ids[1:] == self.ids[:-1]).any():
            raise InputError(f"{path} should have one row per `{key}`, but has some twice.")
        codes = [name for name, kind in types.items() if kind == pa.float64()]
        self.key, self.features = key, whole_numbers(table.drop_columns([key]), codes)

    def join(self, log: pa.Table) -> pa.Table:
        """The log with the features of its ids, which are missing where the id is not in the table."""
        ids = log[self.key].to_numpy()
        position = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        rows = pa.array(self.order[position], mask=self.ids[position] != ids)
        found = self.features.take(rows)
        for name in found.column_names:
            log = log.append_column(name, found[name])
        return log


def with_hour(log: pa.Table) -> pa.Table:
    """``hourmin``, such as 1730, becomes the hour."""
    return log.append_column("hour", pc.divide(log["hourmin"], 100)).drop_columns(["hourmin"])


def prepare(source: Path, variant: str, files: PartFiles) -> None:
    """Joins the logs with the features, and divides them by day."""
    paths = {
        name: find_file(source, f"{name}_{variant}.csv", ORIGIN)
        for name in (*LOGS, "user_features", "video_features_basic")
    }
    users = Lookup(paths["user_features"], "user_id", USER)
    videos = Lookup(paths["video_features_basic"], "video_id", VIDEO)
    for name in LOGS:
        for log in read_chunks(paths[name], LOG):
            require(log, ["user_id", "video_id", "date", "hourmin"])
            part = np.searchsorted([FIRST_VALID_DAY, FIRST_TEST_DAY], log["date"].to_numpy(), side="right")
            files.divide(videos.join(users.join(with_hour(log))), part)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare KuaiRand-1K or KuaiRand-Pure.")
    parser.add_argument("--source", type=Path, required=True, help="folder with the unpacked archive")
    parser.add_argument("--variant", choices=("1k", "pure"), default="1k")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, LABELS) as files:
            prepare(arguments.source, arguments.variant, files)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(files.summary())


if __name__ == "__main__":
    main()
