import pytest
from rows import ali_ccp_rows, load_recipe, run_recipe, train_config

recipe = load_recipe("ali_ccp")
COLUMNS = [*recipe.USER.values(), *recipe.SAMPLE.values(), *recipe.LABELS]


def features(*triples):
    return "\x01".join(f"{field}\x02{number}\x03{value}" for field, number, value in triples)


def common_line(index, user, gender=True):
    """One line of common_features: some fields once, the behaviours 109_14 twice."""
    triples = [
        ("101", user, 1.0),
        ("109_14", 4_000_001, 2.19722),
        ("109_14", 4_000_002, 0.69315),
        ("125", 3_864_890, 1.0),
    ]
    triples += [("124", 3_864_885, 1.0)] if gender else []
    return f"{index},{len(triples)},{features(*triples)}"


def sample_line(sample, click, conversion, index, item):
    """One line of sample_skeleton: intention 210 twice, the combination 508 twice, no 853."""
    triples = [("301", 9_351_665, 1.0), ("205", item, 1.0), ("210", 9_038_004, 1.0), ("210", 9_038_005, 1.0)]
    triples += [("508", 8_316_798, 4.41884), ("508", 8_316_799, 0.69315)]
    return f"{sample},{click},{conversion},{index},{len(triples)},{features(*triples)}"


def write(folder, name, samples, common):
    target = folder / "source" / f"sample_{name}"
    target.mkdir(parents=True)
    (target / f"sample_skeleton_{name}.csv").write_text("\n".join(samples) + "\n")
    (target / f"common_features_{name}.csv").write_text("\n".join(common) + "\n")
    return target


def write_both(folder, num_users=200):
    """Three samples for each of the users; the first is a click, every other user's is a conversion, too."""
    for name, first in (("train", 0), ("test", 5000)):
        users = range(first, first + num_users)
        common = [common_line(f"{user:016x}", 100_000 + user, gender=user % 2 == 0) for user in users]
        lines = []
        for user in users:
            index = f"{user:016x}"
            lines.append(sample_line(3 * user, 1, user % 2, index, 700_000))
            lines.append(sample_line(3 * user + 1, 0, 0, index, 700_001))
            lines.append(sample_line(3 * user + 2, 0, 0, index, 700_002))
        write(folder, name, lines, common)


def test_fields_are_joined_by_hand(tmp_path):
    write_both(tmp_path)

    parts = run_recipe(recipe, tmp_path)

    assert parts.test.column_names == COLUMNS
    first, second, fourth = (parts.test.slice(row, 1).to_pylist()[0] for row in (0, 1, 3))
    present = {"user_id": 105_000, "user_age": 3_864_890, "user_gender": 3_864_885, "position": 9_351_665}
    expected = dict.fromkeys(COLUMNS) | present | {"item_id": 700_000, "user_item_category": 8_316_799}
    assert first == expected | {"click": 1, "conversion": 0}
    assert second == expected | {"item_id": 700_001, "click": 0, "conversion": 0}
    assert (fourth["user_id"], fourth["user_gender"], fourth["click"], fourth["conversion"]) == (105_001, None, 1, 1)


def test_training_samples_of_one_record_stay_together(tmp_path, capsys):
    write_both(tmp_path, num_users=400)

    parts = run_recipe(recipe, tmp_path)

    train, valid = (set(part["user_id"].to_pylist()) for part in (parts.train, parts.valid))
    assert not train & valid
    assert train | valid == set(range(100_000, 100_400))
    assert (len(parts.train) + len(parts.valid), len(parts.test)) == (1200, 1200)
    # 400 records with probability 0.1: mean 40, standard deviation 6
    assert 20 <= len(valid) <= 62
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["test", "1,200", "33.333%", "16.667%"]
    assert lines[4] == "0 samples with a conversion but no click were left out."


def test_a_conversion_without_a_click_is_left_out_and_counted(tmp_path, capsys):
    write_both(tmp_path)
    path = tmp_path / "source" / "sample_test" / "sample_skeleton_test.csv"
    path.write_text(path.read_text() + sample_line(1, 0, 1, f"{5000:016x}", 700_000) + "\n")

    assert len(run_recipe(recipe, tmp_path).test) == 600
    assert "\n1 samples with a conversion but no click were left out." in capsys.readouterr().out


