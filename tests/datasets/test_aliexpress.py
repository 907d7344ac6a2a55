from zlib import crc32

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rows import aliexpress_rows, load_recipe, run_recipe, train_config

recipe = load_recipe("aliexpress")
COLUMNS = ["search_id", *recipe.CATEGORICAL, *recipe.NUMERICAL, *recipe.LABELS]


def country(pages, items=3, first=0):
    """A file of one country: `items` items on each page; the country and the row can be read from the values."""
    rows = pages * items
    table = pd.DataFrame({"search_id": np.repeat([f"{first + page}" for page in range(pages)], items)})
    for number, name in enumerate(recipe.CATEGORICAL, start=1):
        table[name] = np.arange(rows) % 4 + number
    for number, name in enumerate(recipe.NUMERICAL, start=1):
        table[name] = np.arange(rows) / 8 + number
    table["click"] = np.arange(rows) % 3 == 0
    table["conversion"] = np.arange(rows) % 6 == 0
    return table.astype({"click": int, "conversion": int})[COLUMNS]


def write(folder, name, train, test):
    target = folder / "source" / f"AliExpress_{name}"
    target.mkdir(parents=True)
    train.to_csv(target / "train.csv", index=False)
    test.to_csv(target / "test.csv", index=False)
    return target


def test_the_training_file_is_divided_by_page_and_the_test_file_is_kept(tmp_path, capsys):
    write(tmp_path, "NL", country(300), country(40, first=1000))

    parts = run_recipe(recipe, tmp_path)

    train, valid, test = (set(part["search_id"].to_pylist()) for part in (parts.train, parts.valid, parts.test))
    assert not train & valid
    assert train | valid == {f"{page}" for page in range(300)}
    assert test == {f"{page}" for page in range(1000, 1040)}
    assert len(parts.test) == 120
    # 300 pages with probability 0.1: mean 30, standard deviation 5.2
    assert 12 <= len(valid) <= 48
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["part", "rows", "click", "conversion"]
    assert lines[3].split() == ["test", "120", "33.333%", "16.667%"]


def test_values_and_types_are_those_of_the_file(tmp_path):
    source = country(300)
    write(tmp_path, "ES", source, country(2))

    parts = run_recipe(recipe, tmp_path, "--country", "ES")

    assert parts.train.column_names == COLUMNS
    assert parts.train.schema.field("search_id").type == pa.string()
    assert parts.train.schema.field("categorical_16").type == pa.int32()
    assert parts.train.schema.field("numerical_63").type == pa.float32()
    both = pd.concat([parts.train.to_pandas(), parts.valid.to_pandas()]).sort_values("numerical_1")
    for name in COLUMNS:
        assert both[name].tolist() == source[name].tolist(), name


def test_each_country_is_read_alone(tmp_path):
    write(tmp_path, "NL", country(100), country(10))
    write(tmp_path, "US", country(50, items=4), country(5))

    assert len(run_recipe(recipe, tmp_path, "--country", "NL").test) == 30
    assert len(run_recipe(recipe, tmp_path, "--country", "US").test) == 15


def test_chunks_do_not_change_the_result(tmp_path, monkeypatch):
    write(tmp_path, "NL", country(200), country(20))
    whole = run_recipe(recipe, tmp_path)
    monkeypatch.setitem(recipe.read_chunks.__globals__, "CHUNK_BYTES", 4096)

    small = run_recipe(recipe, tmp_path)

    assert small.train.equals(whole.train)
    assert small.valid.equals(whole.valid)


def test_share_keeps_whole_pages_of_every_part(tmp_path):
    write(tmp_path, "NL", country(400), country(400, first=1000))
    whole = run_recipe(recipe, tmp_path)

    half = run_recipe(recipe, tmp_path, "--share", "0.5")

    for part in ("train", "valid", "test"):
        kept = getattr(half, part)
        pages = set(kept["search_id"].to_pylist())
        assert pages < set(getattr(whole, part)["search_id"].to_pylist())
        assert len(kept) == 3 * len(pages)
    # 400 pages with probability 0.5: mean 200, standard deviation 10
    assert 160 <= len(half.test) / 3 <= 240


def test_ids_written_as_floats_are_ids(tmp_path):
    table = country(100).astype({"categorical_2": float})
    write(tmp_path, "NL", table, country(5))

    assert set(run_recipe(recipe, tmp_path).train["categorical_2"].to_pylist()) == {2, 3, 4, 5}


def spoil(folder, change):
    """The error for a training file whose text was changed."""
    target = write(folder, "NL", country(30), country(5)) / "train.csv"
    target.write_text(change(target.read_text()))
    with pytest.raises(SystemExit) as caught:
        run_recipe(recipe, folder)
    assert not list((folder / "out").iterdir())
    return str(caught.value)


def test_a_missing_country_is_named(tmp_path):
    write(tmp_path, "FR", country(30), country(5))
    with pytest.raises(SystemExit, match=r"error: .* should hold the folder AliExpress_NL. Found: AliExpress_FR"):
        run_recipe(recipe, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    (write(tmp_path, "NL", country(30), country(5)) / "test.csv").unlink()
    with pytest.raises(SystemExit, match=r"AliExpress_NL should hold test.csv"):
        run_recipe(recipe, tmp_path)


def test_a_missing_column_is_named(tmp_path):
    assert "should have the column `numerical_63`" in spoil(tmp_path, lambda text: text.replace("numerical_63", "n63"))


def test_a_cut_row_is_an_error(tmp_path):
    assert "train.csv is damaged or of another form" in spoil(tmp_path, lambda text: text[:-60])


def test_text_for_a_number_is_an_error(tmp_path):
    message = spoil(tmp_path, lambda text: text.replace(",64.25,", ",abc,"))
    assert "train.csv is damaged or of another form, somewhere after row 0" in message
    assert "abc" in message


def test_another_label_is_an_error(tmp_path):
    message = spoil(tmp_path, lambda text: text.replace(",1,1\n", ",2,1\n", 1))
    assert message == "error: Label `click` should be 0 or 1 in every row. Received 2."


def test_a_share_of_zero_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_recipe(recipe, tmp_path, "--share", "0")
    assert "should be above 0 and at most 1, not 0" in capsys.readouterr().err


def test_the_earlier_files_stay_after_an_error(tmp_path):
    target = write(tmp_path, "NL", country(100), country(5)) / "train.csv"
    before = run_recipe(recipe, tmp_path)
    checksum = crc32((tmp_path / "out" / "train.parquet").read_bytes())
    target.write_text(target.read_text()[:-60])

    with pytest.raises(SystemExit):
        run_recipe(recipe, tmp_path)

    assert crc32((tmp_path / "out" / "train.parquet").read_bytes()) == checksum
    assert len(before.test) == 15


def test_the_config_trains_on_prepared_files(tmp_path, monkeypatch):
    write(tmp_path, "NL", country(200), country(40))
    parts = run_recipe(recipe, tmp_path)

    tables = {part: table.to_pandas() for part, table in vars(parts).items()}
    assert train_config("aliexpress_mmoe", tables, tmp_path, monkeypatch) == 0


def test_the_config_trains_on_generated_rows(tmp_path, monkeypatch, capsys):
    tables = {part: aliexpress_rows(200, seed) for seed, part in enumerate(("train", "valid", "test"))}

    assert (train_config("aliexpress_mmoe", tables, tmp_path, monkeypatch), capsys.readouterr().err) == (0, "")


def test_generated_rows_have_the_columns_of_the_recipe():
    assert list(aliexpress_rows(20, seed=0).columns) == COLUMNS
