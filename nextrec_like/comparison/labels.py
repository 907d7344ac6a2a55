"""What variants are called: the parts in which they differ, in few words."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, count
from typing import Any

from nextrec_like.config.section import ModelSection


def model_label(model: ModelSection, models: Sequence[ModelSection]) -> str:
    """The name of a model, with its options if another of the models has the same name."""
    if sum(each.name == model.name for each in models) == 1:
        return model.name
    return f"{model.name} {_options(model.options)}".strip()


def weighting_label(spec: Any, task_names: Sequence[str] = ()) -> str:  # noqa: ANN401
    """The name of a method, or the fixed weights."""
    if spec is None:
        return "equal"
    if isinstance(spec, str):
        return spec
    if isinstance(spec, Mapping) and "method" in spec and "method" not in task_names:
        return str(spec["method"])
    return f"fixed {short(spec)}"


def method_options(spec: Any, task_names: Sequence[str]) -> str:  # noqa: ANN401
    """The options beside a method; empty for anything else."""
    if not isinstance(spec, Mapping) or "method" not in spec or "method" in task_names:
        return ""
    return _options({key: value for key, value in spec.items() if key != "method"})


def unique_label(spec: Any, task_names: Sequence[str], taken: Collection[str]) -> str:  # noqa: ANN401
    """A name that no other weighting has: that of the method, then with its options, then with a number."""
    name = weighting_label(spec, task_names)
    longer = f"{name} {method_options(spec, task_names)}".strip()
    numbered = (f"{longer} ({number})" for number in count(2))
    return next(each for each in chain([name, longer], numbered) if each not in taken)


def _options(options: Any) -> str:  # noqa: ANN401
    return ", ".join(f"{key} {short(value)}" for key, value in options.items())


def short(value: Any) -> str:  # noqa: ANN401
    """A value of an option in few characters."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {short(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ":".join(short(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
