import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from nextrec_like.data.columns import IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.processor import DataProcessor, is_encoded
from nextrec_like.errors import InputError
from nextrec_like.features import DenseFeature, FeatureSet, SequenceFeature, SparseFeature

COLUMNS = [
    NumericColumn("age in years", fill_value="mean"),
    NumericColumn("price", scaling="quantile", num_buckets=3),
    IdColumn("item.id", embedding_dim=8, embedding_name="item"),
    IdColumn("käse", hash_size=16),
    SequenceColumn("../history", vocabulary_of="item.id", max_len=2, pooling="target_attention", query="item.id"),
    SequenceColumn("tags", separator=","),
]


@pytest.fixture
def rows():
    return pd.DataFrame(
        {
            "user": ["u", "v", "w"],
            "age in years": [1 / 3, np.nan, 0.1],
            "price": [1.0, 2.0, 3.0],
            "item.id": [7, 5, 7],
            "käse": ["brie", None, "gouda"],
            "../history": [[5, 7, 9], [], None],
            "tags": ["a,b", "", "b"],
            "click": [0, 1, 0],
        },
        index=[4, 4, 2],
    )


@pytest.fixture
def processor(rows):
    return DataProcessor(COLUMNS).fit(rows)


def test_columns_are_replaced_and_others_pass_through(processor, rows):
    table = processor.transform(rows)
    assert table.column_names == list(rows.columns)
    assert table.select(["user", "click", "item.id", "../history", "tags"]).to_pydict() == {
        "user": ["u", "v", "w"],
        "click": [0, 1, 0],
        "item.id": [2, 3, 2],  # 7 three times, 5 once, 9 once
        "../history": [[2, 4], [], []],
        "tags": [[3, 2], [], [2]],
    }


def test_input_is_never_changed(processor, rows):
    before = rows.copy(deep=True)
    values = {name: rows[name].to_numpy(copy=True) for name in ("age in years", "price")}
    processor.transform(rows)
    DataProcessor([NumericColumn("price", "log1p", fill_value=0)]).fit_transform(values)
    pd.testing.assert_frame_equal(rows, before)
    np.testing.assert_array_equal(values["price"], [1.0, 2.0, 3.0])


def test_fit_transform_is_fit_then_transform(rows):
    both = DataProcessor(COLUMNS).fit_transform(rows)
    assert both.equals(DataProcessor(COLUMNS).fit(rows).transform(rows), check_metadata=True)


def test_features_have_the_fitted_sizes(processor):
    assert processor.features() == {
        "dense_features": [DenseFeature("age in years")],
        "sparse_features": [
            SparseFeature("price", vocab_size=5),
            SparseFeature("item.id", vocab_size=5, embedding_dim=8, embedding_name="item"),
            SparseFeature("käse", vocab_size=16),
        ],
        "sequence_features": [
            SequenceFeature("../history", 5, 2, 8, "item", pooling="target_attention", query="item.id"),
            SequenceFeature("tags", 4),
        ],
    }


def test_features_are_accepted_by_a_feature_set_and_share_the_table(processor):
    features = processor.features()
    checked = FeatureSet(features["dense_features"], features["sparse_features"], features["sequence_features"])
    assert checked.query_of(features["sequence_features"][0]).name == "item.id"


def test_sequence_shares_the_table_named_after_its_id_column():
    columns = [IdColumn("item"), SequenceColumn("history", vocabulary_of="item")]
    features = DataProcessor(columns).fit({"item": [1], "history": [[2]]}).features()
    assert features["sequence_features"][0].table == "item"


def test_own_embedding_of_a_sequence_wins_over_that_of_its_id_column():
    column = SequenceColumn("history", vocabulary_of="item", embedding_dim=4, embedding_name="past")
    processor = DataProcessor([IdColumn("item", embedding_dim=8), column]).fit({"item": [1], "history": [[2]]})
    feature = processor.features()["sequence_features"][0]
    assert (feature.embedding_dim, feature.embedding_name) == (4, "past")


def test_vocabulary_and_its_size(processor):
    assert processor.vocabulary("item.id").to_pylist() == [7, 5, 9]
    assert processor.vocab_size("item.id") == 5
    assert processor.vocab_size("käse") == 16


