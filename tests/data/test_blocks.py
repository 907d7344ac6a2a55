"""Parquet files in blocks that fit in memory."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextrec_like import InputError
from nextrec_like.data.arrow import ENCODED
from nextrec_like.data.blocks import ParquetBlocks, parquet_files
from nextrec_like.data.columns import IdColumn
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.tables import read_table


def write(file, columns, **options):
    pq.write_table(pa.table(columns), file, **options)
    return file


@pytest.fixture
def rows(tmp_path):
    """A file of 10 rows in row groups of 4, 4 and 2, and one of 3 rows with other types."""
    first = write(tmp_path / "1.parquet", {"a": np.arange(10), "b": [str(i) for i in range(10)]}, row_group_size=4)
    second = write(tmp_path / "2.parquet", {"a": [0.5, None, 1.5], "b": pa.nulls(3)})
    return [first, second]


@pytest.mark.parametrize("block_rows", [1, 3, 4, 100])
def test_blocks_in_order_are_the_table(rows, block_rows):
    blocks = ParquetBlocks(rows, block_rows=block_rows)
    tables = list(blocks.tables())
    assert blocks.num_rows == 13
    assert max(table.num_rows for table in tables) <= block_rows
    assert pa.concat_tables(tables).equals(read_table(rows))


def test_columns_are_read_in_the_order_asked_for(tmp_path):
    file = write(tmp_path / "x.parquet", {"a": [1], "a.b": [2], "c": [3]})
    assert [table.to_pydict() for table in ParquetBlocks([file], ["c", "a"]).tables()] == [{"c": [3], "a": [1]}]


def test_row_groups_without_rows_are_left_out(tmp_path):
    files = [write(tmp_path / "1.parquet", {"a": pa.array([], pa.int64())}), write(tmp_path / "2.parquet", {"a": [1]})]
    assert [table["a"].to_pylist() for table in ParquetBlocks(files).tables()] == [[1]]


def test_place_names_file_row_group_and_first_row(rows):
    places = [block.place for block in ParquetBlocks(rows[:1], block_rows=3).blocks()]
    assert places[:3] == [
        f"In row group 0 of `{rows[0]}`: ",
        f"In row group 0 of `{rows[0]}`, rows counted from its row 3: ",
        f"In row group 1 of `{rows[0]}`: ",
    ]


def test_mark_of_a_processor_is_kept_and_must_agree(tmp_path, refused):
    marked = pa.table({"a": [1]}).replace_schema_metadata({ENCODED: b"x", b"pandas": b"{}"})
    pq.write_table(marked, tmp_path / "1.parquet")
    assert ParquetBlocks([tmp_path / "1.parquet"]).schema.metadata == {ENCODED: b"x"}
    write(tmp_path / "2.parquet", {"a": [1]})
    with refused("were not encoded by the same processor", "1.parquet", "2.parquet"):
        ParquetBlocks(sorted(tmp_path.glob("*.parquet")))


def test_files_of_a_folder_or_list_are_found(rows, tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "x.csv").write_text("a\n1\n")
    assert parquet_files(str(tmp_path)) == rows == parquet_files(rows) == parquet_files(tuple(map(str, rows)))
    for other in ({"a": [1]}, [1, 2], [], tmp_path / "csv", [rows[0], tmp_path / "csv" / "x.csv"], None):
        assert parquet_files(other) is None


def test_different_columns_and_types_are_errors(rows, tmp_path, refused):
    other = write(tmp_path / "3.parquet", {"a": ["x"], "b": ["y"]})
    with refused("Column `a` holds int64", "and string in", "3.parquet"):
        ParquetBlocks([rows[0], other])
    with refused("3.parquet` has no column `c`"):
        ParquetBlocks([write(tmp_path / "4.parquet", {"a": [1], "b": ["y"], "c": [1]}), other])
    with refused("The table has no column `c`"):
        ParquetBlocks(rows, ["c"])


def test_types_that_go_with_a_column_of_nulls_but_not_with_each_other_are_an_error(tmp_path, refused):
    columns = [pa.nulls(1), [1], ["x"]]
    files = [write(tmp_path / f"{number}.parquet", {"a": column}) for number, column in enumerate(columns)]
    for read in (ParquetBlocks, read_table):
        with refused("Column `a` holds int64 in", "1.parquet` and string in", "2.parquet`"):
            read(files)


WIDE, ABOVE_INT64 = [1, 2, 3, 2**60 + 1], pa.array([1, 2, 3, 2**63], pa.uint64())


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [
        ([1.0], WIDE, ("int64", "double")),
        ([1], ABOVE_INT64, ("uint64", "int64")),
        ([[1.0]], [[number] for number in WIDE], ("list<element: int64>", "list<element: double>")),
    ],
)
def test_value_that_the_joined_type_cannot_hold_is_an_error(tmp_path, refused, first, second, kinds):
    files = [
        write(tmp_path / "1.parquet", {"a": first}),
        write(tmp_path / "2.parquet", {"a": second}, row_group_size=2),
    ]
    said = f"Column `a` holds {kinds[0]}, and all files together are read as {kinds[1]}, which cannot hold it"
    with refused(f"In row group 1 of `{files[1]}`: {said}", "write it with one type in all files"):
        list(ParquetBlocks(files).tables())
    with refused(f"In row group 1 of `{files[1]}`, rows counted from its row 1: {said}"):
        list(ParquetBlocks(files, block_rows=1).tables())
    with refused(f"In `{files[1]}`: {said}", "write it with one type in all files"):
        read_table(files)


def test_processor_names_the_file_whose_ids_the_joined_type_cannot_hold(tmp_path, refused):
    files = [write(tmp_path / "1.parquet", {"a": [1]}), write(tmp_path / "2.parquet", {"a": ABOVE_INT64})]
    with refused("In row group 0 of", "2.parquet`: Column `a` holds uint64", "read as int64"):
        DataProcessor([IdColumn("a")]).fit(files)


def test_no_rows_and_no_files_are_errors(tmp_path, refused):
    with refused("empty.parquet` has no rows"):
        ParquetBlocks([write(tmp_path / "empty.parquet", {"a": pa.array([], pa.int64())})])
    with refused("The list of files is empty"):
        ParquetBlocks([])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_file_that_is_no_parquet_is_an_error(tmp_path, refused, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with refused("x.parquet` could not be read", "Check that it is complete."):
        ParquetBlocks([tmp_path / "x.parquet"])


def test_file_that_is_gone_truncated_or_replaced_is_an_error(rows, tmp_path, refused):
    blocks = ParquetBlocks(rows)
    tables = blocks.tables()
    next(tables)
    write(rows[0], {"a": [1], "b": ["x"]})
    with refused("1.parquet` has changed since its rows were counted"):
        next(tables)
    rows[1].write_bytes(rows[1].read_bytes()[:-20])
    with refused("2.parquet` has changed"):
        list(blocks.read(blocks.row_groups[-1]))
    rows[1].unlink()
    with refused("2.parquet` could not be read", "No such file"):
        list(blocks.read(blocks.row_groups[-1]))


def test_file_that_is_written_in_place_within_a_row_group_is_an_error(tmp_path, refused):
    file = write(tmp_path / "x.parquet", {"a": list(range(1000))}, compression="none", use_dictionary=False)
    other = write(tmp_path / "y.parquet", {"a": list(range(1000, 2000))}, compression="none", use_dictionary=False)
    blocks = ParquetBlocks([file], block_rows=100).blocks()
    next(blocks)
    content = other.read_bytes()
    assert len(content) == file.stat().st_size
    with file.open("r+b") as target:
        target.write(content)
    with refused("In row group 0", "x.parquet` has changed since its rows were counted"):
        list(blocks)


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_damaged_page_is_an_error_or_read_in_full(tmp_path, compression):
    rng = np.random.default_rng(0)
    columns = {"a": rng.integers(0, 9, 5000), "b": rng.choice(["x", "yy"], 5000), "c": rng.normal(size=5000)}
    file = write(tmp_path / "x.parquet", columns, compression=compression, row_group_size=2000)
    state, whole = file.stat(), file.read_bytes()
    seen = 0
    for position in rng.integers(4, len(whole) - 2000, 60):
        damaged = bytearray(whole)
        damaged[position : position + 8] = rng.bytes(8)
        file.write_bytes(damaged)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        try:
            assert sum(table.num_rows for table in ParquetBlocks([file], block_rows=700).tables()) == 5000
        except InputError as error:
            assert "In row group" in str(error)  # noqa: PT017
            assert "x.parquet" in str(error)  # noqa: PT017
            seen += 1
    assert seen > 3 or compression == "none"


def test_checksum_tells_of_damage_that_could_be_decoded(tmp_path, refused):
    file = write(
        tmp_path / "x.parquet", {"a": np.arange(999.0)}, compression="none", use_dictionary=False,
        write_page_checksum=True,
    )  # fmt: skip
    content = bytearray(file.read_bytes())
    content[content.index(np.float64(500).tobytes())] ^= 1
    file.write_bytes(content)
    with refused("In row group 0", "x.parquet` could not be read", "CRC"):
        list(ParquetBlocks([file]).tables())


def test_row_group_is_not_read_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    file = write(tmp_path / "x.parquet", {"a": rng.normal(size=2_000_000)}, use_dictionary=False)
    before = pa.total_allocated_bytes()
    tables = ParquetBlocks([file], block_rows=10_000).tables()
    next(tables)
    assert pa.total_allocated_bytes() - before < 4e6  # of 16 MB
