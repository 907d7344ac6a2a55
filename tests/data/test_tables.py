import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from nextrec_like.data.arrow import column
from nextrec_like.data.tables import read_table
from nextrec_like.errors import InputError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_frame_keeps_columns_and_drops_the_index():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[7, 9])
    table = read_table(frame)
    assert table.to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert table.schema.metadata is None


def test_nan_in_a_float_column_is_missing():
    for data in (pd.DataFrame({"a": [1.0, np.nan]}), {"a": np.array([1.0, np.nan])}, {"a": [1.0, None]}):
        assert read_table(data).to_pydict() == {"a": [1.0, None]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Categorical(["b", None, "a"]), ["b", None, "a"]),
        (pd.array([1, None, 3], dtype="Int64"), [1, None, 3]),
        (pd.array(["x", None, "y"], dtype="string"), ["x", None, "y"]),
        (pd.array([True, None, False], dtype="boolean"), [True, None, False]),
        (pd.to_datetime(["2024-01-02", None]), [pd.Timestamp(2024, 1, 2), None]),
        ([True, False, True], [True, False, True]),
        ([[1, 2], [], None], [[1, 2], [], None]),
        ([np.array([1, 2]), np.array([3]), None], [[1, 2], [3], None]),
    ],
)
def test_frame_column_of_any_type_is_read(values, expected):
    frame = pd.DataFrame({"a": values})
    assert read_table(frame)["a"].to_pylist() == expected


def test_dict_of_arrays_of_many_kinds_is_read():
    data = {"a": np.arange(2), "b": [1.5, 2.5], "c": pa.array(["x", "y"]), "d": pd.Series([1, 2], index=[5, 6])}
    expected = {"a": [0, 1], "b": [1.5, 2.5], "c": ["x", "y"], "d": [1, 2]}
    assert read_table(data).to_pydict() == expected


def test_two_dimensional_array_becomes_a_column_of_lists():
    assert read_table({"a": np.array([[1, 2, 3], [4, 5, 6]])}).to_pydict() == {"a": [[1, 2, 3], [4, 5, 6]]}


def test_numpy_values_are_not_copied():
    values = np.arange(1000)
    chunk = read_table({"a": values})["a"].chunk(0)
    assert chunk.buffers()[1].address == values.ctypes.data


def test_arrow_table_is_returned_as_it_is():
    table = pa.table({"a": [1]})
    assert read_table(table) is table


def test_columns_are_selected_in_the_given_order():
    assert read_table({"a": [1], "b": [2], "c": [3]}, columns=["c", "a"]).column_names == ["c", "a"]


def test_input_is_never_changed():
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None], "c": [[1], [2, 3]]}, index=[3, 1])
    before = frame.copy(deep=True)
    read_table(frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("kind", [str, Path])
def test_parquet_file_is_read(tmp_path, kind):
    pd.DataFrame({"a": [1, 2]}, index=[5, 6]).to_parquet(tmp_path / "rows.parquet")
    assert read_table(kind(tmp_path / "rows.parquet"), columns=["a"]).to_pydict() == {"a": [1, 2]}


def test_parquet_column_is_not_mistaken_for_one_with_a_dot(tmp_path):
    pyarrow.parquet.write_table(pa.table({"a": [1], "a.b": [2]}), tmp_path / "rows.parquet")
    assert read_table(tmp_path / "rows.parquet", columns=["a"]).to_pydict() == {"a": [1]}


def test_csv_file_is_read_plain_and_compressed(tmp_path):
    text = "a,b\n1,x\n2,y\n"
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(text.encode()))
    expected = {"a": [1, 2], "b": ["x", "y"]}
    assert read_table(write(tmp_path / "rows.csv", text)).to_pydict() == expected
    assert read_table(tmp_path / "rows.csv.gz").to_pydict() == expected


def test_csv_word_na_is_text_in_a_text_column_and_missing_in_a_number_column(tmp_path):
    file = write(tmp_path / "rows.csv", 'country,age,empty\nNA,1,\nDE,NA,\n,3,\nnull,,\n"",5,\n')
    assert read_table(file).to_pydict() == {
        "country": ["NA", "DE", None, "null", None],
        "age": [1, None, 3, None, 5],
        "empty": [None] * 5,
    }


def test_csv_column_of_nothing_but_na_is_text(tmp_path):
    assert read_table(write(tmp_path / "rows.csv", "country,x\nNA,1\nNA,2\n"))["country"].to_pylist() == ["NA", "NA"]


def test_csv_column_named_as_text_keeps_zeros_and_words(tmp_path):
    file = write(tmp_path / "rows.csv", 'zip,n\n00501,007\nNA,1\n,2\n"",3\n501,4\n')
    expected = {"zip": ["00501", "NA", None, None, "501"], "n": [7, 1, 2, 3, 4]}
    assert read_table(file, text=["zip", "elsewhere"]).to_pydict() == expected
    assert read_table(file, ["zip"], text=["zip"]).to_pydict() == {"zip": expected["zip"]}


