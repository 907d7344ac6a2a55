"""The input contract: each broken table with the words of the answer, whoever reads it and in whatever form."""

from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import GOOD

from nextrec_like import (
    DataProcessor,
    DenseFeature,
    IdColumn,
    NumericColumn,
    SequenceColumn,
    SequenceFeature,
    SharedBottom,
    SparseFeature,
    Task,
)
from nextrec_like.cli import main

LABELS = {"is_click", "buy", "price"}
TAKEN, ABSENT = None, None

# name: the columns that are replaced, the words of a model that reads columns as they are and, where they differ, those
# of a processor, which takes some of them.
BAD = {
    "NaN number": ({"age": [1.0, np.nan, 3.0]}, ["`age`", "nan", "row 1", "finite", "fill"]),
    "missing number": ({"age": pd.array([1, None, 3], dtype="Int64")}, ["`age`", "row 1", "fill"]),
    "infinite number": ({"age": [1.0, 2.0, -np.inf]}, ["`age`", "-inf", "row 2"]),
    "number too large": ({"age": [1.0, 1e300, 3.0]}, ["`age`", "1e+300", "row 1", "float32"], ["`age`", "too large"]),
    "text number": ({"age": ["a", "2", "3"]}, ["`age`", "string", "numbers"]),
    "date number": ({"age": pd.to_datetime(["2020", "2021", "2022"])}, ["`age`", "numbers"]),
    "list for a number": ({"age": [[1.0, 2.0]] * 3}, ["`age`", "dim 1", "row 0", "2 values"], ["`age`", "list"]),
    "number for a list": ({"pair": [1.0, 2.0, 3.0]}, ["`pair`", "dim 2", "one value per row"], TAKEN),
    "list of wrong length": (
        {"pair": [[1.0, 2.0], [1.0], [1.0, 2.0]]},
        ["`pair`", "dim 2", "row 1", "1 values"],
        TAKEN,
    ),
    "missing list": ({"pair": [[1.0, 2.0], None, [1.0, 2.0]]}, ["`pair`", "dim 2", "row 1"], TAKEN),
    "NaN in a list": ({"pair": [[1.0, 2.0], [1.0, np.nan], [1.0, 2.0]]}, ["`pair`", "nan", "row 1"], TAKEN),
    "id too large": ({"user": [0, 5, 1]}, ["`user`", "5", "row 1", "[0, 5)", "vocab_size"], TAKEN),
    "huge id": ({"user": [0, 1, 2**62]}, ["`user`", str(2**62), "row 2"], TAKEN),
    "huge unsigned id": (
        {"user": np.array([0, 2**64 - 1, 1], np.uint64)},
        ["`user`", str(2**64 - 1), "row 1"],
        ["`user`", "2**63"],
    ),
    "negative id": ({"user": [0, 1, -1]}, ["`user`", "-1", "row 2", "[0, 5)"], TAKEN),
    "many bad ids": ({"user": [9, 8, 7]}, ["`user`", "9", "row 0", "3 such values"], TAKEN),
    "NaN id": ({"user": [0, np.nan, 1]}, ["`user`", "nan", "row 1", "not an id"], TAKEN),
    "missing id": ({"user": pd.array([0, None, 1], dtype="Int64")}, ["`user`", "row 1", "not an id"], TAKEN),
    "infinite id": ({"user": [0, np.inf, 1]}, ["`user`", "inf", "row 1"]),
    "fractional id": ({"user": [0, 1.7, 1]}, ["`user`", "1.7", "row 1", "integer"]),
    "text id": ({"user": ["a", "b", "c"]}, ["`user`", "string", "IdColumn"], TAKEN),
    "category id": ({"user": pd.Categorical(["a", "b", "c"])}, ["`user`", "IdColumn"], TAKEN),
    "sequence id too large": ({"hist": [[1], [2, 3, 9], [1]]}, ["`hist`", "9", "row 1", "[0, 5)"], TAKEN),
    "dropped id too large": ({"hist": [[1], [9, 2, 3], [1]]}, ["`hist`", "9", "row 1"], TAKEN),
    "missing id in a sequence": ({"hist": [[1], [2], [3, None]]}, ["`hist`", "row 2", "not an id"], TAKEN),
    "fraction in a sequence": ({"hist": [[1.5], [2], [3]]}, ["`hist`", "1.5", "row 0", "integer"]),
    "text sequence": ({"hist": ["1|2", "3", "4"]}, ["`hist`", "list per row"], ["`hist`", "string", "`separator`"]),
    "number for a sequence": ({"hist": [1, 2, 3]}, ["`hist`", "list per row"], ["`hist`", "int64", "`separator`"]),
    "label 2": ({"is_click": [0, 2, 1]}, ["`is_click`", "`click`", "2", "row 1", "neither 0 nor 1", "regression"]),
    "label near 1": ({"is_click": [0, 1 + 1e-9, 1]}, ["`is_click`", "row 1", "neither 0 nor 1"]),
    "label -1": ({"is_click": [0, -1, 1]}, ["`is_click`", "-1", "row 1", "NaN"]),
    "label 0.5": ({"is_click": [0.5, 0, 1]}, ["`is_click`", "0.5", "row 0"]),
    "text label": ({"is_click": ["yes", "no", "no"]}, ["`is_click`", "`click`", "string", "number"]),
    "infinite value": ({"price": [1.0, np.inf, 0.0]}, ["`price`", "inf", "row 1", "not a finite"]),
    "child without parent": ({"buy": [0, 1, 0]}, ["`buy`", "label 1", "row 1", "`click`", "label 0"]),
    "missing feature": ({"age": ABSENT, "agee": [1.0, 2.0, 3.0]}, ["no column `age`", "Did you mean `agee`?"]),
    "missing label": ({"buy": ABSENT}, ["no column `buy`", "Columns: "]),
    "no rows": ({name: [] for name in GOOD}, ["no rows; give at least one row"]),
}
NO_CSV = {
    "huge unsigned id": "a CSV file gives it as the number 1.8446744073709552e+19",
    **{case: "a CSV file has no lists" for case in BAD if set(BAD[case][0]) <= {"hist", "pair"}},
    "list for a number": "a CSV file has no lists",
}
FEATURES = {
    "dense_features": [DenseFeature("age"), DenseFeature("pair", dim=2)],
    "sparse_features": [SparseFeature("user", 5)],
    "sequence_features": [SequenceFeature("hist", 5, max_len=2)],
}
COLUMNS = [NumericColumn("age"), IdColumn("user"), SequenceColumn("hist", max_len=2)]
TASKS = [Task("click", label="is_click"), Task("buy", parent="click"), Task("price", kind="regression")]

