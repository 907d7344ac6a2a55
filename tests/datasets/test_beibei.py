import importlib.util
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from rows import ROOT, load_recipe, run_recipe
from sklearn.metrics import roc_auc_score

REAL = ROOT.parent / "shared" / "data" / "beibei-ai607"
recipe = load_recipe("beibei")
spec = importlib.util.spec_from_file_location("floors_beibei", ROOT / "datasets" / "beibei" / "floors.py")
floors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(floors)

PAIRS = ["1\t10\t0", "1\t11\t1", "2\t10\t2", "2\t11\t3", "3\t12\t3"] + [f"4\t{item}\t0" for item in range(20, 35)]
OTHERS = ["7\t10\t2", "8\t10\t3", "9\t10\t3", "7\t11\t2", "8\t99\t3"]


def write(folder, pairs=PAIRS, others=OTHERS):
    source = folder / "source"
    source.mkdir()
    (source / "task1_val_answers.tsv").write_text("\n".join(pairs) + "\n")
    (source / "task2_train.tsv").write_text("\n".join(others) + "\n")


def whole(parts):
    tables = [part.to_pandas() for part in vars(parts).values()]
    return pd.concat(tables).sort_values(["user", "item"]).set_index(["user", "item"])


def test_levels_become_labels_of_a_strict_funnel(tmp_path):
    write(tmp_path)
    table = whole(run_recipe(recipe, tmp_path))
    assert table.loc[[(1, 10), (1, 11), (2, 10), (2, 11)], ["click", "cart", "buy"]].to_numpy().tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [1, 1, 0],
        [1, 1, 1],
    ]


def test_counts_of_items_are_those_of_other_users(tmp_path):
    write(tmp_path)
    table = whole(run_recipe(recipe, tmp_path))
    # Item 10 is in the carts of users 7, 8 and 9, and 8 and 9 bought it; the buyer 3 of item 12 does not count.
    assert table.loc[[(1, 10), (2, 11), (3, 12)], ["item_carts", "item_buys"]].to_numpy().tolist() == [
        [3, 2],
        [1, 0],
        [0, 0],
    ]


def test_parts_hold_each_pair_once_and_are_always_the_same(tmp_path, capsys):
    write(tmp_path)
    parts = run_recipe(recipe, tmp_path)
    assert [len(part) for part in vars(parts).values()] == [14, 2, 4]
    assert whole(parts).index.is_unique
    assert parts.train.column_names == ["user", "item", "item_carts", "item_buys", "click", "cart", "buy"]
    assert all(run_recipe(recipe, tmp_path).__dict__[name].equals(part) for name, part in vars(parts).items())
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["train", "14"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"pairs": [*PAIRS, "5\t10\t4"]}, "line 21: level 4 is not one of"),
        ({"others": [*OTHERS, "9\t12\t1"]}, "line 6: level 1 is not one of"),
        ({"pairs": [*PAIRS, "2\t10\t0"]}, "line 21: the same user and item"),
        ({"others": [*OTHERS, "3\t12\t3"]}, "1 users, such as 3, are in task1_val_answers.tsv and in task2_train.tsv"),
        ({"pairs": [*PAIRS, "5\t10"]}, "integers with tabs between"),
        ({"pairs": [*PAIRS, "5\tten\t0"]}, "integers with tabs between"),
        ({"pairs": [*PAIRS, "5\t\t0"]}, "integers with tabs between"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(tmp_path, files, words):
    write(tmp_path, **files)
    with pytest.raises(SystemExit, match=f"error: .*{words}"):
        run_recipe(recipe, tmp_path)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_missing_folder_and_file_are_named(tmp_path):
    with pytest.raises(SystemExit, match="error: `--source` should be a folder"):
        run_recipe(recipe, tmp_path)
    write(tmp_path)
    (tmp_path / "source" / "task2_train.tsv").unlink()
    with pytest.raises(SystemExit, match=r"error: .*task2_train\.tsv is missing"):
        run_recipe(recipe, tmp_path)


def test_smoothed_rate_by_hand():
    train = pd.DataFrame({"item": [1, 1, 1, 2], "click": [1, 0, 1, 0]})
    part = pd.DataFrame({"item": [1, 2, 3]})
    # 20 rows of the mean 0.5 are added: (2 + 10) / (3 + 20), (0 + 10) / (1 + 20), and the mean for an unseen item.
    assert floors.smoothed_rate(train, part, "item", "click") == pytest.approx([12 / 23, 10 / 21, 0.5])


def random_funnel(seed):
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 4, 400)
    ids = {"user": rng.integers(0, 9, 400), "item": rng.integers(0, 9, 400), "item_carts": rng.integers(0, 9, 400)}
    labels = {"click": level > 0, "cart": level > 1, "buy": level > 2}
    return pd.DataFrame({**ids, "item_buys": rng.integers(0, 9, 400), **labels}).astype(int)


