import zipfile

import numpy as np
import pandas as pd
import pytest
from rows import ROOT, load_recipe, run_recipe

REAL = ROOT.parent / "shared" / "data" / "deskdrop"
DAY = 24 * 3600
START = 1457913600  # Monday, 14 March 2016, 00:00 UTC
HEADER = "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry"
LABELS = ["like", "bookmark", "comment", "follow"]
recipe = load_recipe("deskdrop")


def line(time, event, article, user, rest=",,"):
    return f"{START + time},{event},{article},{user},77,{rest}"


STORY = [
    line(0, "VIEW", 100, 1, '"Mozilla/5.0 (Linux; Android 6.0) Chrome, like Gecko",SP,BR'),
    line(60, "LIKE", 100, 1),
    line(60, "VIEW", 100, 2, "iOS - Native Mobile App,?,ZZ"),
    line(3 * 3600, "VIEW", 100, 1),  # the second view of the pair starts no row
    line(3 * 3600, "COMMENT CREATED", 100, 2),
    line(DAY, "VIEW", 200, 1),
    line(DAY, "BOOKMARK", 200, 1),  # the same second as the view, and still after it
    line(DAY + 7200, "FOLLOW", 200, 2),  # this pair starts with something else than a view
    line(DAY + 7300, "VIEW", 200, 2),
    line(DAY + 7 * DAY, "LIKE", 200, 1),  # just within a week
    line(60 + 7 * DAY + 1, "LIKE", 100, 2),  # a second too late
    line(9 * DAY, "VIEW", 100, 3, "Mozilla/5.0 (Windows NT 10.0),SP,BR"),
    line(9 * DAY, "VIEW", 100, 3, "Mozilla/5.0 (Windows NT 10.0),SP,BR"),  # the same line again
]


def table_of(lines):
    return recipe.rows(recipe.read_events("\n".join([HEADER, *lines]).encode())).set_index(["user", "article"])


@pytest.fixture(scope="module")
def story():
    return table_of(STORY[::-1])


def test_a_row_is_a_pair_that_starts_with_a_view(story):
    assert story.index.to_list() == [(1, 100), (2, 100), (1, 200), (3, 100)]
    assert (story["time"] - START).to_list() == [0, 60, DAY, 9 * DAY]


def test_labels_are_what_followed_within_a_week(story):
    assert story[LABELS].to_numpy().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_counts_are_strictly_before_the_row(story):
    # The like of user 1 and the view of user 2 fall into one second: neither is before the other.
    assert story["article_views"].to_list() == [0, 1, 0, 3]
    assert story["article_likes"].to_list() == [0, 0, 0, 2]
    assert story["article_comments"].to_list() == [0, 0, 0, 1]
    assert story["user_views"].to_list() == [0, 0, 2, 0]
    assert story["user_likes"].to_list() == [0, 0, 1, 0]
    assert story["article_age"].to_list() == pytest.approx([0, 1 / 60, 0, 9 * 24])


def test_what_the_first_view_says_is_read(story):
    assert story["agent"].fillna("missing").to_list() == ["android", "ios", "missing", "windows"]
    assert story["region"].fillna("missing").to_list() == ["SP", "missing", "missing", "SP"]
    assert story["country"].fillna("missing").to_list() == ["BR", "ZZ", "missing", "BR"]
    assert story["hour"].to_list() == [0, 0, 0, 0]
    assert story["weekday"].to_list() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        ("Android - Native Mobile App", "android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 9_3 like Mac OS X)", "ios"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_2)", "mac"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "linux"),
        ("Mozilla/5.0 (X11; CrOS x86_64)", "other"),
    ],
)
def test_kind_of_an_agent(agent, kind):
    assert recipe.agent_kind(pd.Series([agent])).to_list() == [kind]


def generated(seed=0, num_events=1500):
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 100 * DAY // 600, num_events) * 600  # many fall into one second
    events = rng.choice(["VIEW", "VIEW", "VIEW", *recipe.EVENTS.values()], num_events)
    return [line(*row) for row in zip(times, events, rng.integers(1, 25, num_events), rng.integers(1, 25, num_events))]


def write(folder, lines):
    source = folder / "source"
    source.mkdir()
    (source / "users_interactions.csv").write_text("\n".join([HEADER, *lines]) + "\n")


def assert_knows_nothing_of_the_future(events, table, moments):
    """Without all that happened from a moment on, but for the views that start its rows, its features are the same."""
    features = table.drop(columns=LABELS)
    for moment in moments:
        starts = (events["time"] == moment) & ~events["is_action"]
        past = recipe.rows(events[(events["time"] < moment) | starts].reset_index(drop=True)).drop(columns=LABELS)
        expected = features[features["time"] == moment].reset_index(drop=True)
        found = past[past["time"] == moment].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def assert_labels_are_known_in_time(events, parts):
    """Without all that happened since the next part began, the labels are the same."""
    for part, following in (("train", "valid"), ("valid", "test")):
        past = events[events["time"] < parts[following]["time"].min()].reset_index(drop=True)
        known = recipe.rows(past).set_index(["user", "article"]).loc[list(zip(parts[part].user, parts[part].article))]
        np.testing.assert_array_equal(known[LABELS], parts[part][LABELS])