def test_chunks_do_not_change_the_result(tmp_path, monkeypatch):
    write_both(tmp_path)
    whole = run_recipe(recipe, tmp_path)
    monkeypatch.setattr(recipe, "CHUNK_ROWS", 7)

    small = run_recipe(recipe, tmp_path)

    assert small.train.equals(whole.train)
    assert small.valid.equals(whole.valid)
    assert small.test.equals(whole.test)


def test_share_keeps_whole_records_of_every_part(tmp_path):
    write_both(tmp_path, num_users=400)

    half = run_recipe(recipe, tmp_path, "--share", "0.5")

    for part in vars(half).values():
        assert len(part) == 3 * len(set(part["user_id"].to_pylist()))
    # 400 records with probability 0.5: mean 200, standard deviation 10
    assert 160 <= len(half.test) / 3 <= 240


def spoil(folder, name, change):
    write_both(folder, num_users=30)
    path = next((folder / "source").rglob(name))
    path.write_text(change(path.read_text()))
    with pytest.raises(SystemExit) as caught:
        run_recipe(recipe, folder)
    assert not list((folder / "out").iterdir())
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    write_both(tmp_path, num_users=30)
    (tmp_path / "source" / "sample_test" / "common_features_test.csv").unlink()
    with pytest.raises(SystemExit, match=r"error: .* should hold common_features_test.csv, itself or in a"):
        run_recipe(recipe, tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"`--source` should be a folder"):
        run_recipe(recipe, tmp_path)


def test_a_file_that_is_there_twice_is_an_error(tmp_path):
    write_both(tmp_path, num_users=30)
    path = tmp_path / "source" / "sample_train" / "sample_skeleton_train.csv"
    (tmp_path / "source" / path.name).write_text(path.read_text())
    with pytest.raises(SystemExit, match=r"holds sample_skeleton_train.csv more than once"):
        run_recipe(recipe, tmp_path)


def test_a_cut_line_is_named(tmp_path):
    message = spoil(tmp_path, "sample_skeleton_train.csv", lambda text: text + "91,0,0,00")
    assert "should have 6 comma-separated values in every line. Received 4 in line 91" in message


def test_common_features_that_are_not_there_are_an_error(tmp_path):
    message = spoil(tmp_path, "common_features_train.csv", lambda text: text.split("\n", 1)[1])
    assert "names the common features 0000000000000000 in line 1, which the file of the common features" in message


@pytest.mark.parametrize("name", ["sample_skeleton_test.csv", "common_features_test.csv"])
def test_another_separator_is_an_error(tmp_path, name):
    message = spoil(tmp_path, name, lambda text: text.replace("\x01", ";"))
    assert f"{name} is damaged or of another form in line 1" in message


def test_an_id_that_is_no_number_is_an_error(tmp_path):
    message = spoil(tmp_path, "sample_skeleton_train.csv", lambda text: text.replace("\x02700001", "\x02shoe", 1))
    assert "sample_skeleton_train.csv is damaged or of another form in line 2" in message


def test_the_config_trains_on_prepared_files(tmp_path, monkeypatch):
    write_both(tmp_path)
    parts = run_recipe(recipe, tmp_path)

    tables = {part: table.to_pandas() for part, table in vars(parts).items()}
    assert train_config("ali_ccp_esmm", tables, tmp_path, monkeypatch) == 0


def test_the_config_trains_on_generated_rows(tmp_path, monkeypatch, capsys):
    tables = {part: ali_ccp_rows(200, seed) for seed, part in enumerate(("train", "valid", "test"))}

    assert (train_config("ali_ccp_esmm", tables, tmp_path, monkeypatch), capsys.readouterr().err) == (0, "")


def test_generated_rows_have_the_columns_of_the_recipe():
    assert list(ali_ccp_rows(20, seed=0).columns) == COLUMNS
