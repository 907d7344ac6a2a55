import pandas as pd
import pyarrow as pa
import pytest
from rows import kuairand_rows, load_recipe, run_recipe, train_config

recipe = load_recipe("kuairand")
OUTCOMES = ["play_time_ms", "profile_stay_time", "comment_stay_time", "is_profile_enter"]
HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)


def log_line(user, video, date, hourmin, click=0, like=0):
    return f"{user},{video},{date},{hourmin},{date}000,{click},{like},0,0,0,0,{click},151024,104400.0,0,0,0,0,1"


def write_log(folder, name, lines):
    (folder / f"{name}.csv").write_text("\n".join([HEADER, *lines]) + "\n")


def write(folder, variant="1k", repeats=1):
    """Days around both borders, a video and a user without features, and a tag with a comma, so in quotes."""
    target = folder / "source" / "KuaiRand" / "data"
    target.mkdir(parents=True, exist_ok=True)
    early = [log_line(0, 10, 20220408, 5, click=1), log_line(1, 11, 20220421, 2359)] * repeats
    late = [
        log_line(1, 12, 20220422, 1730, like=1),
        log_line(0, 10, 20220502, 0),
        log_line(0, 13, 20220503, 900, click=1),
        log_line(2, 11, 20220505, 901),
        log_line(1, 10, 20220506, 100, click=1),
        log_line(0, 12, 20220508, 2300),
    ] * repeats
    write_log(target, f"log_standard_4_08_to_4_21_{variant}", early)
    write_log(target, f"log_standard_4_22_to_5_08_{variant}", late)
    write_log(target, f"log_random_4_22_to_5_08_{variant}", [log_line(0, 10, 20220503, 0)])
    users = pd.DataFrame(
        {"user_id": [1, 0], "user_active_degree": ["full_active", "UNKNOWN"], "follow_user_num": [5, 9]}
    )
    for name in recipe.RANGES:
        users[name] = ["(0,10]", "500+"]
    for name in recipe.USER_CODES:
        users[name] = [3, None] if name == "onehot_feat4" else [-124, 1]
    users.to_csv(target / f"user_features_{variant}.csv", index=False)
    videos = pd.DataFrame(
        {
            "video_id": [12, 10, 11],
            "author_id": [1200, 1000, 1100],
            "video_type": ["NORMAL", "AD", "NORMAL"],
            "upload_type": ["ShortImport", None, "Web"],
            "visible_status": 1,
            "music_type": [4.0, None, 9.0],
            "tag": ["12,65", None, "8"],
        }
    )
    videos.to_csv(target / f"video_features_basic_{variant}.csv", index=False)
    return target


def test_rows_are_divided_by_day_and_the_random_log_is_not_read(tmp_path, capsys):
    write(tmp_path)

    parts = run_recipe(recipe, tmp_path)

    assert parts.train["date"].to_pylist() == [20220408, 20220421, 20220422, 20220502]
    assert parts.valid["date"].to_pylist() == [20220503, 20220505]
    assert parts.test["date"].to_pylist() == [20220506, 20220508]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["part", "rows", *recipe.LABELS]
    assert lines[1].split() == ["train", "4", "25.000%", "25.000%", "25.000%", *["0.000%"] * 4]


def test_features_are_joined_by_hand(tmp_path):
    write(tmp_path)

    rows = run_recipe(recipe, tmp_path).train.to_pylist()

    assert [row["hour"] for row in rows] == [0, 23, 17, 0]
    assert [row["author_id"] for row in rows] == [1000, 1100, 1200, 1000]
    assert [row["tag"] for row in rows] == [None, "8", "12,65", None]
    assert [row["music_type"] for row in rows] == [None, 9, 4, None]
    assert [row["user_active_degree"] for row in rows] == ["UNKNOWN", "full_active", "full_active", "UNKNOWN"]
    assert [row["onehot_feat4"] for row in rows] == [None, 3, 3, None]
    assert [row["is_live_streamer"] for row in rows] == [1, -124, -124, 1]
    assert [row["fans_user_num_range"] for row in rows] == ["500+", "(0,10]", "(0,10]", "500+"]
    assert rows[0]["duration_ms"] == 104400


