import numpy as np
import pyarrow as pa
import pytest
from rows import load_recipe, movielens_1m_rows, run_recipe, train_config

recipe = load_recipe("movielens_1m")
USERS = ["1::F::1::10::48067", "2::M::56::16::70072", "3::M::25::15::02460-1234"]
MOVIES = [
    "1::Toy Story (1995)::Animation|Children's|Comedy",
    "2::Misérables, Les (1995)::Drama|Musical",
    "3::Star Wars: Episode IV - A New Hope (1977)::Action|Sci-Fi",
    "4::Untitled::Drama",
]


def ratings(count):
    """User, movie and rating in turn, a minute apart, the latest first."""
    lines = [f"{row % 3 + 1}::{row % 4 + 1}::{row % 5 + 1}::{978300000 + 60 * row}" for row in range(count)]
    return lines[::-1]


def write(folder, lines, newline="\n", **changed):
    target = folder / "source" / "ml-1m"
    target.mkdir(parents=True)
    files = {"ratings": lines, "users": USERS, "movies": MOVIES} | changed
    for name, content in files.items():
        (target / f"{name}.dat").write_bytes((newline.join(content) + newline).encode("latin-1"))


def test_rows_are_divided_by_time(tmp_path, capsys):
    write(tmp_path, ratings(100))

    parts = run_recipe(recipe, tmp_path)

    assert sorted(parts.train["time"].to_pylist()) == [978300000 + 60 * row for row in range(80)]
    assert sorted(parts.valid["time"].to_pylist()) == [978300000 + 60 * row for row in range(80, 90)]
    assert sorted(parts.test["time"].to_pylist()) == [978300000 + 60 * row for row in range(90, 100)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["train", "80", "40.000%"]
    assert lines[4] == "rows of users that are in train: valid 100.0%, test 100.0%"


def test_features_and_labels_are_joined_by_hand(tmp_path):
    write(tmp_path, ratings(60))

    rows = {row["time"]: row for row in run_recipe(recipe, tmp_path).train.to_pylist()}

    assert rows[978300060] == {
        "user_id": 2,
        "movie_id": 2,
        "rating": 2,
        "time": 978300060,
        "gender": "M",
        "age": 56,
        "occupation": 16,
        "zip_code": "70072",
        "year": 1995,
        "genres": ["Drama", "Musical"],
        "like": 0,
    }
    third, fourth = rows[978300120], rows[978300180]
    assert (third["zip_code"], third["year"], third["genres"], third["like"]) == (
        "02460-1234",
        1977,
        ["Action", "Sci-Fi"],
        0,
    )
    assert (fourth["rating"], fourth["like"], fourth["year"]) == (4, 1, -1)
    assert rows[978300240]["like"] == 1


def test_types_and_the_source_of_the_label(tmp_path):
    write(tmp_path, ratings(60))

    schema = run_recipe(recipe, tmp_path).train.schema

    assert schema.field("user_id").type == pa.int32()
    assert schema.field("like").type == pa.int8()
    assert schema.field("like").metadata[b"derived_from"] == b"rating"


def test_the_random_split_is_80_10_10_and_always_the_same(tmp_path):
    write(tmp_path, ratings(200))

    first, second = (run_recipe(recipe, tmp_path, "--split", "random") for _ in range(2))

    times = [set(part["time"].to_pylist()) for part in vars(first).values()]
    assert [len(each) for each in times] == [160, 20, 20]
    assert len(set.union(*times)) == 200
    assert max(times[0]) > min(times[2])
    assert first.train.equals(second.train)


def test_windows_line_ends_make_no_difference(tmp_path):
    write(tmp_path, ratings(60), newline="\r\n")

    row = run_recipe(recipe, tmp_path).train.to_pylist()[-1]

    assert (row["genres"], row["zip_code"]) == (["Animation", "Children's", "Comedy"], "48067")


def test_new_users_of_the_later_parts_are_counted(tmp_path, capsys):
    old = [f"1::1::4::{978300000 + row}" for row in range(80)]
    new = [f"{2 if row < 5 else 1}::1::4::{978400000 + row}" for row in range(20)]
    write(tmp_path, [*old, *new])

    run_recipe(recipe, tmp_path)

    assert "rows of users that are in train: valid 50.0%, test 100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["1::1::4"],
            r"should have user_id::movie_id::rating::time in every line. Received 1::1::4 in line 1",
        ),
        (["1::1::good::978300000"], r"ratings.dat should have whole numbers where numbers belong: .*good"),
        (["9::1::4::978300000"], r"ratings.dat has `user_id` 9, which the file of its features does not have"),
        (["1::1::6::978300000"], r"A rating should be 1 to 5. Received 6 in row 0 of ratings.dat"),
        (["1::1::4::978300000"] * 20, r"would have no rows"),
    ],
)
def test_damaged_ratings_are_named(tmp_path, lines, message):
    write(tmp_path, lines)
    with pytest.raises(SystemExit, match=message):
        run_recipe(recipe, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_a_user_with_two_lines_is_an_error(tmp_path):
    write(tmp_path, ratings(60), users=[*USERS, USERS[0]])
    with pytest.raises(SystemExit, match=r"`user_id` 1 has more than one row"):
        run_recipe(recipe, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path, ratings(60))
    (tmp_path / "source" / "ml-1m" / "movies.dat").unlink()
    with pytest.raises(SystemExit, match=r"should hold movies.dat"):
        run_recipe(recipe, tmp_path)


def test_the_config_trains_on_prepared_files(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    shuffled = [f"{rng.integers(1, 4)}::{rng.integers(1, 5)}::{rng.integers(1, 6)}::{row}" for row in range(400)]
    write(tmp_path, shuffled)
    parts = run_recipe(recipe, tmp_path)

    tables = {part: table.to_pandas() for part, table in vars(parts).items()}
    assert (train_config("movielens_1m_mmoe", tables, tmp_path, monkeypatch), capsys.readouterr().err) == (0, "")


def test_the_config_trains_on_generated_rows(tmp_path, monkeypatch):
    tables = {part: movielens_1m_rows(200, seed) for seed, part in enumerate(("train", "valid", "test"))}

    assert train_config("movielens_1m_mmoe", tables, tmp_path, monkeypatch) == 0