def test_vocabulary_of_a_column_without_one_is_an_error(processor):
    for name in ("price", "age in years", "käse"):
        with pytest.raises(InputError, match=f"Column `{name}` has no vocabulary"):
            processor.vocabulary(name)
    with pytest.raises(InputError, match="holds numbers and has no ids"):
        processor.vocab_size("age in years")
    with pytest.raises(InputError, match=r"Unknown column `item_id`\. Did you mean `item\.id`"):
        processor.vocab_size("item_id")


def test_result_is_marked_and_not_encoded_twice(processor, rows):
    table = processor.transform(rows)
    assert is_encoded(table)
    assert not is_encoded(rows)
    assert not is_encoded(pa.Table.from_pandas(rows))
    assert processor.transform(table) is table


def test_mark_survives_parquet(processor, rows, tmp_path):
    table = processor.transform(rows)
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert processor.transform(tmp_path / "rows.parquet").equals(table)


def test_metadata_of_the_input_is_kept_except_the_index_of_pandas(processor, rows):
    table = pa.Table.from_pandas(rows)
    table = table.replace_schema_metadata({**table.schema.metadata, b"origin": b"shop"})
    assert set(processor.transform(table).schema.metadata) == {b"origin", b"nextrec_like.encoded"}


def test_metadata_of_a_label_is_kept(tmp_path):
    fields = [pa.field("x", pa.string()), pa.field("paid", pa.int64(), metadata={b"derived_from": b"time"})]
    pyarrow.parquet.write_table(pa.table([["a"], [1]], pa.schema(fields)), tmp_path / "rows.parquet")
    encoded = DataProcessor([IdColumn("x")]).fit_transform(tmp_path / "rows.parquet")
    assert encoded.field("paid").metadata[b"derived_from"] == b"time"


def test_ids_of_csv_files_are_read_as_text(tmp_path):
    file, log = tmp_path / "rows.csv", pa.table({"zip": ["00501", "501", "A7"], "seen": ["7|00501", "7", ""]})
    file.write_text("zip,seen,n\n00501,7|00501,1\n501,7,2\nA7,,3\n", encoding="utf-8")
    processor = DataProcessor([IdColumn("zip"), SequenceColumn("seen", separator="|")]).fit(file)
    assert processor.read(file).to_pydict() == {
        "zip": ["00501", "501", "A7"],
        "seen": ["7|00501", "7", None],
        "n": [1, 2, 3],
    }
    assert processor.vocabulary("zip").to_pylist() == ["00501", "501", "A7"]
    assert processor.transform(file).select(["zip", "seen"]).equals(processor.transform(log))
    small = tmp_path / "small.csv"
    small.write_text("zip,seen\n501,7\n", encoding="utf-8")
    assert processor.transform(small).to_pydict() == {"zip": [3], "seen": [[2]]}


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (NumericColumn("x"), [1.0, None], "Column `x`, row 1: value nan is missing or infinite"),
        (NumericColumn("x", "log1p"), [0.0, 2.0, -1.0], r"Column `x`, row 2: value -1\.0 is not above -1"),
        (NumericColumn("x", "log1p", fill_value="mean"), [None, 9.0, -2.0], r"row 2: value -2\.0 is not above -1"),
        (NumericColumn("x", "quantile"), ["a"], "Column `x` should hold numbers"),
        (IdColumn("x"), [1.0, 2.5], r"Column `x`, row 1: value 2\.5 is not an exact integer"),
        (SequenceColumn("x"), [[1.0], [3.0, 2.5]], r"Column `x`, row 1: value 2\.5 is not an exact integer"),
        (IdColumn("y"), [1], "The table has no column `y`"),
    ],
)
def test_check_refuses_a_row_as_fit_does_without_being_fitted(column, values, message):
    for use in (DataProcessor([column]).check, DataProcessor([column]).fit):
        with pytest.raises(InputError, match=message):
            use({"x": values})


def test_check_takes_what_fit_takes(processor, rows):
    DataProcessor(COLUMNS).check(rows)
    DataProcessor(COLUMNS).check(processor.transform(rows))
    filled = NumericColumn("x", "log1p", fill_value="median")
    DataProcessor([filled]).check({"x": [None, float("-inf"), 3.0]})


