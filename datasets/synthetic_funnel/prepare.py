"""Writes the synthetic funnel as three parquet files, split by time.

python datasets/synthetic_funnel/prepare.py [--rows 1000000] [--seed 0] [--out FOLDER]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nextrec_like.data.splits import split_by_time
from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.errors import InputError
from nextrec_like.metrics import expected_auc

FOLDER = Path(__file__).resolve().parent


def divide(log: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The first 80 % of the rows for training, the next 10 % for validation, the last 10 % for the test.

    Raises:
        InputError: If there are fewer than 10 rows, so that a part would be empty.
    """
    if len(log) < 10:
        raise InputError(f"A log should have at least 10 rows, so that no part is empty. Received {len(log)}.")
    train, valid, test = split_by_time(log, "time")
    return {"train": train, "valid": valid, "test": test}


def summary(parts: dict[str, pd.DataFrame]) -> str:
    """A table of the size of each part and of its rates."""
    lines = [f"{'part':<6} {'rows':>10} {'click':>8} {'conversion given click':>23}"]
    for name, part in parts.items():
        clicks = part["click"].sum()
        cvr = part["conversion"].sum() / max(clicks, 1)
        lines.append(f"{name:<6} {len(part):>10,} {clicks / len(part):>8.2%} {cvr:>23.2%}")
    return "\n".join(lines)


def truth(log: pd.DataFrame) -> str:
    """How clicked rows differ from all impressions, and how far each true probability ranks the conversions."""
    click, conversion = log["true_click"], log["true_conversion_given_click"]
    clicks = log["click"].sum()
    in_tenth = log.nlargest(max(1, len(log) // 10), "true_click")["click"].sum()
    by_click, best = expected_auc(conversion, click), expected_auc(conversion, conversion)
    facts = {
        "mean true p(conversion given click), all impressions": f"{conversion.mean():.2%}",
        "impressions with true p(click) below 0.5 %": f"{(click < 0.005).mean():.0%}",
        "share of the clicks in the tenth with the highest p(click)": f"{in_tenth / max(clicks, 1):.0%}",
        "AUC against p(conversion given click): true p(click)": f"{by_click:.2f}",
        "AUC against p(conversion given click): itself, the best possible": f"{best:.2f}",
    }
    return "\n".join(f"{name:66s} {value:>6}" for name, value in facts.items())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the synthetic funnel and split it by time.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of impressions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for train, valid and test.parquet")
    arguments = parser.parse_args(argv)
    try:
        log = synthetic_funnel(arguments.rows, arguments.seed)
        parts = divide(log)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        part.to_parquet(arguments.out / f"{name}.parquet", index=False)
    print(f"{summary(parts)}\n\n{truth(log)}")


if __name__ == "__main__":
    main()
