"""A model as text."""

from typing import TYPE_CHECKING

from nextrec_like.features import DenseFeature, FeatureSet, IdFeature, SequenceFeature
from nextrec_like.training.progress import format_table

if TYPE_CHECKING:
    from nextrec_like.training.predictor import Predictor


def model_summary(model: "Predictor") -> str:
    """Features, tasks and the parameters of each part."""
    features = [*model.features.dense, *model.features.ids]
    sections = [
        type(model).__name__,
        format_table(
            ["feature", "kind", "vocabulary", "width", "table"],
            [_feature_row(feature, model.features) for feature in features],
        ),
        format_table(
            ["task", "label", "kind", "parent"],
            [[task.name, task.column, task.kind, task.parent or "-"] for task in model.tasks],
        ),
        format_table(["part", "parameters"], _part_rows(model)),
    ]
    return "\n\n".join(sections)


def _feature_row(feature: DenseFeature | IdFeature, features: FeatureSet) -> list[str]:
    if isinstance(feature, DenseFeature):
        return [feature.name, "dense", "-", str(feature.dim), "-"]
    kind = "sparse"
    if isinstance(feature, SequenceFeature):
        attends = feature.pooling == "target_attention"
        kind = f"sequence ({feature.pooling}{f' by {features.query_of(feature).name}' if attends else ''})"
    return [feature.name, kind, f"{feature.vocab_size:,}", str(feature.width), feature.table]


def _part_rows(model: "Predictor") -> list[list[str]]:
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    rows = [[name, f"{count:,}"] for name, count in counts.items() if count]
    dense = sum(parameter.numel() for parameter in model.dense_parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    return [*rows, ["all", f"{total:,}"], ["outside embedding tables", f"{dense:,}"]]
