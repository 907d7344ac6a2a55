"""A weighting from what the user writes in `compile(loss_weights=...)`."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TypeAlias

from nextrec_like.errors import InputError, check_keys, unknown
from nextrec_like.weighting.base import Weighting
from nextrec_like.weighting.equal import Equal
from nextrec_like.weighting.fixed import Fixed

WeightingSpec: TypeAlias = float | str | Sequence[float] | Mapping[str, object] | Weighting | None


def build_weighting(
    spec: WeightingSpec, task_names: Sequence[str], registry: Mapping[str, type[Weighting]]
) -> Weighting:
    """A weighting bound to the tasks.

    Args:
        spec: None (equal), a number, a list in task order, a dict by task name, the name of a method,
            ``{"method": name, **options}``, or a `Weighting`.
        task_names: The tasks.
        registry: Weighting by name.

    Raises:
        InputError: For an unknown method or option, with the closest one, or wrong weights.
    """
    weighting = _build(spec, task_names, registry)
    weighting.bind(task_names)
    return weighting


def _build(spec: WeightingSpec, task_names: Sequence[str], registry: Mapping[str, type[Weighting]]) -> Weighting:
    if spec is None:
        return Equal()
    if isinstance(spec, Weighting):
        return spec
    if isinstance(spec, str):
        return _from_options({"method": spec}, registry)
    if isinstance(spec, Mapping) and "method" in spec and "method" not in task_names:
        return _from_options(spec, registry)
    return Fixed(spec)  # type: ignore[arg-type]


def _from_options(options: Mapping[str, object], registry: Mapping[str, type[Weighting]]) -> Weighting:
    method = options["method"]
    if not isinstance(method, str) or method not in registry:
        raise unknown("weighting method", method, registry)
    accepted = signature(registry[method]).parameters
    given = {key: value for key, value in options.items() if key != "method"}
    check_keys(f"option of weighting `{method}`", given, accepted)
    required = [name for name, parameter in accepted.items() if parameter.default is parameter.empty]
    for name in required:
        if name not in given:
            raise InputError(f"The weighting `{method}` needs the option `{name}`.")
    return registry[method](**given)
