"""ESMM against the same towers trained on clicked rows only, judged by the true p(conversion given click).

A CVR model is used on all impressions, but clicks and so conversions are seen on a biased sample of them. The
synthetic log knows the true probability of every row, so the AUC over all impressions can be measured: each row counts
as a positive with weight p and as a negative with weight 1 - p. Selection uses the validation labels only.

    python examples/02_entire_space.py --rows 300000 --seeds 10 11 12
"""

import argparse
from statistics import mean, stdev

import pandas as pd

from nextrec_like import (
    ESMM,
    DataProcessor,
    IdColumn,
    NumericColumn,
    SequenceColumn,
    split_by_time,
    synthetic_funnel,
)
from nextrec_like.metrics import expected_auc

IDS = ("user_id", "item_id", "category", "brand", "city", "device", "hour", "position")
TOWER = {"dims": [64, 32]}


def train_model(objective: str, train: pd.DataFrame, valid: pd.DataFrame, seed: int) -> ESMM:
    """Two towers on shared embeddings, with the meaning of the conversion logit that `objective` gives it."""
    processor = DataProcessor(
        [
            NumericColumn("price", scaling="log1p"),
            NumericColumn("user_age", fill_value="mean"),
            *[IdColumn(name, min_count=2, embedding_dim=8) for name in IDS],
            SequenceColumn("history", vocabulary_of="item_id", max_len=10),
        ]
    ).fit(train)
    model = ESMM(
        **processor.features(), target=["click", "conversion"], ctr_params=TOWER, cvr_params=TOWER, processor=processor
    )
    model.compile(optimizer="adam", optimizer_params={"lr": 2e-3}, objective=objective)
    model.fit(train, valid, epochs=8, batch_size=1024, patience=2, seed=seed, verbose=0)
    return model


def truth_auc(model: ESMM, test: pd.DataFrame) -> float:
    """AUC of the predicted p(conversion given click) against the true one, over all impressions."""
    score = model.predict(test)["conversion_given_click"]
    return expected_auc(test["true_conversion_given_click"], score)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    args = parser.parse_args()
    results: dict[str, list[float]] = {}
    for seed in args.seeds:
        train, valid, test = split_by_time(synthetic_funnel(args.rows, seed), "time")
        clicked = train[train["click"] == 1], valid[valid["click"] == 1]
        models = {
            "entire space (ESMM)": train_model("entire_space", train, valid, seed),
            "conversion on clicked rows, click on all": train_model("click_space", train, valid, seed),
            "both on clicked rows only": train_model("click_space", *clicked, seed),
        }
        for name, model in models.items():
            results.setdefault(name, []).append(truth_auc(model, test))
    for name, values in results.items():
        spread = f" +- {stdev(values):.4f}" if len(values) > 1 else ""
        print(f"{name:42s} {mean(values):.4f}{spread}   {'  '.join(f'{value:.4f}' for value in values)}")


if __name__ == "__main__":
    main()
