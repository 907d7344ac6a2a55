"""The section ``comparison``: what `nextrec-like compare` puts beside each other."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from nextrec_like.config.section import NamedModel, OneOrMore, Section
from nextrec_like.errors import InputError

DEFAULT_WEIGHTINGS = ["uncertainty", "grad_norm", "pcgrad"]
"""One method for each kind of information: losses, gradient norms, conflicts of gradients."""


def _switch(value: object) -> object:
    return {} if value is True else None if value is False else value


Switch = BeforeValidator(_switch)
"""``true`` is all defaults, ``false`` is none at all."""


class TunedFixed(Section):
    """The search for fixed weights on the validation rows.

    Attributes:
        trials: Number of settings to try; None: as many as all adaptive methods try together.
        sampler: ``grid`` (two tasks), ``random``, ``tpe`` (needs optuna), or ``auto``: ``grid`` for two tasks, and
            for more ``tpe`` where optuna is installed, else ``random``.
    """

    trials: int | None = Field(default=None, ge=1)
    sampler: Literal["auto", "grid", "random", "tpe"] = "auto"


class Floor(Section):
    """Values of a metric that a model should be above, such as those of mean rates.

    Attributes:
        name: What they are, and of which rows.
        metric: Name of the metric.
        values: By task, or name such as ``conversion_given_click``.
    """

    name: str
    metric: str = "auc"
    values: dict[str, float]


class ComparisonSection(Section):
    """What is compared. Everything that is not named here is as in the rest of the configuration.

    Attributes:
        models: By default the one of the configuration.
        objectives: By default the one of the configuration.
        weightings: As in `weighting`; ``{method: grad_norm, tune: {alpha: [0.5, 1.5]}}`` has settings to choose from
            on the validation rows. ``all`` stands for every method that needs no option and is not in the list.
        learning_rates: To choose from on the validation rows, for each variant on its own.
        single_task: Options of the baseline SingleTask, true for the layers of the first model, or false for none.
        tuned_fixed: How fixed weights are searched for, or false for not at all.
        seeds: By default those of `training`.
        search_seeds: Number of seeds, the first ones, with which settings are tried.
        floors: Known values, for the report.
        notes: Sentences for the report.
    """

    models: Annotated[list[NamedModel], OneOrMore, Field(min_length=1)] | None = None
    objectives: Annotated[list[str], OneOrMore, Field(min_length=1)] | None = None
    weightings: Annotated[list[Any], OneOrMore, Field(min_length=1)] | None = None
    learning_rates: list[Annotated[float, Field(gt=0)]] = []
    single_task: Annotated[dict[str, Any] | None, Switch] = {}
    tuned_fixed: Annotated[TunedFixed | None, Switch] = TunedFixed()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], OneOrMore, Field(min_length=1)] | None = None
    search_seeds: int = Field(default=1, ge=1)
    floors: list[Floor] = []
    notes: Annotated[list[str], OneOrMore] = []

    @model_validator(mode="after")
    def _check_differ(self) -> "ComparisonSection":
        for name, values in (("learning_rates", self.learning_rates), ("seeds", self.seeds or [])):
            if len(set(values)) < len(values):
                raise InputError(f"`{name}` should differ from each other. Received {values}.")
        return self
