"""Optimizers by name."""

from collections.abc import Iterable, Mapping
from inspect import signature
from math import isfinite

import torch
from torch import nn
from torch.optim import Optimizer

from nextrec_like.errors import InputError, as_float, check_keys, unknown

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
}
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""One kernel over all parameters, on CPU and CUDA alike."""


def build_optimizer(
    spec: str | Optimizer, params: Mapping[str, object] | None, parameters: Iterable[nn.Parameter]
) -> Optimizer:
    """The optimizer over all parameters.

    Args:
        spec: A key of `OPTIMIZERS`, or an instance that was made with the model's parameters.
        params: Options such as ``{"lr": 1e-3, "weight_decay": 1e-5}``.
        parameters: The parameters of the model.

    Raises:
        InputError: For an unknown name or option, with the closest one, or an instance with other parameters.
    """
    if isinstance(spec, Optimizer):
        return _checked_instance(spec, params, parameters)
    if not isinstance(spec, str):
        raise InputError(f"`optimizer` should be a name or a torch optimizer. Received {spec!r}.")
    if spec.lower() not in OPTIMIZERS:
        raise unknown("optimizer", spec, OPTIMIZERS)
    kind = OPTIMIZERS[spec.lower()]
    options = checked_params(params)
    check_keys(
        f"option of optimizer `{spec}`", options, [name for name in signature(kind).parameters if name != "params"]
    )
    for name, value in options.items():
        _check_type(f"`optimizer_params.{name}` of `{spec}`", value, signature(kind).parameters[name].default)
    if kind in FUSED and "foreach" not in options:
        options.setdefault("fused", True)
    try:
        return kind(parameters, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"`optimizer_params` of `{spec}` are not valid: {error}. Received {dict(params or {})}."
        ) from error


def checked_params(params: Mapping[str, object] | None) -> dict[str, object]:
    """The options of an optimizer.

    Raises:
        InputError: If they are no mapping.
    """
    if params is not None and not isinstance(params, Mapping):
        raise InputError(f"`optimizer_params` should be a dict such as {{'lr': 1e-3}}. Received {params!r}.")
    return dict(params or {})


def _check_type(what: str, value: object, default: object) -> None:
    """Raises for what torch takes, and fails on in the first step: an option of another type than its default."""
    rule = None
    if default is None or isinstance(default, bool):
        rule = None if isinstance(value, bool) or value is default else "True or False"
    elif isinstance(default, tuple):
        listed = value if isinstance(value, list | tuple) else ()
        rule = None if len(listed) == len(default) and all(map(_is_number, listed)) else f"{len(default)} numbers"
    elif isinstance(default, float | int):
        rule = None if _is_number(value) else "a number"
    if rule is not None:
        raise InputError(f"{what} should be {rule}. Received {value!r}.")


def _is_number(value: object) -> bool:
    return isfinite(as_float(value))


def name_of(spec: str | Optimizer) -> str:
    """Key of `OPTIMIZERS`; of an instance none, as its options are not known."""
    return spec.lower() if isinstance(spec, str) else ""


def move_state(optimizer: Optimizer) -> None:
    """Moves the state to where the parameters are now; torch knows which of it belongs there."""
    if optimizer.state:
        optimizer.load_state_dict(optimizer.state_dict())


def _checked_instance(
    optimizer: Optimizer, params: Mapping[str, object] | None, parameters: Iterable[nn.Parameter]
) -> Optimizer:
    if params:
        raise InputError("`optimizer_params` are given beside an optimizer instance; set them on the instance.")
    if isinstance(optimizer, (torch.optim.LBFGS, torch.optim.SparseAdam)):
        raise InputError(
            f"`optimizer` is {type(optimizer).__name__}, which needs a closure or sparse gradients; use another one."
        )
    own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not own <= {id(parameter) for parameter in parameters}:
        raise InputError("`optimizer` holds parameters that are not this model's; make it with `model.parameters()`.")
    return optimizer
