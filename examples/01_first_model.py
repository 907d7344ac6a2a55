"""A first model: from a log of impressions to the AUC of each task."""

import pandas as pd

from nextrec_like import (
    DataProcessor,
    IdColumn,
    MMoE,
    NumericColumn,
    SequenceColumn,
    Task,
    load_model,
    split_by_time,
    synthetic_funnel,
)

log = synthetic_funnel(500_000)  # a DataFrame; a path to CSV or parquet works as well
train, valid, test = split_by_time(log, "time")

processor = DataProcessor(
    [
        NumericColumn("price", scaling="log1p"),
        NumericColumn("user_age", fill_value="mean"),
        *[IdColumn(name, min_count=2) for name in ("user_id", "item_id", "category", "city", "device")],
        SequenceColumn("history", vocabulary_of="item_id", max_len=10),
    ]
).fit(train)

model = MMoE(
    **processor.features(),
    target=["click", Task("conversion", parent="click")],
    num_experts=4,
    expert_params={"dims": [64, 32]},
    tower_params={"dims": [32]},
    processor=processor,
)
model.compile(optimizer="adam", optimizer_params={"lr": 1e-3}, objective="entire_space", loss_weights="grad_norm")
model.fit(train, valid, epochs=5, batch_size=1024, patience=1)

print(pd.DataFrame(model.evaluate(test)).T.round(4))

model.save("runs/first_model")
print(load_model("runs/first_model").predict(test).head(3))
