import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nextrec_like.data.columns import IdColumn, SequenceColumn
from nextrec_like.data.ids import FIRST
from nextrec_like.data.processor import DataProcessor
from nextrec_like.errors import InputError, InputWarning


def encode(column, train, test=None):
    """The encoded test rows, by default the training rows, of one column."""
    processor = DataProcessor([column]).fit({column.name: train})
    return processor.transform({column.name: train if test is None else test})[column.name].to_pylist()


def hash_id(text, size):
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return 2 + int.from_bytes(digest, "little") % (size - 2)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2, 3], [], None, [4, None]]),
        pa.array([[1, 2, 3], [], None, [4, None]], pa.large_list(pa.int32())),
        [np.array([1, 2, 3]), [], None, [4, None]],
        pd.Series([[1, 2, 3], [], None, [4, None]]),
        pa.chunked_array([pa.array([[1, 2, 3]]), pa.array([[], None, [4, None]], pa.list_(pa.int64()))]),
        pa.array([[9, 9], [1, 2, 3], [], None, [4, None], [9]]).slice(1, 4),
    ],
)
def test_the_newest_ids_of_each_list_are_kept(values):
    # kept are 2, 3, 4 and a missing one: each once, so the ids follow the values
    assert encode(SequenceColumn("x", max_len=2), values) == [[2, 3], [], [], [4, 1]]


def test_lists_of_fixed_size_are_read():
    values = np.array([[5, 6, 7], [8, 5, 7]])
    assert encode(SequenceColumn("x", max_len=2), values) == [[4, 2], [3, 2]]  # 7 twice, then 5 and 6
    sliced = pa.FixedSizeListArray.from_arrays(pa.array(range(6)), 2).slice(1, 2)
    assert encode(SequenceColumn("x"), sliced) == [[2, 3], [4, 5]]


def test_null_list_of_fixed_size_is_empty():
    values = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2))
    assert encode(SequenceColumn("x"), values) == [[2, 3], [], [4, 5]]


def test_encoded_sequence_is_a_list_of_64_bit_integers():
    processor = DataProcessor([SequenceColumn("x")]).fit({"x": [["a"]]})
    assert processor.transform({"x": [["a"], None]})["x"].type == pa.list_(pa.int64())


def test_only_kept_elements_count_for_the_vocabulary():
    processor = DataProcessor([SequenceColumn("x", max_len=1)]).fit({"x": [["old", "a"], ["b"]]})
    assert processor.vocabulary("x").to_pylist() == ["a", "b"]


def test_text_is_split_at_the_separator():
    column = SequenceColumn("x", separator="|", max_len=3)
    assert encode(column, ["b|a", "", None, " ", "z|a| b |a", "a||b"]) == [[3, 2], [], [], [], [2, 3, 2], [2, 1, 3]]


def test_integers_are_sequences_of_one_id_if_a_separator_is_given():
    column = SequenceColumn("x", separator="|")
    assert encode(column, ["12|7", "12"], [12, 7]) == [[2], [3]]


def test_hashed_sequence_has_hashed_ids():
    column = SequenceColumn("x", hash_size=100)
    assert encode(column, [["a"]], [["a", "b"], [], [None]]) == [[hash_id("a", 100), hash_id("b", 100)], [], [1]]


def test_hashed_lists_may_all_be_empty():
    assert encode(SequenceColumn("x", hash_size=100), pa.array([[], None], pa.list_(pa.string()))) == [[], []]


def test_unseen_and_rare_elements_are_unknown():
    column = SequenceColumn("x", min_count=2)
    assert encode(column, [["a", "a", "b"]], [["b", "a", "z"]]) == [[1, 2, 1]]


def test_all_lists_empty_is_not_an_error():
    assert encode(SequenceColumn("x"), [None, None], [["a"], None]) == [[1], []]
    assert encode(SequenceColumn("x"), pa.array([[], []], pa.list_(pa.string()))) == [[], []]


def test_text_without_a_separator_says_to_set_it():
    with pytest.raises(InputError, match=r"Column `x` holds .*string, not lists; set `separator`"):
        encode(SequenceColumn("x"), ["1|2"])


def test_sequence_column_of_numbers_is_an_error():
    with pytest.raises(InputError, match="Column `x` should hold lists of ids, but holds double"):
        encode(SequenceColumn("x"), [1.5])


def test_fractional_element_names_the_row():
    with pytest.raises(InputError, match=r"Column `x`, row 2: value 2\.5 is not an exact integer"):
        encode(SequenceColumn("x"), [[1.0, 2.0], [], [3.0, 2.5]])


# a shared vocabulary


def fit_shared(items, history, **kwargs):
    columns = [SequenceColumn("history", vocabulary_of="item", **kwargs), IdColumn("item")]
    return DataProcessor(columns).fit({"item": items, "history": history})


def test_shared_vocabulary_is_that_of_both_columns():
    processor = fit_shared([7, 7, 5], [[9, 5], [9, 9], []])
    table = processor.transform({"item": [5, 9, 1], "history": [[7], [9, 1], None]})
    assert processor.vocabulary("item").to_pylist() == [9, 5, 7]  # 9 three times, 5 and 7 twice
    assert table.to_pydict() == {"item": [3, 2, 1], "history": [[4], [2, 1], []]}
    assert processor.vocabulary("history").equals(processor.vocabulary("item"))


@pytest.mark.parametrize(
    ("items", "history", "separator"), [([7, 5], ["5|9", "a"], "|"), (["7", "5"], [[5, 9], [9, 5, 5]], None)]
)
def test_shared_vocabulary_of_integers_and_text_is_one_of_text(items, history, separator):
    processor = fit_shared(items, history, separator=separator)
    vocabulary = processor.vocabulary("item").to_pylist()
    assert vocabulary == (["5", "7", "9", "a"] if separator else ["5", "9", "7"])
    table = processor.transform({"item": [5, 9], "history": [["7", "5"], ["9"]]})
    known = {value: FIRST + position for position, value in enumerate(vocabulary)}
    assert table.to_pydict() == {"item": [known["5"], known["9"]], "history": [[known["7"], known["5"]], [known["9"]]]}


def test_sequences_without_one_known_element_are_warned_of():
    with pytest.warns(InputWarning, match="No value of column `x` is known from the training rows"):
        encode(SequenceColumn("x"), [[1, 2]], [[], [8, 9]] * 50)


def test_column_without_values_shares_the_vocabulary_of_the_other():
    assert fit_shared([7, 5], [None, None]).vocabulary("item").to_pylist() == [5, 7]
    assert fit_shared([None, None], [[7], [5]]).vocabulary("item").to_pylist() == [5, 7]


def test_sequence_shares_the_hash_of_its_id_column():
    columns = [IdColumn("item", hash_size=64), SequenceColumn("history", vocabulary_of="item")]
    table = DataProcessor(columns).fit_transform({"item": ["a"], "history": [["a", "b"]]})
    assert table.to_pydict() == {"item": [hash_id("a", 64)], "history": [[hash_id("a", 64), hash_id("b", 64)]]}