def test_text_has_no_effect_on_other_inputs(tmp_path):
    table = pa.table({"zip": [501]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    for data in (table, tmp_path / "rows.parquet", {"zip": [501]}, pd.DataFrame({"zip": [501]})):
        assert read_table(data, text=["zip"]).to_pydict() == {"zip": [501]}


def test_csv_files_agree_in_columns_of_text(tmp_path):
    files = [write(tmp_path / f"{i}.csv", f"zip\n{value}\n") for i, value in enumerate(["12", "", "A7", "1.5", "NA"])]
    files[1].write_text('zip\n""\n')
    assert read_table(files, text=["zip"]).to_pydict() == {"zip": ["12", None, "A7", "1.5", "NA"]}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("1", "2.5", [1.0, 2.5]),
        ("NA", "2", [None, 2]),
        ("2.5", "NA", [2.5, None]),
        ("NA", "DE", ["NA", "DE"]),
        ("NA", "NA", ["NA", "NA"]),
        ('""', "2024-01-01", [None, date(2024, 1, 1)]),
    ],
)
def test_csv_files_share_the_type_of_a_column(tmp_path, first, second, expected):
    files = [write(tmp_path / "1.csv", f"x\n{first}\n"), write(tmp_path / "2.csv", f"x\n{second}\n")]
    assert read_table(files).to_pydict() == {"x": expected}


@pytest.mark.parametrize("count", [1, 2])
def test_metadata_of_a_field_is_kept(tmp_path, count):
    field = pa.field("paid", pa.int64(), metadata={b"derived_from": b"time"})
    for number in range(count):
        pyarrow.parquet.write_table(
            pa.table([[number], [0]], pa.schema([field, ("x", pa.int64())])), tmp_path / f"{number}.parquet"
        )
    assert read_table(tmp_path, ["x", "paid"]).field("paid").metadata[b"derived_from"] == b"time"


def test_folder_is_read_in_the_order_of_names(tmp_path):
    write(tmp_path / "part_2.csv", "a,b\n3,z\n")
    write(tmp_path / "part_1.csv", "a,b\n1,x\n")
    write(tmp_path / "_SUCCESS", "")
    assert read_table(tmp_path).to_pydict() == {"a": [1, 3], "b": ["x", "z"]}


def test_list_of_files_is_read_in_the_given_order(tmp_path):
    files = [write(tmp_path / "2.csv", "a,b\n3,z\n"), write(tmp_path / "1.csv", "b,a\nx,1.5\n")]
    assert read_table(files).to_pydict() == {"a": [3.0, 1.5], "b": ["z", "x"]}


def test_missing_path_names_path_and_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no file or folder `rows\.csv`.*current folder") as caught:
        read_table("rows.csv")
    assert str(tmp_path) in str(caught.value)


def test_unknown_extension_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"rows\.xlsx` has an unknown extension.*\.csv"):
        read_table(write(tmp_path / "rows.xlsx", ""))


def test_folder_without_tables_is_an_error(tmp_path):
    with pytest.raises(InputError, match="has no file with extension"):
        read_table(tmp_path)


def test_folder_with_two_formats_is_an_error(tmp_path):
    write(tmp_path / "a.csv", "a\n1\n")
    write(tmp_path / "b.parquet", "")
    with pytest.raises(InputError, match=r"both \.csv and \.parquet"):
        read_table(tmp_path)


def test_empty_list_of_files_is_an_error():
    with pytest.raises(InputError, match="list of files is empty"):
        read_table([])


def test_files_with_different_columns_name_file_and_column(tmp_path):
    first, second = write(tmp_path / "1.csv", "a,b\n1,2\n"), write(tmp_path / "2.csv", "a,c\n1,2\n")
    with pytest.raises(InputError, match=r"2\.csv` has no column `b`, which .*1\.csv` has"):
        read_table([first, second])
    third = write(tmp_path / "3.csv", "a,b,c\n1,2,3\n")
    with pytest.raises(InputError, match=r"3\.csv` has a column `c`, which .*1\.csv` lacks"):
        read_table([first, third])


def test_files_with_different_types_name_file_and_column(tmp_path):
    files = [write(tmp_path / "1.csv", "code\n12\n"), write(tmp_path / "2.csv", "code\nA7\n")]
    with pytest.raises(InputError, match=r"`code` holds int64 in .*1\.csv` and string in .*2\.csv`"):
        read_table(files)


def test_files_encoded_by_different_processors_are_not_mixed(tmp_path):
    table = pa.table({"a": [1]})
    pyarrow.parquet.write_table(table, tmp_path / "1.parquet")
    marked = table.replace_schema_metadata({"nextrec_like.encoded": "x"})
    pyarrow.parquet.write_table(marked, tmp_path / "2.parquet")
    with pytest.raises(InputError, match="not encoded by the same processor"):
        read_table(tmp_path)


def test_broken_csv_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"rows\.csv` could not be read.*Expected 2 columns, got 3"):
        read_table(write(tmp_path / "rows.csv", "a,b\n1,2,3\n"))


def test_broken_parquet_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"rows\.parquet` could not be read"):
        read_table(write(tmp_path / "rows.parquet", "not parquet"))


