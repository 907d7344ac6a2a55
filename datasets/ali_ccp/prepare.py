"""Writes Ali-CCP as train, valid and test parquet files with two binary tasks, click and conversion.

python datasets/ali_ccp/prepare.py --source FOLDER [--share 1.0] [--out FOLDER]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nextrec_like.errors import InputError

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))

from parts import PartFiles, draw, find_file, part_files, share  # noqa: E402

ORIGIN = "https://tianchi.aliyun.com/dataset/408"
USER = {
    "101": "user_id",
    "121": "user_profile",
    "122": "user_group",
    "124": "user_gender",
    "125": "user_age",
    "126": "user_consumption_1",
    "127": "user_consumption_2",
    "128": "user_occupation",
    "129": "user_geography",
}
SAMPLE = {
    "205": "item_id",
    "206": "item_category",
    "207": "item_shop",
    "216": "item_brand",
    "508": "user_item_category",
    "509": "user_item_shop",
    "702": "user_item_brand",
    "853": "user_item_intention",
    "301": "position",
}
LABELS = ("click", "conversion")
VALID_SHARE = 0.1
CHUNK_ROWS = 250_000
ABSENT = -1

Ids = npt.NDArray[np.int64]


def feature_ids(features: str, wanted: dict[str, int]) -> list[int]:
    r"""The id of each wanted field in ``field \x02 id \x03 value``, repeated with \x01 in between.

    Args:
        features: The text.
        wanted: Position in the result of each field.

    Returns:
        Ids, -1 where a field is absent; the last one where it is repeated, as in the public loaders.

    Raises:
        ValueError: If the text is of another form.
    """
    ids = [ABSENT] * len(wanted)
    expected = features.count("\x01") + 1
    if (features.count("\x02"), features.count("\x03")) != (expected, expected):
        raise ValueError("the features are not all of the form field, \\x02, id, \\x03, value, with \\x01 in between")
    for feature in features.split("\x01"):
        field, _, rest = feature.partition("\x02")
        if field in wanted:
            ids[wanted[field]] = int(rest.partition("\x03")[0])
    return ids


def read_lines(path: Path, num_values: int) -> Iterator[list[str]]:
    """The comma-separated values of each line, of which the last holds features.

    Raises:
        InputError: If a line has another number of values.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            values = line.rstrip("\r\n").split(",")
            if len(values) != num_values:
                raise InputError(
                    f"{path} should have {num_values} comma-separated values in every line. "
                    f"Received {len(values)} in line {number:,}: is the file complete?"
                )
            yield values


def damaged(path: Path, number: int, error: Exception) -> InputError:
    return InputError(f"{path} is damaged or of another form in line {number:,}: {error}.")


def read_common(path: Path) -> tuple[dict[str, int], Ids]:
    """The user fields that many samples share.

    Returns:
        The row of each index in the table, and the table of ids, shape ``(rows, len(USER))``.
    """
    wanted = {field: position for position, field in enumerate(USER)}
    row_of: dict[str, int] = {}
    rows = []
    for number, (index, _, features) in enumerate(read_lines(path, 3), start=1):
        try:
            rows.append(np.array(feature_ids(features, wanted), np.int64))
        except ValueError as error:
            raise damaged(path, number, error) from error
        row_of[index] = len(rows) - 1
    return row_of, np.array(rows, np.int64).reshape(-1, len(USER))


def samples(path: Path, row_of: dict[str, int]) -> Iterator[tuple[int, int, str, int, list[int]]]:
    """Click, conversion, common index, its row, and the ids of `SAMPLE`, of each sample.

    Raises:
        InputError: If a line is damaged, or its common features are not there.
    """
    wanted = {field: position for position, field in enumerate(SAMPLE)}
    for number, (_, click, conversion, index, _, features) in enumerate(read_lines(path, 6), start=1):
        if index not in row_of:
            raise InputError(
                f"{path} names the common features {index} in line {number:,}, which the file of the common features "
                "does not have: is that one complete?"
            )
        try:
            yield int(click), int(conversion), index, row_of[index], feature_ids(features, wanted)
        except ValueError as error:
            raise damaged(path, number, error) from error


def read_chunks(skeleton: Path, common: Path) -> Iterator[tuple[pa.Table, pa.ChunkedArray]]:
    """The samples with their common features, at most `CHUNK_ROWS` at a time, and the common index of each row."""
    row_of, users = read_common(common)
    stream = samples(skeleton, row_of)
    while chunk := list(islice(stream, CHUNK_ROWS)):
        clicks, conversions, index, rows, ids = zip(*chunk)
        columns = dict(zip(USER.values(), users[np.array(rows)].T)) | dict(zip(SAMPLE.values(), np.array(ids).T))
        table = {name: pa.array(values, mask=values == ABSENT) for name, values in columns.items()}
        table |= {"click": pa.array(clicks, pa.int8()), "conversion": pa.array(conversions, pa.int8())}
        yield pa.table(table), pa.chunked_array([pa.array(index)])


def prepare(source: Path, kept_share: float, files: PartFiles) -> int:
    """Divides the training samples by their common features into train and valid; the test samples stay together.

    Returns:
        Number of samples left out because they have a conversion without a click.
    """
    left_out = 0
    for name in ("train", "test"):
        skeleton = find_file(source, f"sample_skeleton_{name}.csv", ORIGIN)
        common = find_file(source, f"common_features_{name}.csv", ORIGIN)
        for chunk, index in read_chunks(skeleton, common):
            impossible = chunk["conversion"].to_numpy() > chunk["click"].to_numpy()
            left_out += int(impossible.sum())
            part = np.where(draw(index, "valid") < VALID_SHARE, 1, 0) if name == "train" else 2
            kept = (draw(index, "share") < kept_share) & ~impossible
            files.divide(chunk, np.where(kept, part, -1))
    return left_out


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Prepare the Ali-CCP data set.")
    parser.add_argument("--source", type=Path, required=True, help="folder with the unpacked files")
    parser.add_argument("--share", type=share, default=1.0, help="share of the user records to keep, in (0, 1]")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        with part_files(arguments.out, LABELS) as files:
            left_out = prepare(arguments.source, arguments.share, files)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{files.summary()}\n{left_out:,} samples with a conversion but no click were left out.")


if __name__ == "__main__":
    main()
