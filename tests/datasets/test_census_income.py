import gzip
import importlib.util
import io
import tarfile
import urllib.error
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextrec_like.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "census-income"

spec = importlib.util.spec_from_file_location("prepare_census", ROOT / "datasets" / "census_income" / "prepare.py")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)

ADULT = (
    "{age}, Private, 6, 36, {education}, 0, Not in universe, {marital}, Construction, Sales, White, {origin}, Female, "
    "Not in universe, Job loser - on layoff, Full-time schedules, 15024, 0, 7, Single, Not in universe, {state}, "
    "Householder, Householder, 1032.38, ?, ?, ?, Not in universe under 1 year old, ?, 4, Not in universe, Mexico, "
    "?, United-States, Foreign born- Not a citizen of U S , 0, Not in universe, 2, 12, 95, {income}"
)


def row(education, marital, income, age=38, origin="All other", state="Utah"):
    return ADULT.format(education=education, marital=marital, income=income, age=age, origin=origin, state=state)


POOR, RICH = "- 50000.", "50000+."
ROWS = [
    row("Bachelors degree(BA AB BS)", "Never married", RICH, age=44),
    row("Masters degree(MA MS MEng MEd MSW MBA)", "Divorced", POOR, origin="NA"),
    row("Prof school degree (MD DDS DVM LLB JD)", "Widowed", RICH, state="?"),
    row("Doctorate degree(PhD EdD)", "Never married", POOR),
    row("Some college but no degree", "Married-A F spouse present", POOR),
    row("1st 2nd 3rd or 4th grade", "Separated", POOR, origin="Mexican (Mexicano)"),
]
TEST_ROWS = [ROWS[1], ROWS[5], ROWS[5]]


def as_bytes(rows):
    return ("\n".join(rows) + "\n").encode()


def as_arff(rows):
    index = [recipe.COLUMNS.index(name) for name in [*recipe.NOMINAL, recipe.CLASS]]
    header = [f"@attribute att{position + 1} {{a,b}}" for position in index[:-1]] + ["@attribute class {a,b}"]
    cells = [[cell.strip().replace(" ", "-") for cell in line.split(",")] for line in rows]
    body = [",".join(line[position] for position in index) for line in cells]
    return "\n".join(["@relation x", "", *header, "", "@data", *body, ""]).encode()


def finished(rows):
    return recipe.finish(recipe.read_table("census-income.data", as_bytes(rows), recipe.COLUMNS))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def write_original(folder):
    (folder / "census-income.data").write_bytes(as_bytes(ROWS))
    (folder / "census-income.test.gz").write_bytes(gzip.compress(as_bytes(TEST_ROWS)))


def test_labels_are_those_read_by_hand():
    table = finished(ROWS).to_pydict()
    assert table["income"] == [1, 0, 1, 0, 0, 0]
    assert table["never_married"] == [1, 0, 0, 1, 0, 0]
    assert table["college"] == [1, 1, 1, 1, 0, 0]


def test_blanks_become_hyphens_and_ends_are_stripped():
    table = finished(ROWS).to_pydict()
    assert table["education"][0] == "Bachelors-degree(BA-AB-BS)"
    assert table["citizenship"][0] == "Foreign-born--Not-a-citizen-of-U-S"
    assert table["unemp_reason"][0] == "Job-loser---on-layoff"


def test_question_mark_is_missing_and_na_is_a_value():
    table = finished(ROWS).to_pydict()
    assert table["state_prev_res"] == ["Utah", "Utah", None, "Utah", "Utah", "Utah"]
    assert table["mig_same"][0] == "Not-in-universe-under-1-year-old"
    assert table["mig_chg_msa"] == [None] * 6
    assert table["hisp_origin"][1] == "NA"


def test_numeric_columns_are_numbers_and_nominal_codes_are_not():
    table = finished(ROWS)
    assert table["age"].to_pylist() == [44, 38, 38, 38, 38, 38]
    assert table.schema.field("capital_gains").type == pa.int32()
    assert table["det_ind_code"].to_pylist() == ["6"] * 6


def test_weight_and_class_text_are_dropped():
    names = finished(ROWS).column_names
    assert len(names) == 42 - 2 + 3
    assert not {"instance_weight", "income_50k"} & set(names)


def test_labels_name_the_column_they_are_read_from():
    schema = finished(ROWS).schema
    sources = {name: schema.field(name).metadata[b"derived_from"] for name in ("income", "never_married", "college")}
    assert sources == {"income": b"income_50k", "never_married": b"marital_stat", "college": b"education"}


def test_original_files_keep_the_numeric_columns(source):
    write_original(source)
    parts = recipe.read_parts(recipe.find_files(source))
    assert parts["train"].column_names == parts["test"].column_names == recipe.COLUMNS
    assert (len(parts["train"]), len(parts["test"])) == (6, 3)


def test_nominal_file_less_test_rows_is_the_training_file(source):
    shuffled = [ROWS[5], ROWS[0], ROWS[1], ROWS[5], ROWS[2], ROWS[3], ROWS[1], ROWS[4], ROWS[5]]
    (source / "census-income-full-nominal.arff").write_bytes(as_arff(shuffled))
    (source / "census-income.test").write_bytes(as_bytes(TEST_ROWS))
    train = recipe.finish(recipe.read_parts(recipe.find_files(source))["train"])
    expected = finished(ROWS).select(train.column_names)
    assert sorted(map(str, train.to_pylist())) == sorted(map(str, expected.to_pylist()))
    assert "age" not in train.column_names