@pytest.mark.parametrize("groups", [[2], [1, 3]])
def test_damaged_page_names_the_first_row_group_that_cannot_be_read(tmp_path, groups):
    rng = np.random.default_rng(0)
    file = tmp_path / "rows.parquet"
    table = pa.table({"a": rng.normal(size=400), "b": rng.normal(size=400)})
    pyarrow.parquet.write_table(table, file, row_group_size=100, use_dictionary=False, compression="zstd")
    content, footer = bytearray(file.read_bytes()), pyarrow.parquet.read_metadata(file)
    for group in groups:
        start = footer.row_group(group).column(1).data_page_offset
        content[start : start + 200] = bytes(200)
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"^In row group {groups[0]}: File `.*rows\.parquet` could not be read: "):
        read_table(file)
    assert read_table(file, ["a"]).equals(table.select(["a"]))


def test_unequal_lengths_name_both_columns():
    with pytest.raises(InputError, match="Columns `a` and `c` have 2 and 3 rows"):
        read_table({"a": [1, 2], "b": [1, 2], "c": [1, 2, 3]})


@pytest.mark.parametrize("data", [3, None, {1, 2}, [1, 2]])
def test_unsupported_data_is_an_error(data):
    with pytest.raises(InputError, match=f"should be a DataFrame.*Received {type(data).__name__}"):
        read_table(data)


@pytest.mark.parametrize("data", [pd.DataFrame({"a": []}), {"a": []}, {}, pa.table({"a": pa.array([], pa.int64())})])
def test_table_without_rows_is_an_error(data):
    with pytest.raises(InputError, match="The table has no rows"):
        read_table(data)


@pytest.mark.parametrize("values", [[1, "x"], [1.5, "x"], [object(), object()], [2**70, 1]])
def test_mixed_values_name_the_column_and_the_fix(values):
    for data in ({"a": values}, pd.DataFrame({"a": pd.Series(values, dtype=object)})):
        with pytest.raises(InputError, match=r"Column `a` does not hold values of one type.*astype"):
            read_table(data)


@pytest.mark.parametrize("values", ["text", 3, np.zeros((2, 2, 2))])
def test_value_that_is_no_column_is_an_error(values):
    with pytest.raises(InputError, match="Column `a` should be a list or an array"):
        read_table({"a": values})


def test_duplicate_columns_are_an_error(tmp_path):
    for data in (
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pa.table([[1], [2]], names=["a", "a"]),
        write(tmp_path / "rows.csv", "a,a\n1,2\n"),
    ):
        with pytest.raises(InputError, match="more than one column `a`"):
            read_table(data)


def test_missing_column_names_the_closest(tmp_path):
    pyarrow.parquet.write_table(pa.table({"item_id": [1]}), tmp_path / "rows.parquet")
    for data in ({"item_id": [1]}, pa.table({"item_id": [1]}), tmp_path / "rows.parquet"):
        with pytest.raises(InputError, match=r"no column `itemid`\. Did you mean `item_id`"):
            read_table(data, columns=["itemid"])


@pytest.mark.parametrize(
    ("what", "role"),
    [
        ("column", ""),
        ("feature", ", which is a feature"),
        ("label of task `click`:", ", which is the label of task `click`"),
        ("group_id", ", which is the group_id"),
        ("time column", ", which is the time column"),
    ],
)
def test_missing_column_says_what_it_is_to_the_user(what, role):
    with pytest.raises(InputError) as caught:
        column(pa.table({"click": [0, 1]}), "clik", what)
    assert str(caught.value) == f"The table has no column `clik`{role}. Did you mean `click`? Columns: click."


def test_csv_ids_that_pandas_wrote_as_floats_are_integers_again(tmp_path):
    pd.DataFrame({"user": [12, None, 7], "code": ["1.0", "x", "2.0"]}).to_csv(tmp_path / "log.csv", index=False)
    table = read_table(tmp_path / "log.csv", text=["user", "code"])
    assert table["user"].to_pylist() == ["12", None, "7"]
    assert table["code"].to_pylist() == ["1.0", "x", "2.0"]


def test_csv_and_parquet_in_one_list_may_have_other_columns_beside(tmp_path):
    pd.DataFrame({"a": [1], "extra": [5]}).to_csv(tmp_path / "1.csv", index=False)
    pd.DataFrame({"a": [2], "other": [6]}).to_parquet(tmp_path / "2.parquet")
    assert read_table([tmp_path / "1.csv", tmp_path / "2.parquet"], ["a"])["a"].to_pylist() == [1, 2]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_csv_with_another_separator_says_so(mark, tmp_path):
    (tmp_path / "log.csv").write_text(f"user{mark}click\n1{mark}0\n")
    with pytest.raises(InputError, match="separated by"):
        read_table(tmp_path / "log.csv")


def test_csv_that_is_not_utf8_says_so(tmp_path):
    (tmp_path / "log.csv").write_bytes("city,click\nK\xf6ln,0\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8 in column `city`"):
        read_table(tmp_path / "log.csv")