def test_a_user_or_video_without_features_has_missing_ones(tmp_path):
    write(tmp_path)

    video_13, user_2 = run_recipe(recipe, tmp_path).valid.to_pylist()

    assert [video_13[name] for name in recipe.VIDEO] == [None] * len(recipe.VIDEO)
    assert video_13["user_active_degree"] == "UNKNOWN"
    assert [user_2[name] for name in recipe.USER] == [None] * len(recipe.USER)
    assert user_2["author_id"] == 1100


def test_outcomes_of_the_impression_are_no_columns(tmp_path):
    write(tmp_path)

    table = run_recipe(recipe, tmp_path).train

    assert not {*OUTCOMES, "visible_status", "is_rand"} & set(table.column_names)
    assert table.schema.field("user_id").type == pa.int64()
    assert table.schema.field("is_like").type == pa.int8()


def test_the_variant_chooses_the_files(tmp_path):
    write(tmp_path, variant="pure")

    assert len(run_recipe(recipe, tmp_path, "--variant", "pure").train) == 4
    with pytest.raises(SystemExit, match=r"error: .* should hold log_standard_4_08_to_4_21_1k.csv"):
        run_recipe(recipe, tmp_path)


def test_chunks_do_not_change_the_result(tmp_path, monkeypatch):
    write(tmp_path, repeats=40)
    whole = run_recipe(recipe, tmp_path)
    monkeypatch.setitem(recipe.read_chunks.__globals__, "CHUNK_BYTES", 512)

    small = run_recipe(recipe, tmp_path)

    assert small.train.equals(whole.train)
    assert small.test.equals(whole.test)


def spoil(folder, name, change):
    path = write(folder) / name
    path.write_text(change(path.read_text()))
    with pytest.raises(SystemExit) as caught:
        run_recipe(recipe, folder)
    assert not list((folder / "out").iterdir())
    return str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    message = spoil(tmp_path, "log_standard_4_22_to_5_08_1k.csv", lambda text: text.replace("long_view", "view"))
    assert "log_standard_4_22_to_5_08_1k.csv should have the column `long_view`, and does not" in message


def test_a_cut_row_is_an_error(tmp_path):
    message = spoil(tmp_path, "log_standard_4_08_to_4_21_1k.csv", lambda text: text[:-30])
    assert "log_standard_4_08_to_4_21_1k.csv is damaged or of another form, somewhere after row 0" in message


def test_a_row_without_a_date_is_an_error(tmp_path):
    message = spoil(tmp_path, "log_standard_4_08_to_4_21_1k.csv", lambda text: text.replace("20220421,", ",", 1))
    assert "Column `date` has no value" in message


def test_a_user_with_two_rows_is_an_error(tmp_path):
    message = spoil(tmp_path, "user_features_1k.csv", lambda text: text + text.splitlines()[1] + "\n")
    assert "user_features_1k.csv should have one row per `user_id`, but has some twice" in message


def test_an_empty_feature_file_is_an_error(tmp_path):
    message = spoil(tmp_path, "user_features_1k.csv", lambda text: text.splitlines()[0] + "\n")
    assert "user_features_1k.csv has no rows" in message


def test_a_log_without_the_last_days_is_an_error(tmp_path):
    message = spoil(tmp_path, "log_standard_4_22_to_5_08_1k.csv", lambda text: "\n".join(text.splitlines()[:5]) + "\n")
    assert "There is no row for `test`" in message


def test_the_config_trains_on_generated_rows(tmp_path, monkeypatch, capsys):
    tables = {part: kuairand_rows(200, seed) for seed, part in enumerate(("train", "valid", "test"))}

    assert (train_config("kuairand_mmoe", tables, tmp_path, monkeypatch), capsys.readouterr().err) == (0, "")


def test_the_config_trains_on_prepared_files(tmp_path, monkeypatch):
    write(tmp_path, repeats=30)
    parts = run_recipe(recipe, tmp_path)

    tables = {part: table.to_pandas() for part, table in vars(parts).items()}
    assert train_config("kuairand_mmoe", tables, tmp_path, monkeypatch) == 0
