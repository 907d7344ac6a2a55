import pyarrow as pa
import pytest
from rows import load_recipe, run_recipe, tenrec_rows, train_config

recipe = load_recipe("tenrec")
HEADER = "user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age," + ",".join(
    f"hist_{number}" for number in range(1, 11)
)
FULL = "2,3,80936,781,111774,1230,26403,991,2362,1202"
SHORT = "7,8,0,0,0,0,0,0,0,0"
NONE = ",".join("0" * 10)


def lines(users, items=5):
    """The first item of each user is clicked, that of every tenth user also liked; categories 0, 1 and \\N in turn."""
    return [
        f"{user},{item},{int(item == 0)},0,{int(item == 0 and user % 10 == 0)},0,{('0', '1', chr(92) + 'N')[item % 3]},"
        f"{int(item == 0)},1,4,{(FULL, SHORT, NONE)[user % 3]}"
        for user in range(1, users + 1)
        for item in range(items)
    ]


def write(folder, rows):
    (folder / "source").mkdir()
    path = folder / "source" / "ctr_data_1M.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def everything(parts):
    rows = [row for part in vars(parts).values() for row in part.to_pylist()]
    return sorted(rows, key=lambda row: (row["user_id"], row["item_id"]))


def test_all_rows_are_divided_at_random(tmp_path, capsys):
    write(tmp_path, lines(400))

    parts = run_recipe(recipe, tmp_path, "--share", "1")

    rows = everything(parts)
    assert [(row["user_id"], row["item_id"]) for row in rows] == [(u, i) for u in range(1, 401) for i in range(5)]
    # 2,000 rows with probability 0.8 and 0.1: standard deviations 18 and 13
    assert abs(len(parts.train) - 1600) < 72
    assert abs(len(parts.valid) - 200) < 54
    assert capsys.readouterr().out.splitlines()[0].split() == ["part", "rows", "click", "like", "share", "follow"]


def test_columns_values_and_types(tmp_path):
    write(tmp_path, lines(60))

    parts = run_recipe(recipe, tmp_path, "--share", "1")

    rows = everything(parts)
    assert rows[0] == {
        "user_id": 1,
        "item_id": 0,
        "video_category": "0",
        "gender": 1,
        "age": 4,
        "click": 1,
        "like": 0,
        "share": 0,
        "follow": 0,
        "history": [7, 8],
    }
    assert [rows[5 * (user - 1)]["history"] for user in (2, 3)] == [
        [],
        [2, 3, 80936, 781, 111774, 1230, 26403, 991, 2362, 1202],
    ]
    assert [row["video_category"] for row in rows[:3]] == ["0", "1", None]
    assert rows[45]["user_id"] == 10
    assert rows[45]["like"] == 1
    assert "watching_times" not in parts.train.column_names
    assert parts.train.schema.field("history").type == pa.list_(pa.int64())


def test_share_keeps_all_rows_of_some_users(tmp_path):
    write(tmp_path, lines(500))

    kept = everything(run_recipe(recipe, tmp_path, "--share", "0.2"))

    users = {row["user_id"] for row in kept}
    assert len(kept) == 5 * len(users)
    # 500 users with probability 0.2: mean 100, standard deviation 9
    assert 64 <= len(users) <= 136


def test_chunks_do_not_change_the_result(tmp_path, monkeypatch):
    write(tmp_path, lines(200))
    whole = run_recipe(recipe, tmp_path, "--share", "0.5")
    monkeypatch.setitem(recipe.read_chunks.__globals__, "CHUNK_BYTES", 1024)

    small = run_recipe(recipe, tmp_path, "--share", "0.5")

    for part in ("train", "valid", "test"):
        assert getattr(small, part).equals(getattr(whole, part))


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(SystemExit, match=r"error: .* should hold ctr_data_1M.csv"):
        run_recipe(recipe, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("video_category", "short_v", "should have the column `video_category`, and does not"),
        ("1,0,1,0,0,0,0,1,1,4", "1,0,1,0,0,0,0,1,1,old", "ctr_data_1M.csv is damaged or of another form"),
        ("1,0,1,0,0,0,0,1,1,4,", "1,0,1,0,0,0,0,1,1,", "ctr_data_1M.csv is damaged or of another form"),
        ("1,0,1,0,0,0,0,1,1,4,", "1,0,3,0,0,0,0,1,1,4,", "Label `click` should be 0 or 1 in every row. Received 3"),
        ("1,0,1,0,0,0,0,1,1,4,7,", "1,0,1,0,0,0,0,1,1,4,,", "Column `hist_1` has no value"),
    ],
)
def test_other_forms_are_named(tmp_path, old, new, message):
    path = write(tmp_path, lines(50))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SystemExit, match=message):
        run_recipe(recipe, tmp_path, "--share", "1")


def test_the_config_trains_on_prepared_files(tmp_path, monkeypatch):
    write(tmp_path, lines(100))
    parts = run_recipe(recipe, tmp_path, "--share", "1")

    tables = {part: table.to_pandas() for part, table in vars(parts).items()}
    assert train_config("tenrec_mmoe", tables, tmp_path, monkeypatch) == 0


def test_the_config_trains_on_generated_rows(tmp_path, monkeypatch, capsys):
    tables = {part: tenrec_rows(200, seed) for seed, part in enumerate(("train", "valid", "test"))}

    assert (train_config("tenrec_mmoe", tables, tmp_path, monkeypatch), capsys.readouterr().err) == (0, "")
