"""AUC of logistic regression and gradient-boosted trees on the rows and columns of configs/census_income_*.yaml.

After `python datasets/census_income/prepare.py`:

    python tests/benchmarks/census_reference.py
"""

from pathlib import Path

import pandas as pd
import torch
import yaml
from results import ROOT, parser_of, write_results
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from threadpoolctl import threadpool_limits

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
    parser = parser_of(__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "datasets" / "census_income")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    columns = yaml.safe_load((ROOT / "configs" / "census_income_mmoe.yaml").read_text())["features"]["sparse"]
    train, test = (pd.read_parquet(arguments.folder / f"{part}.parquet") for part in ("train", "test"))
    features, test_features = (part[columns].fillna("?").astype(str) for part in (train, test))
    results = []
    for name, build in REFERENCES.items():
        for task in ("income", "never_married"):
            with threadpool_limits(arguments.threads):
                score = build().fit(features, train[task]).predict_proba(test_features)[:, 1]
            results.append({"model": name, "task": task, "auc": roc_auc_score(test[task], score)})
            print(f"{name:24s} {task:14s} AUC {results[-1]['auc']:.4f}", flush=True)
    settings = {"train_rows": len(train), "test_rows": len(test)}
    write_results("census_reference", settings, results, arguments.output)


if __name__ == "__main__":
    main()
