"""Random rows with the columns of prepared data sets, for the configurations; and how a recipe is loaded and run."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from nextrec_like import synthetic_funnel
from nextrec_like.cli import main as nextrec_like
from nextrec_like.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("train", "valid", "test")

GOOD = {
    "age": [1.0, 2.0, 3.0],
    "pair": [[1.0, 2.0]] * 3,
    "user": [0, 1, 4],
    "hist": [[1, 2], [], [3]],
    "is_click": [1, 0, 1],
    "buy": [1, 0, 0],
    "price": [1.5, -2.0, 0.0],
}
"""Three rows of encoded columns and labels that keep the input contract."""


def load_recipe(name):
    """The module ``datasets/<name>/prepare.py``; its own additions to the path are taken back."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", ROOT / "datasets" / name / "prepare.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    sys.path[:] = path
    return recipe


def run_recipe(recipe, folder, *options):
    """The three prepared tables by name, as attributes."""
    out = folder / "out"
    recipe.main(["--source", str(folder / "source"), "--out", str(out), *map(str, options)])
    assert sorted(path.name for path in out.iterdir()) == ["test.parquet", "train.parquet", "valid.parquet"]
    return SimpleNamespace(**{part: pq.read_table(out / f"{part}.parquet") for part in PARTS})


def train_config(config, tables, folder, monkeypatch):
    """One epoch of a configuration on the tables of the three parts, by part; its exit status."""
    monkeypatch.chdir(folder)
    words = ["training.epochs=1", "training.seeds=[0]", "training.batch_size=64", "training.device=cpu"]
    words.append("data.checks=false")  # of rows that are drawn at random
    for part, table in tables.items():
        table.to_parquet(folder / f"{part}-rows.parquet")
        words.append(f"data.{part}={part}-rows.parquet")
    return nextrec_like(
        ["train", str(ROOT / "configs" / f"{config}.yaml"), *(w for text in words for w in ("--set", text))]
    )


def aliexpress_rows(num_rows, seed):
    rng = np.random.default_rng(seed)
    columns = {f"categorical_{number}": rng.integers(0, 5, num_rows) for number in range(1, 17)}
    columns |= {f"numerical_{number}": rng.random(num_rows, np.float32) for number in range(1, 64)}
    pages = [f"{page}" for page in rng.integers(0, num_rows // 5, num_rows)]
    return pd.DataFrame({"search_id": pages, **columns, **_funnel(rng, num_rows)})


def ali_ccp_rows(num_rows, seed):
    rng = np.random.default_rng(seed)
    recipe = load_recipe("ali_ccp")
    ids = {name: rng.integers(1, 9, num_rows) for name in (*recipe.USER.values(), *recipe.SAMPLE.values())}
    return pd.DataFrame({**ids, **_funnel(rng, num_rows)})


def kuairand_rows(num_rows, seed):
    rng = np.random.default_rng(seed)
    recipe = load_recipe("kuairand")
    texts = ("user_active_degree", *recipe.RANGES, "video_type", "upload_type")
    codes = ("user_id", "video_id", "author_id", "music_type", "tab", *recipe.USER_CODES)
    return pd.DataFrame(
        {
            **{name: rng.integers(0, 9, num_rows) for name in codes},
            **{name: rng.choice(["a", "b", None], num_rows) for name in texts},
            "hour": rng.integers(0, 24, num_rows),
            "duration_ms": rng.integers(1, 60_000, num_rows).astype(float),
            "tag": rng.choice(["1", "1,2", "3,1,2", None], num_rows),
            **{label: rng.integers(0, 2, num_rows) for label in recipe.LABELS},
        }
    )


def movielens_1m_rows(num_rows, seed):
    rng = np.random.default_rng(seed)
    codes = ("user_id", "movie_id", "age", "occupation", "year")
    rating = rng.integers(1, 6, num_rows)
    return pd.DataFrame(
        {
            **{name: rng.integers(0, 9, num_rows) for name in codes},
            "gender": rng.choice(["F", "M"], num_rows),
            "zip_code": rng.choice(["48067", "02460-1234"], num_rows),
            "genres": [["Drama"] * count for count in rng.integers(1, 4, num_rows)],
            "rating": rating,
            "like": (rating >= 4).astype(int),
        }
    )


def tenrec_rows(num_rows, seed):
    rng = np.random.default_rng(seed)
    codes = ("user_id", "item_id", "gender", "age")
    return pd.DataFrame(
        {
            **{name: rng.integers(1, 9, num_rows) for name in codes},
            "video_category": rng.choice(["0", "1", None], num_rows),
            "history": [rng.integers(1, 9, size).tolist() for size in rng.integers(0, 11, num_rows)],
            **{label: rng.integers(0, 2, num_rows) for label in ("click", "like", "share", "follow")},
        }
    )


def census_rows(num_rows, seed):
    """Random rows with the columns that the census configurations use."""
    rng = np.random.default_rng(seed)
    columns = load_config(ROOT / "configs" / "census_income_mmoe.yaml").features.sparse
    features = {column.name: rng.choice(["a", "b", "c", None], num_rows) for column in columns}
    labels = {task: rng.integers(0, 2, num_rows) for task in ("income", "never_married", "college")}
    return pd.DataFrame({**features, **labels})


def beibei_rows(num_rows, seed):
    """Random pairs of a strict funnel; the items of the three parts differ a little."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 4, num_rows)
    counts = {f"item_{event}s": rng.integers(0, 50, num_rows) for event in ("cart", "buy")}
    ids = {"user": rng.integers(1, 40, num_rows), "item": rng.integers(seed, 60, num_rows)}
    return pd.DataFrame({**ids, **counts, "click": level >= 1, "cart": level >= 2, "buy": level >= 3}).astype("int32")


def deskdrop_rows(num_rows, seed):
    """Random first views with the columns that the recipe writes."""
    rng = np.random.default_rng(seed)
    labels = ("like", "bookmark", "comment", "follow")
    counts = [f"{owner}_{event}s" for owner in ("user", "article") for event in ("view", *labels)]
    return pd.DataFrame(
        {
            "user": rng.integers(-20, 20, num_rows),
            "article": rng.integers(-99, 99, num_rows),
            **{name: rng.choice(["a", "b", None], num_rows) for name in ("agent", "region", "country")},
            "hour": rng.integers(0, 24, num_rows),
            "weekday": rng.integers(0, 7, num_rows),
            "article_age": rng.exponential(100, num_rows),
            **{name: rng.integers(0, 9, num_rows) for name in counts},
            **{label: rng.integers(0, 2, num_rows) for label in labels},
        }
    )


ROWS = {
    "beibei": beibei_rows,
    "census_income": census_rows,
    "deskdrop": deskdrop_rows,
    "synthetic_funnel": synthetic_funnel,
    "aliexpress": aliexpress_rows,
    "ali_ccp": ali_ccp_rows,
    "kuairand": kuairand_rows,
    "movielens_1m": movielens_1m_rows,
    "tenrec": tenrec_rows,
}
"""By folder of the data set."""


def _funnel(rng, num_rows):
    click = rng.integers(0, 2, num_rows)
    return {"click": click, "conversion": click * rng.integers(0, 2, num_rows)}