def test_fingerprint_does_not_depend_on_chunks_but_on_values():
    def fingerprint(*chunks):
        return DataProcessor([IdColumn("x")]).fit({"x": pa.chunked_array(chunks)}).fingerprint

    assert fingerprint(["a", "b"], ["c"]) == fingerprint(["a"], ["b", "c"])
    others = [fingerprint(["ab", "c"]), fingerprint(["a", "bc"]), fingerprint(["ab"]), fingerprint([1, 2])]
    assert len({fingerprint(["a", "b", "c"]), *others}) == 5


def test_table_of_another_processor_is_an_error(processor, rows):
    other = DataProcessor(COLUMNS).fit(rows.iloc[:2])
    with pytest.raises(InputError, match="encoded by another processor"):
        other.transform(processor.transform(rows))
    with pytest.raises(InputError, match="encoded already; fit the processor on the raw"):
        other.fit(processor.transform(rows))


def test_every_use_before_fit_is_an_error(rows, tmp_path):
    processor = DataProcessor(COLUMNS)
    uses = [
        lambda: processor.transform(rows),
        processor.features,
        lambda: processor.vocabulary("item.id"),
        lambda: processor.vocab_size("item.id"),
        lambda: processor.save(tmp_path),
    ]
    for use in uses:
        with pytest.raises(InputError, match="not fitted; call `fit` with the training rows"):
            use()


def test_missing_column_names_the_closest(processor, rows):
    renamed = rows.rename(columns={"item.id": "item_id"})
    with pytest.raises(InputError, match=r"no column `item\.id`\. Did you mean `item_id`"):
        processor.transform(renamed)
    with pytest.raises(InputError, match=r"no column `item\.id`\. Did you mean `item_id`"):
        DataProcessor(COLUMNS).fit(renamed)


def test_fit_again_forgets_the_first_fit():
    processor = DataProcessor([IdColumn("x")]).fit({"x": ["a"]})
    assert processor.fit({"x": ["b"]}).vocabulary("x").to_pylist() == ["b"]


# saved and loaded


def test_loaded_processor_transforms_bitwise_equally(processor, rows, tmp_path):
    processor.save(tmp_path / "a" / "processor")
    (tmp_path / "a").rename(tmp_path / "moved")
    loaded = DataProcessor.load(tmp_path / "moved" / "processor")
    test = pd.concat([rows, rows.assign(price=-1.0, **{"item.id": 99, "käse": "x", "age in years": 1e7 / 3})])
    assert loaded.transform(test).equals(processor.transform(test), check_metadata=True)
    assert loaded.features() == processor.features()
    assert loaded.columns == processor.columns


def test_saved_files_are_named_by_position(processor, tmp_path):
    processor.save(tmp_path / "p")
    names = {file.name for file in (tmp_path / "p").iterdir()}
    assert names == {"processor.json", "vocabulary_2.parquet", "vocabulary_5.parquet"}
    assert [file.name for file in tmp_path.iterdir()] == ["p"]


def test_vocabulary_without_values_can_be_saved(tmp_path):
    DataProcessor([IdColumn("x")]).fit({"x": [None]}).save(tmp_path)
    assert DataProcessor.load(tmp_path).transform({"x": ["a"]})["x"].to_pylist() == [1]


def test_numpy_fill_value_can_be_saved(tmp_path):
    processor = DataProcessor([NumericColumn("x", fill_value=np.float32(0.1))]).fit({"x": [1.0, 2.0]})
    processor.save(tmp_path)
    table = processor.transform({"x": [None, 3.0]})
    assert DataProcessor.load(tmp_path).transform({"x": [None, 3.0]}).equals(table, check_metadata=True)


def test_loading_nothing_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"processor\.json` could not be read"):
        DataProcessor.load(tmp_path)


def test_loading_an_unknown_format_names_file_and_format(processor, tmp_path):
    processor.save(tmp_path)
    content = json.loads((tmp_path / "processor.json").read_text(encoding="utf-8"))
    (tmp_path / "processor.json").write_text(json.dumps({**content, "format": 99}), encoding="utf-8")
    with pytest.raises(InputError, match=r"processor\.json` has format 99"):
        DataProcessor.load(tmp_path)