@pytest.mark.parametrize(("name", "label", "parent"), [("cart", "cart", None), ("cart_given_click", "cart", "click")])
def test_floors_are_those_of_scikit_learn_on_the_rows_of_the_parent(name, label, parent):
    train, part = random_funnel(0), random_funnel(1)
    found = floors.floor_aucs(train, part).loc[name]
    if parent:
        train, part = train[train[parent] == 1], part[part[parent] == 1]
    rates = {}
    for column in ("item", "user"):
        of = {key: train.loc[train[column] == key, label] for key in part[column].unique()}
        rates[column] = [(of[key].sum() + 20 * train[label].mean()) / (len(of[key]) + 20) for key in part[column]]
    odds = {column: np.log(np.array(rate) / (1 - np.array(rate))) for column, rate in rates.items()}
    assert found["item rate"] == pytest.approx(roc_auc_score(part[label], rates["item"]))
    assert found["user rate"] == pytest.approx(roc_auc_score(part[label], rates["user"]))
    assert found["item and user"] == pytest.approx(roc_auc_score(part[label], odds["item"] + odds["user"]), abs=1e-4)
    assert found["item_buys"] == pytest.approx(roc_auc_score(part[label], part["item_buys"]))


def test_floors_are_printed_or_say_what_to_do_first(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"train\.parquet is missing\. Write it with"):
        floors.main(["--data", str(tmp_path)])
    random_funnel(0).to_parquet(tmp_path / "train.parquet")
    random_funnel(1).to_parquet(tmp_path / "valid.parquet")
    floors.main(["--data", str(tmp_path), "--part", "valid"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "click",
        "cart",
        "buy",
        "cart_given_click",
        "buy_given_cart",
        "buy",
    ]


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip(f"The Beibei files may not be redistributed, and {REAL} is not there.")
    return {name: table.reset_index(drop=True) for name, table in recipe.prepare(REAL).items()}


def test_real_rows_and_rates(real):
    together = pd.concat(real.values())
    assert {name: len(part) for name, part in real.items()} == {"train": 170_204, "valid": 24_314, "test": 48_630}
    assert (together["user"].nunique(), together["item"].nunique()) == (10_858, 7_977)
    assert not together.duplicated(["user", "item"]).any()
    rates = together[["click", "cart", "buy"]].mean()
    assert rates.to_list() == pytest.approx([0.5, 0.133, 0.0538], abs=0.0005)
    assert rates["cart"] / rates["click"] == pytest.approx(0.265, abs=0.0005)
    assert rates["buy"] / rates["click"] == pytest.approx(0.108, abs=0.0005)


def test_real_counts_come_from_the_second_file_alone(real):
    carts, buys, users = Counter(), Counter(), set()
    for line in (REAL / "task2_train.tsv").read_text().splitlines():
        user, item, level = map(int, line.split("\t"))
        carts[item] += 1
        buys[item] += level == 3
        users.add(user)
    for part in real.values():
        assert part["item_carts"].to_list() == [carts[item] for item in part["item"]]
        assert part["item_buys"].to_list() == [buys[item] for item in part["item"]]
        assert not users & set(part["user"])


def test_real_floors_are_those_known_of_a_random_fifth(real):
    found = floors.floor_aucs(pd.concat([real["train"], real["valid"]]), real["test"])
    assert found["item rate"][["click", "cart", "buy"]].to_list() == pytest.approx([0.753, 0.700, 0.774], abs=0.01)
    assert found["user rate"][["click", "cart", "buy"]].to_list() == pytest.approx([0.592, 0.541, 0.576], abs=0.01)
    assert found.loc["cart_given_click", "item rate"] == pytest.approx(0.668, abs=0.01)
    assert found.loc["buy among clicks", "item rate"] == pytest.approx(0.757, abs=0.01)
