"""AUCs of mean rates on the prepared Beibei files: a model below them has learned nothing.

python datasets/beibei/floors.py [--data FOLDER] [--part test]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextrec_like.metrics import auc

FOLDER = Path(__file__).resolve().parent
STRENGTH = 20
"""Rows of average outcome that each user and item is given beforehand."""

Outcomes = dict[str, tuple[str, str | None]]
OUTCOMES: Outcomes = {
    "click": ("click", None),
    "cart": ("cart", None),
    "buy": ("buy", None),
    "cart_given_click": ("cart", "click"),
    "buy_given_cart": ("buy", "cart"),
    "buy among clicks": ("buy", "click"),
}
"""Label, and the event that the rows are limited to."""

Scores = npt.NDArray[np.float64]


def smoothed_rate(train: pd.DataFrame, part: pd.DataFrame, column: str, label: str) -> Scores:
    """Mean label of the user or item of each row over the training rows, drawn to the mean of all where they are few.

    Args:
        train: Rows with `column` and `label`, N of them.
        part: M rows with `column`.
        column: `user` or `item`.
        label: Column of 0 and 1.

    Returns:
        ``(positives + STRENGTH * rate) / (rows + STRENGTH)``, shape ``(M,)``, where the rate is that of all N rows.
    """
    rate = train[label].mean()
    seen = train.groupby(column)[label].agg(["sum", "size"])
    smoothed = (seen["sum"] + STRENGTH * rate) / (seen["size"] + STRENGTH)
    return part[column].map(smoothed).fillna(rate).to_numpy()


def log_odds(probability: Scores) -> Scores:
    return np.log(probability) - np.log1p(-probability)


def floor_aucs(train: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """AUC of each simple score for each outcome, with the outcomes as index."""
    rows = {}
    for name, (label, parent) in OUTCOMES.items():
        known = train if parent is None else train[train[parent] == 1]
        asked = part if parent is None else part[part[parent] == 1]
        item, user = (smoothed_rate(known, asked, column, label) for column in ("item", "user"))
        scores = {
            "item rate": item,
            "user rate": user,
            "item and user": log_odds(item) + log_odds(user),
            "item_carts": asked["item_carts"].to_numpy(),
            "item_buys": asked["item_buys"].to_numpy(),
        }
        rows[name] = {score: auc(asked[label], values) for score, values in scores.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="AUCs of mean rates on the prepared Beibei files.")
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder with the prepared files")
    parser.add_argument("--part", choices=("valid", "test"), default="test")
    arguments = parser.parse_args(argv)
    paths = [arguments.data / f"{part}.parquet" for part in ("train", arguments.part)]
    for path in paths:
        if not path.is_file():
            raise SystemExit(f"error: {path} is missing. Write it with `python datasets/beibei/prepare.py` first.")
    print(floor_aucs(*map(pd.read_parquet, paths)).to_string(float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