CONFIG = """\
data: {train: bad.parquet, valid: good.parquet, test: good.parquet}
features: FEATURES
tasks: [{name: click, label: is_click}, {name: buy, parent: click}, {name: price, kind: regression}]
model: {name: shared_bottom, bottom_params: {dims: [2]}, tower_params: {dims: []}}
training: {metrics: [logloss], device: cpu}
comparison: {weightings: [equal, pcgrad], seeds: [0, 1]}
"""
SECTIONS = {
    "encoded": "{encoded: true, dense: [age, {name: pair, dim: 2}], sparse: [{name: user, vocab_size: 5}], "
    "sequence: [{name: hist, vocab_size: 5, max_len: 2}]}",
    "raw": "{dense: [age], sparse: [user], sequence: [{name: hist, max_len: 2}]}",
    "flat": "{encoded: true, dense: [age], sparse: [{name: user, vocab_size: 5}]}",
}


def words_of(case, reader):
    """What the reader says; None if it takes the table."""
    changes, *words = BAD[case]
    if reader == "predict" and set(changes) <= LABELS:
        return TAKEN
    return words[-1] if reader == "raw" else words[0]


def columns_of(case):
    return {name: values for name, values in {**GOOD, **BAD[case][0]}.items() if values is not ABSENT}


def frame_of(case):
    return pd.DataFrame(columns_of(case))


def forms_of(case, folder):
    """The table in each form that a reader takes."""
    frame = frame_of(case)
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(arrow, folder / "bad.parquet")
    return [columns_of(case), frame, arrow, folder / "bad.parquet"]


def content_of(data):
    """All that a reader could change."""
    if isinstance(data, pd.DataFrame):
        return repr(data.to_dict()), list(data.dtypes)
    if isinstance(data, pa.Table):
        return data.schema, repr(data.to_pydict())
    return repr(data) if isinstance(data, dict) else files_in(data.parent)