def test_features_and_labels_know_nothing_of_the_future():
    events = recipe.read_events("\n".join([HEADER, *generated()]).encode())
    table = recipe.rows(events)
    parts = recipe.divide(table, int(events["time"].max()))
    assert_knows_nothing_of_the_future(events, table, table["time"].unique()[5::40])
    assert_labels_are_known_in_time(events, parts)


def test_recipe_writes_parts_a_week_apart(tmp_path, capsys):
    write(tmp_path, generated())
    parts = {name: part.to_pandas() for name, part in vars(run_recipe(recipe, tmp_path)).items()}
    week = 7 * DAY
    assert parts["train"]["time"].max() + week < parts["valid"]["time"].min()
    assert parts["valid"]["time"].max() + week < parts["test"]["time"].min()
    assert parts["test"]["time"].max() + week < START + 100 * DAY
    assert not pd.concat(parts.values()).duplicated(["user", "article"]).any()
    assert capsys.readouterr().out.split()[:6] == ["part", "rows", *LABELS]


def test_zipped_and_plain_files_give_the_same(tmp_path):
    write(tmp_path, generated())
    plain = vars(run_recipe(recipe, tmp_path))
    with zipfile.ZipFile(tmp_path / "source" / "users_interactions.csv.zip", "w") as archive:
        archive.write(tmp_path / "source" / "users_interactions.csv", "users_interactions.csv")
    (tmp_path / "source" / "users_interactions.csv").unlink()
    zipped = vars(run_recipe(recipe, tmp_path))
    assert all(zipped[name].equals(part) for name, part in plain.items())


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*STORY, line(0, "SHARE", 1, 1)], "has the eventType 'SHARE'. Known: VIEW, LIKE"),
        ([*STORY, "1,VIEW,2"], "should be a CSV file with the columns"),
        ([*STORY, line(0, "VIEW", "x", 1)], "should be a CSV file with the columns"),
        ([*STORY, line(0, "VIEW", "", 1)], "Column `contentId` has no value"),
        (STORY, "`train` has no row of which the week after"),
    ],
)
def test_damaged_or_too_short_files_are_refused_in_a_sentence(tmp_path, lines, words):
    write(tmp_path, lines)
    with pytest.raises(SystemExit, match=f"error: .*({words})"):
        run_recipe(recipe, tmp_path)


def test_missing_and_broken_sources_are_named(tmp_path):
    with pytest.raises(SystemExit, match="error: `--source` should be a folder"):
        run_recipe(recipe, tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(SystemExit, match=r"error: .*should hold users_interactions.csv or users_interactions.csv.zip"):
        run_recipe(recipe, tmp_path)
    (source / "users_interactions.csv.zip").write_bytes(b"PK not a zip")
    with pytest.raises(SystemExit, match=r"error: .*users_interactions.csv.zip is damaged"):
        run_recipe(recipe, tmp_path)


def test_missing_column_is_named(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "users_interactions.csv").write_text("timestamp,eventType\n1,VIEW\n")
    with pytest.raises(SystemExit, match=r"error: .*contentId"):
        run_recipe(recipe, tmp_path)


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip(f"The DeskDrop log may not be redistributed, and {REAL} is not there.")
    events = recipe.read_events(recipe.read_bytes(REAL))
    table = recipe.rows(events)
    return events, table, recipe.divide(table, int(events["time"].max()))


def test_real_events_and_pairs(real):
    events, table, parts = real
    assert (len(events), events["user"].nunique(), events["article"].nunique()) == (72_312 - 11, 1_895, 2_987)
    assert events.drop_duplicates(["user", "article"]).shape[0] == 40_710
    acted = events[events["is_action"]].drop_duplicates(["user", "article", "event"])["event"].value_counts() / 40_710
    assert acted[["LIKE", "BOOKMARK", "COMMENT CREATED", "FOLLOW"]].to_list() == pytest.approx(
        [0.139, 0.054, 0.035, 0.034], abs=0.0006
    )
    assert {name: len(part) for name, part in parts.items()} == {"train": 23_235, "valid": 7_155, "test": 7_834}
    assert table[LABELS].mean().to_list() == pytest.approx([0.13, 0.043, 0.033, 0.033], abs=0.004)


def test_real_agents_are_missing_in_most_actions_and_new_articles_in_most_rows(real):
    events, _, parts = real
    missing = events["agent"].isna().groupby(events["event"]).mean()
    assert missing["VIEW"] == pytest.approx(0.11, abs=0.01)
    assert (missing.drop("VIEW") > 0.7).all()
    for name in ("valid", "test"):
        assert 0.9 < (~parts[name]["article"].isin(parts["train"]["article"])).mean() < 0.95


def test_real_features_and_labels_know_nothing_of_the_future(real):
    events, table, parts = real
    assert_knows_nothing_of_the_future(events, table, table["time"].unique()[[200, 20_000, 35_000]])
    assert_labels_are_known_in_time(events, parts)
