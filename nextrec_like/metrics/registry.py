"""The metrics by name, with what a caller must know to choose among them."""

from collections.abc import Callable
from dataclasses import dataclass

from nextrec_like.metrics.auc import auc
from nextrec_like.metrics.calibration import ece, pcoc
from nextrec_like.metrics.gauc import gauc
from nextrec_like.metrics.logloss import logloss
from nextrec_like.metrics.pr_auc import pr_auc
from nextrec_like.metrics.regression import mae, rmse

BINARY = ("binary",)
ANY = ("binary", "regression")


@dataclass(frozen=True)
class Metric:
    """A metric and the tasks that it applies to.

    Args:
        name: Name in `METRICS` and in results.
        function: Called with label and prediction, and with the group if `needs_group`.
        kinds: Kinds of task that it applies to.
        higher_is_better: Direction for model selection; None where a target value is best, as 1 for PCOC.
        needs_group: Whether the function takes the group of each row.
        needs_probability: Whether predictions must be in [0, 1].
    """

    name: str
    function: Callable[..., float]
    kinds: tuple[str, ...]
    higher_is_better: bool | None
    needs_group: bool = False
    needs_probability: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("auc", auc, BINARY, higher_is_better=True),
        Metric("gauc", gauc, BINARY, higher_is_better=True, needs_group=True),
        Metric("logloss", logloss, BINARY, higher_is_better=False, needs_probability=True),
        Metric("pr_auc", pr_auc, BINARY, higher_is_better=True),
        Metric("ece", ece, BINARY, higher_is_better=False, needs_probability=True),
        Metric("pcoc", pcoc, BINARY, higher_is_better=None, needs_probability=True),
        Metric("rmse", rmse, ANY, higher_is_better=False),
        Metric("mae", mae, ANY, higher_is_better=False),
    )
}