def files_in(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def files_kept(workplace):
    """Files but those of comparisons, which keep a record of trainings that failed."""
    return {path: content for path, content in files_in(workplace).items() if "raw-compare" not in path.parts}


def check(call, data, words, refused):
    """That a call refuses the data in these words, or takes them, and leaves them as they were."""
    before = content_of(data)
    if words is TAKEN:
        call(data)
    else:
        with refused(*words):
            call(data)
    assert content_of(data) == before


@pytest.fixture(scope="module")
def model():
    model = SharedBottom(**FEATURES, target=TASKS, bottom_params={"dims": [2]}, tower_params={"dims": []})
    model.compile()
    model.fit(GOOD, device="cpu", verbose=0)
    return model


@pytest.mark.parametrize("streaming", [False, True], ids=["in memory", "streamed"])
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("case", BAD)
def test_model_names_column_row_and_value(case, method, streaming, model, tmp_path, refused):
    options = {"verbose": 0} if method == "fit" else {}
    for data in forms_of(case, tmp_path)[-1 if streaming else 0 :]:
        call = partial(getattr(model, method), device="cpu", streaming=streaming, **options)
        check(call, data, words_of(case, method), refused)


@pytest.mark.parametrize("case", [case for case in BAD if not set(BAD[case][0]) <= LABELS])
def test_processor_names_column_row_and_value(case, tmp_path, refused):
    fitted = DataProcessor(COLUMNS).fit(GOOD)
    for data in forms_of(case, tmp_path):
        for call in (DataProcessor(COLUMNS).fit, DataProcessor(COLUMNS).fit_transform, fitted.transform):
            check(call, data, words_of(case, "raw"), refused)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with good rows, configurations, and a run of each."""
    folder = tmp_path_factory.mktemp("work")
    pd.DataFrame(GOOD).to_parquet(folder / "good.parquet", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, features in SECTIONS.items():
            (folder / f"{name}.yaml").write_text(CONFIG.replace("FEATURES", features))
            assert main(["train", f"{name}.yaml", "--set", "data.train=good.parquet"]) == 0
    return folder


def command_of(name, features, file):
    """A command that reads the file."""
    if name in ("train", "compare"):
        return [name, f"{features}.yaml", "--set", f"data.train={file}"]
    output = ["--output", "p.parquet", "--overwrite"] if name == "predict" else []
    return [name, f"runs/{features}-001", "--data", file, "--device", "cpu", *output]


@pytest.fixture
def check_command(workplace, monkeypatch, capfd):
    """That a command refuses a file in these words on one line, or takes it, and leaves no trace."""
    monkeypatch.chdir(workplace)

    def run(name, features, file, words):
        before = files_kept(workplace)
        capfd.readouterr()
        status = main(command_of(name, features, file))
        error = capfd.readouterr().err
        if words is TAKEN:
            assert (status, "error" in error) == (0, False)
            return
        lines = [line for line in error.splitlines() if not line.startswith("warning: ")]
        assert (status, len(lines), lines[0][:7]) == (2, 1, "error: ")
        assert [word for word in words if word not in lines[0]] == []
        assert files_kept(workplace) == before

    return run


@pytest.mark.parametrize("command", ["train", "compare", "evaluate", "predict"])
@pytest.mark.parametrize("case", BAD)
def test_command_names_column_row_and_value(case, command, workplace, check_command):
    pq.write_table(pa.Table.from_pandas(frame_of(case), preserve_index=False), workplace / "bad.parquet")
    words = words_of(case, command)
    check_command(command, "encoded", "bad.parquet", words)
    raw = words_of(case, "raw")
    if words is not TAKEN and raw is not TAKEN:  # what is taken trains, and that costs time
        check_command(command, "raw", "bad.parquet", raw)


@pytest.mark.parametrize("command", ["train", "compare", "evaluate", "predict"])
@pytest.mark.parametrize("case", [case for case in BAD if case not in NO_CSV])
def test_command_says_the_same_of_a_csv_file(case, command, workplace, check_command):
    frame_of(case).drop(columns=["pair", "hist"]).to_csv(workplace / "bad.csv", index=False)
    check_command(command, "flat", "bad.csv", words_of(case, command))