def test_test_rows_that_are_not_in_the_nominal_file_are_an_error(source):
    (source / "census-income-full-nominal.arff").write_bytes(as_arff(ROWS))
    (source / "census-income.test").write_bytes(as_bytes(TEST_ROWS))
    with pytest.raises(InputError, match=r"1 rows of census-income.test are not in"):
        recipe.read_parts(recipe.find_files(source))


def test_archives_within_archives_are_read_and_nothing_is_written(source):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name, content in {
            "../../census-income.data": as_bytes(ROWS),
            "a/census-income.test.gz": gzip.compress(as_bytes(TEST_ROWS)),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with zipfile.ZipFile(source / "census+income+kdd.zip", "w") as archive:
        archive.writestr("census-income.names", "about")
        archive.writestr("x/census.tar.gz", inner.getvalue())
    before = sorted(source.parent.rglob("*"))
    files = recipe.find_files(source)
    assert files == {"census-income.data": as_bytes(ROWS), "census-income.test": as_bytes(TEST_ROWS)}
    assert sorted(source.parent.rglob("*")) == before


def test_a_damaged_archive_is_named(source):
    (source / "census+income+kdd.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"census\+income\+kdd.zip is damaged"):
        recipe.find_files(source)


def test_missing_files_are_named(source):
    (source / "census-income.data").write_bytes(as_bytes(ROWS))
    with pytest.raises(InputError, match=r"should hold census-income.test.*Found: census-income.data"):
        recipe.find_files(source)


def test_a_missing_folder_is_named(source):
    with pytest.raises(InputError, match="should be a folder"):
        recipe.find_files(source / "nowhere")


def test_a_row_of_another_width_is_an_error():
    with pytest.raises(InputError, match=r"census-income.data should have 42 columns"):
        recipe.read_table("census-income.data", as_bytes([ROWS[0], "1, 2"]), recipe.COLUMNS)


def test_other_class_counts_are_an_error(source):
    write_original(source)
    with pytest.raises(SystemExit, match=r"census-income.data should have these rows per class"):
        recipe.main(["--source", str(source), "--out", str(source)])


def test_equal_class_counts_with_other_values_are_an_error(source, monkeypatch):
    write_original(source)
    counts = {"train": {"--50000.": 4, "50000+.": 2}, "test": {"--50000.": 3}}
    monkeypatch.setattr(recipe, "CLASS_COUNTS", counts)
    with pytest.raises(SystemExit, match=r"census-income.data has the published number of rows, but other values"):
        recipe.main(["--source", str(source), "--out", str(source)])


def test_running_twice_gives_the_same_bytes(source, tmp_path, monkeypatch):
    write_original(source)
    monkeypatch.setattr(recipe, "verify", lambda parts: None)
    for run in ("a", "b"):
        recipe.main(["--source", str(source), "--out", str(tmp_path / run)])
    for part, rows in {"train": 6, "valid": 1, "test": 2}.items():
        assert pq.read_metadata(tmp_path / "a" / f"{part}.parquet").num_rows == rows
        assert (tmp_path / "a" / f"{part}.parquet").read_bytes() == (tmp_path / "b" / f"{part}.parquet").read_bytes()


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(recipe.urllib.request, "urlopen", refuse)
    with pytest.raises(InputError, match=r"Could not download https://.*no route.*by hand and pass.*--source"):
        recipe.download(tmp_path / "raw")


def test_an_archive_that_is_there_is_not_downloaded_again(tmp_path, monkeypatch):
    (tmp_path / "census+income+kdd.zip").write_bytes(b"here")
    monkeypatch.setattr(recipe.urllib.request, "urlopen", None)
    assert recipe.download(tmp_path) == tmp_path


@pytest.fixture(scope="module")
def real():
    if not (REAL / "census-income.test.gz").exists():
        pytest.skip("the raw files of KDD Census-Income are not on this machine")
    return recipe.prepare(REAL)


def test_real_parts_have_the_published_sizes_and_classes(real):
    income = {name: (len(part), sum(part["income"].to_pylist())) for name, part in real.items()}
    assert income["train"] == (199_523, 12_382)
    assert income["valid"][0] == income["test"][0] == 49_881
    assert income["valid"][1] + income["test"][1] == 6_186


def test_real_rates_are_the_known_ones(real):
    labels = {"income": 0.0621, "never_married": 0.433, "college": 0.148}
    for label, rate in labels.items():
        assert sum(real["train"][label].to_pylist()) / 199_523 == pytest.approx(rate, abs=0.0006)


def test_real_nominal_columns_are_spelt_alike_in_all_parts(real):
    for name in recipe.NOMINAL:
        known = set(real["train"][name].to_pylist())
        assert known.issuperset(real["valid"][name].to_pylist() + real["test"][name].to_pylist())


def test_real_parts_have_the_same_columns(real):
    assert real["train"].schema == real["valid"].schema == real["test"].schema
    assert real["train"]["hisp_origin"].to_pylist().count("NA") == 874
