"""AUC of logistic regression and gradient-boosted trees on the rows and columns of configs/census_income_*.yaml.

After `python datasets/census_income/prepare.py`:

    python tests/benchmarks/census_reference.py
"""

import argparse
from pathlib import Path

import pandas as pd
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = {
    "logistic regression": lambda: make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), LogisticRegression(solver="liblinear")
    ),
    "gradient-boosted trees": lambda: make_pipeline(
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan")),
        HistGradientBoostingClassifier(categorical_features=[True] * 32, random_state=0),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "datasets" / "census_income")
    folder = parser.parse_args().folder
    columns = yaml.safe_load((ROOT / "configs" / "census_income_mmoe.yaml").read_text())["features"]["sparse"]
    train, test = (pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
    features, test_features = (part[columns].fillna("?").astype(str) for part in (train, test))
    for name, build in REFERENCES.items():
        for task in ("income", "never_married"):
            score = build().fit(features, train[task]).predict_proba(test_features)[:, 1]
            print(f"{name:24s} {task:14s} AUC {roc_auc_score(test[task], score):.4f}", flush=True)


if __name__ == "__main__":
    main()
