"""When two trainings are the same one: the key of a run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from inspect import Parameter, signature
from typing import Any

import pyarrow as pa

import nextrec_like
from nextrec_like.config import Config, resolve
from nextrec_like.training.device import resolve_device
from nextrec_like.weighting import WEIGHTINGS, BalancerOptions
from nextrec_like.weighting.numbers import task_numbers

NOT_OF_THE_RUN = ("name", "output", "data", "checkpoints")
"""Keys of a configuration that do not change a run; its data are known by their fingerprint."""


def data_fingerprint(tables: Mapping[str, pa.Table]) -> str:
    """A digest of the columns in use of all parts: names, types, values and order of rows."""
    digest = hashlib.sha256()
    for part, table in tables.items():
        digest.update(f"{part}:{table.num_rows}".encode())
        plain = table.replace_schema_metadata().combine_chunks()
        with pa.RecordBatchStreamWriter(pa.PythonFile(_Digest(digest), mode="w"), plain.schema) as stream:
            stream.write_table(plain)
    return digest.hexdigest()


def run_key(config: Config, seed: int, fingerprint: str, num_processes: int = 1) -> str:
    """A digest of the resolved configuration, the seed, the data and the version of the package.

    Args:
        config: The configuration.
        seed: The seed.
        fingerprint: Of the data.
        num_processes: Processes that train one model together, of which each has its own `batch_size`.

    Raises:
        InputError: For a configuration that `compile` or `fit` would refuse.
    """
    content = canonical(config)
    content["training"]["seeds"] = [seed]
    whole: dict[str, Any] = {"config": content, "data": fingerprint, "version": nextrec_like.__version__}
    if num_processes > 1:
        whole["processes"] = num_processes
    text = json.dumps(whole, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(config: Config) -> dict[str, Any]:
    """The resolved configuration in one form: its weighting is equal however it was written.

    Raises:
        InputError: For a configuration that `compile` or `fit` would refuse.
    """
    content = {key: value for key, value in resolve(config).items() if key not in NOT_OF_THE_RUN}
    names = [task["name"] for task in content["tasks"]]
    training = content["training"]
    training["optimizer"] = training["optimizer"].lower()
    kind = resolve_device(training["device"]).type
    training["device"] = "auto" if kind == "cpu" else kind  # which GPU does not matter, but that it is one
    return {**content, "weighting": canonical_weighting(config.weighting, names)}


def canonical_weighting(spec: Any, names: list[str]) -> dict[str, Any]:  # noqa: ANN401
    """A valid weighting with all its options; fixed weights of 1 are equal weights."""
    is_method = isinstance(spec, Mapping) and "method" in spec and "method" not in names
    options = dict(spec) if is_method else {"method": spec} if isinstance(spec, str) else None
    if options is None:
        options = {"method": "fixed", "weights": 1.0 if spec is None else spec}
    method = options["method"]
    own = {name: each.default for name, each in signature(WEIGHTINGS[method]).parameters.items()}
    full = {key: value for key, value in own.items() if value is not Parameter.empty}
    full |= asdict(BalancerOptions()) | options
    if "weights" in own:
        full["weights"] = list(task_numbers("weights", full["weights"], names))
        if set(full["weights"]) == {1.0}:
            del full["weights"]
            full["method"] = "equal"
    return full


class _Digest:
    """A file that is only hashed."""

    closed = False

    def __init__(self, digest: Any) -> None:  # noqa: ANN401
        self.digest = digest

    def write(self, data: Any) -> int:  # noqa: ANN401
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing to close."""