@pytest.mark.parametrize(
    "damage", ["cut", "no columns", "odd column", "other number", "no vocabulary", "other vocabulary"]
)
def test_loading_damaged_files_names_the_file(processor, tmp_path, damage):
    processor.save(tmp_path)
    file, vocabulary = tmp_path / "processor.json", tmp_path / "vocabulary_2.parquet"
    text = file.read_text(encoding="utf-8")
    content = json.loads(text)
    damages = {
        "cut": lambda: file.write_text(text[:50], encoding="utf-8"),
        "no columns": lambda: file.write_text('{"format": 2}', encoding="utf-8"),
        "odd column": lambda: file.write_text(json.dumps({**content, "columns": [{"kind": "os"}]}), encoding="utf-8"),
        "other number": lambda: file.write_text(text.replace('"shift": 0.2', '"shift": 0.3'), encoding="utf-8"),
        "no vocabulary": vocabulary.unlink,
        "other vocabulary": lambda: pyarrow.parquet.write_table(pa.table({"value": [1, 2]}), vocabulary),
    }
    damages[damage]()
    with pytest.raises(InputError, match=r"In the processor saved in '"):
        DataProcessor.load(tmp_path)


# definitions


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NumericColumn(""), "Column name should be a non-empty string"),
        (lambda: NumericColumn("x", "standrad"), "Unknown scaling of column `x` `standrad`. Did you mean `standard`"),
        (lambda: NumericColumn("x", fill_value="meen"), "Unknown fill_value of column `x` `meen`. Did you mean `mean`"),
        (lambda: NumericColumn("x", fill_value=float("nan")), "`fill_value` of column `x` should be a finite number"),
        (lambda: NumericColumn("x", fill_value=[1]), "`fill_value` of column `x` should be a finite number"),
        (lambda: NumericColumn("x", "log1p", fill_value=-1), "should be above -1 for log1p. Received -1"),
        (lambda: NumericColumn("x", num_buckets=1), "`num_buckets` of column `x` .* at least 2. Received 1"),
        (lambda: NumericColumn("x", num_buckets=10**12), "`num_buckets` of column `x` is 1000000000000, above 100,000"),
        (lambda: NumericColumn("x", fill_value=10**400), "`fill_value` of column `x` should be a finite number"),
        (lambda: IdColumn("x", min_count=0), "`min_count` of column `x` .* at least 1. Received 0"),
        (lambda: IdColumn("x", hash_size=2), "`hash_size` of column `x` .* at least 3. Received 2"),
        (lambda: IdColumn("x", embedding_dim=0), "`embedding_dim` of column `x` .* at least 1. Received 0"),
        (lambda: IdColumn("x", embedding_name=""), "Embedding name should be a non-empty string"),
        (lambda: SequenceColumn("x", max_len=0), "`max_len` of column `x` .* at least 1. Received 0"),
        (lambda: SequenceColumn("x", separator=""), "`separator` of column `x` should be a non-empty string"),
        (lambda: SequenceColumn("x", pooling="men"), "Unknown pooling of column `x` `men`. Did you mean `mean`"),
        (lambda: SequenceColumn("x", vocabulary_of="y", min_count=2), "takes its ids from `y`; set `min_count`"),
        (lambda: SequenceColumn("x", vocabulary_of="y", hash_size=9), "takes its ids from `y`; set `min_count`"),
        (lambda: DataProcessor([]), "`columns` should be a non-empty list of NumericColumn"),
        (lambda: DataProcessor(IdColumn("x")), "`columns` should be a non-empty list of NumericColumn"),
        (lambda: DataProcessor(["x"]), "`columns` should hold .* objects. Received 'x'"),
        (lambda: DataProcessor([IdColumn("x"), NumericColumn("x")]), "Column `x` is given more than once"),
        (
            lambda: DataProcessor([IdColumn("item_id"), SequenceColumn("h", vocabulary_of="item")]),
            "vocabulary_of `item`, which is not an IdColumn. Did you mean `item_id`",
        ),
        (
            lambda: DataProcessor([IdColumn("item"), NumericColumn("price"), SequenceColumn("h", query="itme")]),
            "query `itme`, which is not an IdColumn or column of buckets. Did you mean `item`",
        ),
        (
            lambda: DataProcessor([NumericColumn("item"), SequenceColumn("h", vocabulary_of="item")]),
            "vocabulary_of `item`, which is not an IdColumn.*none",
        ),
    ],
)
def test_wrong_definition_is_an_error(build, message):
    with pytest.raises(InputError, match=message):
        build()
