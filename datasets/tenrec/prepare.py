"""Writes Tenrec's click-through file as train, valid and test parquet files with four binary tasks.

python datasets/tenrec/prepare.py --source FOLDER [--share 0.1] [--out FOLDER]
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

from parts import PartFiles, draw, find_file, part_files, read_chunks, require, share  # noqa: E402

ORIGIN = "https://github.com/yuangh-x/2022-NIPS-Tenrec"
FILE = "ctr_data_1M.csv"
LABELS = ("click", "like", "share", "follow")
FEATURES = ("user_id", "item_id", "video_category", "gender", "age")
HISTORY = [f"hist_{number}" for number in range(1, 11)]
TYPES = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "video_category": pa.string(),
    "gender": pa.int32(),
    "age": pa.int32(),
    **dict.fromkeys(HISTORY, pa.int64()),
    **dict.fromkeys(LABELS, pa.int8()),
}
TRAIN_SHARE, VALID_SHARE = 0.8, 0.1


def with_history(chunk: pa.Table) -> pa.Table:
    """The ten columns of clicked items as one list per row, without the zeros that stand for "none"."""
    require(chunk, HISTORY)
    items = np.stack([chunk[name].to_numpy() for name in HISTORY], axis=1)
    present = items > 0
    offsets = np.concatenate([[0], present.sum(axis=1).cumsum()])
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(items[present], pa.int64()))
    return chunk.select([*FEATURES, *LABELS]).append_column("history", lists)


def prepare(source: Path, kept_share: float, files: PartFiles) -> None:
    """Divides the rows at random; which users are kept follows from their ids alone."""
    generator = np.random.default_rng(0)
    for chunk in read_chunks(find_file(source, FILE, ORIGIN), TYPES):
        position = generator.random(len(chunk))
        part = np.searchsorted([TRAIN_SHARE, TRAIN_SHARE + VALID_SHARE], position, side="right")
        kept = draw(chunk["user_id"], "share") < kept_share
        files.divide(with_history(chunk), np.where(kept, part, -1))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the click-through file of Tenrec.")
    parser.add_argument("--source", type=Path, required=True, help=f"folder with {FILE}")
    parser.add_argument("--share", type=share, default=0.1, help="share of the users to keep, in (0, 1]")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, LABELS) as files:
            prepare(arguments.source, arguments.share, files)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(files.summary())


if __name__ == "__main__":
    main()
