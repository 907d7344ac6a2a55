"""What a configuration asks to compare: models x objectives x weightings, with the baselines that keep it honest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from inspect import Parameter, signature
from itertools import product
from typing import Any

from nextrec_like.comparison.identity import canonical_weighting
from nextrec_like.comparison.labels import method_options, model_label, short, unique_label, weighting_label
from nextrec_like.comparison.results import Role
from nextrec_like.comparison.search import resolve_sampler
from nextrec_like.config import Config, build_tasks, rehearse
from nextrec_like.config.comparison import DEFAULT_WEIGHTINGS
from nextrec_like.config.section import ModelSection
from nextrec_like.errors import InputError, check_keys
from nextrec_like.models import Model
from nextrec_like.tasks import TaskSet
from nextrec_like.training.evaluation import output_names
from nextrec_like.weighting import WEIGHTINGS, Weighting, build_weighting

EQUAL, TUNED, SINGLE, ALL = "equal", "tuned_fixed", "single_task", "all"
SEPARATOR = " / "


@dataclass(frozen=True)
class Setting:
    """One way to train a variant.

    Attributes:
        label: What distinguishes it from the other settings of the variant; empty for a single one.
        config: The configuration of the training, but for the seed.
    """

    label: str
    config: Config


@dataclass(frozen=True)
class Variant:
    """What is compared as one line of the report.

    Attributes:
        name: Unique.
        model: Name of the model.
        objective: Name of the objective, None for the model's own.
        weighting: Name of the weighting.
        role: What it is in the comparison.
        settings: To choose from on the validation rows; at least one.
        references: Names of the variants that it is compared with.
    """

    name: str
    model: str
    objective: str | None
    weighting: str
    role: Role
    settings: list[Setting]
    references: list[str]


@dataclass(frozen=True)
class Family:
    """A model with an objective: everything but the weighting."""

    config: Config
    prefix: str

    def variant(self, weighting: str, role: Role, specs: Sequence[tuple[str, Any]], references: list[str]) -> Variant:
        """A variant of the family, with a setting for each label and weighting, and each learning rate."""
        config = self.config
        return Variant(
            name=self.prefix + weighting,
            model=config.model.name,
            objective=config.objective,
            weighting=weighting,
            role=role,
            settings=[setting for label, spec in specs for setting in settings_of(config, label, spec)],
            references=references,
        )


def expand(config: Config) -> list[Variant]:
    """The variants in the order of the report; those for fixed weights to be found have only equal ones yet.

    Raises:
        InputError: For an unknown model, objective or weighting, or an option that it does not have.
    """
    with config.blame("comparison", "weighting", "tasks"):
        weightings = weighting_specs(config)
        if config.comparison.tuned_fixed is not None:
            resolve_sampler(config.comparison.tuned_fixed.sampler, len(config.tasks))
        check_floors(config)
    variants: list[Variant] = []
    for family in families(config):
        variants += family_variants(family, weightings, [first.name for first in variants[:1]])
    if config.comparison.single_task is not None:
        variants.append(single_task(config, variants[0].name))
    return variants


def check_floors(config: Config) -> None:
    """Raises for a floor of an output or metric that there is not."""
    outputs = output_names(TaskSet(build_tasks(config)))
    for floor in config.comparison.floors:
        check_keys(f"metric of the floor `{floor.name}`", [floor.metric], config.training.metrics)
        check_keys(f"task of the floor `{floor.name}`", floor.values, outputs)


def as_compared(config: Config) -> Config:
    """The configuration with the seeds of the comparison, and the parents that one of its models gives the tasks."""
    section = config.comparison
    num_seeds = len(section.seeds or config.training.all_seeds)
    if section.search_seeds > num_seeds:
        place = config.place("comparison", "search_seeds")
        raise InputError(f"{place}: `search_seeds` is {section.search_seeds}, and there are {num_seeds} `seeds`.")
    if section.seeds is not None:
        training = config.training.model_copy(update={"seed": None, "seeds": section.seeds})
        config = _with(config, training=training)
    for family in families(config):
        tasks = rehearse(family.config).tasks
        if any(task.parent for task in tasks):
            kind = type(config.tasks[0])
            return _with(config, tasks=[kind(**asdict(task)) for task in tasks])
    return config


def families(config: Config) -> list[Family]:
    """Every model with every objective.

    Raises:
        InputError: For an unknown model, option or objective.
    """
    section = config.comparison
    models = section.models or [config.model]
    objectives: Sequence[str | None] = section.objectives or [config.objective]
    for kind, given in (("models", models), ("objectives", objectives)):
        repeated = [each for number, each in enumerate(given) if each in given[:number]]
        if repeated:
            raise InputError(f"{config.place('comparison', kind)}: `{kind}` names {repeated[0]} twice; remove one.")
    found = []
    for (place, model), (other, objective) in product(enumerate(models), enumerate(objectives)):
        parts = [model_label(model, models)] if len(models) > 1 else []
        parts += [str(objective)] if len(objectives) > 1 else []
        chosen = _with(config, weighting=None)
        if section.models:
            chosen = chosen.with_section("model", model, ("comparison", "models", place))
        if section.objectives:
            chosen = chosen.with_section("objective", objective, ("comparison", "objectives", other))
        with config.blame("comparison"):
            rehearse(chosen)
        found.append(Family(chosen, "".join(part + SEPARATOR for part in parts)))
    return found


def family_variants(family: Family, weightings: Mapping[str, list[tuple[str, Any]]], first: list[str]) -> list[Variant]:
    """Equal weights, fixed weights to be found if there is an adaptive method, and all others."""
    equal = family.variant(EQUAL, "equal", [("", None)], first)
    adaptive = [label for label, specs in weightings.items() if _adapts(specs[0][1], family.config)]
    variants, references = [equal], [equal.name]
    if adaptive and family.config.comparison.tuned_fixed is not None and len(family.config.tasks) > 1:
        tuned = family.variant(TUNED, "tuned_fixed", [("equal", None)], [equal.name])
        variants.append(tuned)
        references = [equal.name, tuned.name]
    for label, specs in weightings.items():
        role: Role = "method" if label in adaptive else "fixed"
        variants.append(family.variant(label, role, specs, references))
    return variants


def single_task(config: Config, reference: str) -> Variant:
    """The baseline in which no task shares anything, as deep and wide as what a row passes in the first model."""
    section = config.comparison
    options = section.single_task or single_task_options(rehearse(families(config)[0].config))
    objective = section.objectives[0] if section.objectives else config.objective
    training = config.training.model_copy(update={"diagnose": False})  # there are no shared gradients to compare
    model = ModelSection(name="single_task", **options)
    chosen = _with(config, objective=objective, weighting=None, training=training)
    chosen = chosen.with_section("model", model, ("comparison", "single_task"))
    with config.blame("comparison"):
        rehearse(chosen)
    variant = Family(chosen, "").variant(EQUAL, "single_task", [("", None)], [reference])
    return replace(variant, name=SINGLE)


def single_task_options(model: Model) -> dict[str, Any]:
    """Options with which SingleTask has, for each task, the layers that a row passes in the model."""
    layers = [dict(model.hyperparameters[name]) for name in model.path]  # type: ignore[call-overload]
    if not layers:
        return {}
    return {"tower_params": {**layers[0], "dims": [dim for layer in layers for dim in layer["dims"]]}}


def settings_of(config: Config, label: str, weighting: Any) -> list[Setting]:  # noqa: ANN401
    """The settings with a weighting: one for each learning rate."""
    rates = config.comparison.learning_rates
    chosen = _with(config, weighting=weighting)
    if not rates:
        return [Setting(label, chosen)]
    return [Setting(f"{label}, lr {rate:g}".removeprefix(", "), with_rate(chosen, rate)) for rate in rates]


def with_rate(config: Config, rate: float) -> Config:
    """The configuration with another learning rate."""
    options = {**(config.training.optimizer_params or {}), "lr": rate}
    return _with(config, training=config.training.model_copy(update={"optimizer_params": options}))


def weighting_specs(config: Config) -> dict[str, list[tuple[str, Any]]]:
    """By unique name of a weighting, the label and the specification of each of its settings, equal weights left out.

    Raises:
        InputError: For an unknown method or option.
    """
    given = config.comparison.weightings
    if given is None:
        own = [] if config.weighting is None else [config.weighting]
        given = [*own, *(DEFAULT_WEIGHTINGS if len(config.tasks) > 1 else [])]
    specs = [each for spec in given for each in (other_methods(given) if spec == ALL else [spec])]
    tasks = build_tasks(config)
    names = [task.name for task in tasks]
    found: dict[str, list[tuple[str, Any]]] = {}
    for spec in specs:
        settings = list(tuned(spec, names))
        for _, each in settings:
            build_weighting(each, names, WEIGHTINGS, [task.kind for task in tasks]).release()
        if weighting_label(spec, names) != EQUAL or canonical_weighting(spec, names) != canonical_weighting(
            None, names
        ):
            found[unique_label(spec, names, {EQUAL, TUNED, SINGLE, *found})] = settings
    return found


def other_methods(given: Sequence[Any]) -> list[str]:
    """The methods of the registry that need no option and are not in the list themselves."""
    named = {weighting_label(spec) for spec in given}
    return [name for name, kind in WEIGHTINGS.items() if name not in named and not _needs_options(kind)]


def tuned(spec: Any, task_names: Sequence[str]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Label and specification for every combination of the options to tune, or for the only setting.

    Raises:
        InputError: If `tune` is not a mapping from options to lists of values.
    """
    if not isinstance(spec, Mapping) or "tune" not in spec or "tune" in task_names:
        yield method_options(spec, task_names), spec
        return
    grid, rest = spec["tune"], {key: value for key, value in spec.items() if key != "tune"}
    if not isinstance(grid, Mapping) or not grid or not all(isinstance(each, list) and each for each in grid.values()):
        raise InputError(f"`tune` should map options to lists, such as {{alpha: [0.5, 1.5]}}. Received {grid!r}.")
    if "method" not in rest or set(rest) & set(grid):
        raise InputError(f"`tune` goes with the `method` and options that it does not list itself. Received {spec!r}.")
    for values in product(*grid.values()):
        chosen = dict(zip(grid, values))
        yield ", ".join(f"{key} {short(value)}" for key, value in chosen.items()), {**rest, **chosen}


def _with(config: Config, **update: Any) -> Config:  # noqa: ANN401
    return config.model_copy(update=update)


def _needs_options(kind: type[Weighting]) -> bool:
    return any(each.default is Parameter.empty for each in signature(kind).parameters.values())


def _adapts(spec: Any, config: Config) -> bool:  # noqa: ANN401
    tasks = build_tasks(config)
    weighting = build_weighting(spec, [task.name for task in tasks], WEIGHTINGS, [task.kind for task in tasks])
    weighting.release()
    return weighting.adapts
