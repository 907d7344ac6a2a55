"""Arguments as JSON, by their content, so that they can be compared with those of another day."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nextrec_like.objectives import Loss

MAX_TEXT = 2000
"""Characters of an array as JSON; of a longer one only a digest is kept, as files of JSON have a largest size."""


def plain(value: Any) -> Any:  # noqa: ANN401
    """The value as JSON can hold it, equal in each process.

    Losses, optimizers, schedulers and dataclasses are described by class and content, all other objects by the name of
    their class, functions and classes by their own name.
    """
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (Loss, Optimizer, LRScheduler)) or is_dataclass(value):
        return {"class": type(value).__name__, **plain(_content(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _array(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=str)
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON has no infinity, which is the default of `max_norm` of nash_mtl
    named = value is None or isinstance(value, (str, bool, int, float))
    return value if named else getattr(value, "__name__", type(value).__name__)


def _content(value: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """What decides on the work of an object; nothing in it may depend on the process, such as an id."""
    if isinstance(value, Optimizer):
        return {"param_groups": [{**group, "params": len(group["params"])} for group in value.param_groups]}
    if isinstance(value, LRScheduler):
        return value.state_dict()
    return vars(value) if isinstance(value, Loss) else {each.name: getattr(value, each.name) for each in fields(value)}


def _array(values: Any) -> Any:  # noqa: ANN401
    listed = plain(values)
    text = json.dumps(listed)
    digest = blake2b(text.encode(), digest_size=16).hexdigest()
    return listed if len(text) <= MAX_TEXT else f"array with digest {digest}"
