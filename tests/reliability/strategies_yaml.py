"""Configurations: valid ones of which keys, values, structure and bytes are changed, and assignments of ``--set``."""

import contextlib
import copy
import io
from dataclasses import dataclass
from functools import cache
from unicodedata import category

import pandas as pd
import yaml
from hypothesis import strategies as st
from strategies import damaged, damages, floats, good_rows, names

from nextrec_like import cli
from nextrec_like.comparison.compare import as_compared, check_parts, expand
from nextrec_like.config import load_config, read_data
from nextrec_like.errors import InputError
from nextrec_like.metrics import METRICS
from nextrec_like.models import MODELS
from nextrec_like.weighting import WEIGHTINGS

FUNNEL = """\
data:
  synthetic_funnel: {rows: 60, seed: 0}
  split: {by: time, column: time, fractions: [0.6, 0.2, 0.2]}
features:
  dense: [price, {name: user_age, scaling: standard, fill_value: mean}]
  sparse: [user_id, {name: item_id, min_count: 2, embedding_dim: 4}]
  sequence: [{name: history, max_len: 2, vocabulary_of: item_id, pooling: mean}]
tasks: [click, {name: conversion, parent: click}]
model: {name: mmoe, num_experts: 2, expert_params: {dims: [2]}, tower_params: {dims: []}}
weighting: {method: grad_norm, alpha: 0.5}
objective: entire_space
training:
  optimizer_params: {lr: 1e-3}
  metrics: [auc, gauc]
  group_id: user_id
  epochs: 1
  batch_size: 16
  patience: 1
  monitor: {metric: auc, reduce: min}
  device: cpu
comparison:
  weightings: [equal, {method: grad_norm, tune: {alpha: [0.5, 1]}}]
  models: [{name: shared_bottom, bottom_params: {dims: [2]}}]
  tuned_fixed: {trials: 2}
  floors: [{name: means, values: {click: 0.5}}]
"""
FILES = """\
name: files
output: runs
data: {train: [good.parquet], valid: good.csv, streaming: auto}
features:
  encoded: true
  dense: [age]
  sparse: [{name: user, vocab_size: 5, embedding_dim: 2}]
tasks: [{name: click, kind: binary}, {name: price, kind: regression, label: price}]
model: {name: shared_bottom, bottom_params: {dims: [2], dropout: 0.1, norm: layer}, tower_params: {dims: [2]}}
training:
  seeds: [0, 1]
  loss: {click: bce, price: huber}
  scheduler: StepLR
  scheduler_params: {step_size: 1}
  embedding_optimizer: lazy_adam
  embedding_optimizer_params: {lr: 0.1}
  clip_norm: 1.0
  device: cpu
"""
BASES = [FUNNEL, FILES]
STEERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of writing."""

numbers = st.one_of(st.integers(-2, 9), floats, st.sampled_from([10**12, 2**63, 10**30, -(10**400)]))
words = st.one_of(
    names,
    st.text(max_size=6),
    st.sampled_from(
        [
            "auto",
            "mean",
            "adam",
            "time",
            "user_id",
            "click",
            "good.parquet",
            "good.csv",
            "nowhere/x.csv",
            ".",
            "\x1b[31m",
            "a\nb",
            "\u202e",
            *MODELS,
            *METRICS,
        ]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(words, st.integers(0, 3)), inner, max_size=3)
    ),
    max_leaves=6,
)
RAW = st.sampled_from(
    [
        "[" * 3000,
        "{a: " * 3000,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
        + "".join(f"d{n}: &d{n} [{', '.join([f'*d{n - 1}' if n else '*c'] * 9)}]\n" for n in range(9)),
        "a: &a {<<: *a}",
        "a: &a [*a]",
        "!!python/object/apply:os.system ['touch pwned']",
        "data: !!python/name:os.system",
        "a: !!binary aGVsbG8=",
        "? [a]\n: b",
        "a: b: c",
        "- a\nb: c",
        "%YAML 9.9\n---\na: 1",
        "a: 1\n...\n---\nb: 2",
        "\ufeff\ufeffa: 1",
        "a: " + "9" * 5000,
        "a: 1e" + "9" * 400,
        "x" * 3000 + ": 1",
        "name: \x07",
        "a: |\n  " + "x\n  " * 2000,
    ]
)


@cache
def _tables():
    """The bytes of the tables that configurations name."""
    frame = pd.DataFrame(good_rows(20))
    parquet, csv = io.BytesIO(), frame.drop(columns=["pair", "hist"]).to_csv(index=False).encode()
    frame.to_parquet(parquet)
    return {"good.parquet": parquet.getvalue(), "good.csv": csv}


@dataclass
class ConfigCase:
    """A command with a configuration.

    Attributes:
        command: ``train`` or ``compare``.
        content: The file.
        assignments: Of ``--set``.
    """

    command: str
    content: bytes
    assignments: list[str]

    def run(self, folder):
        """Runs the command."""
        for name, content in _tables().items():
            (folder / name).write_bytes(content)
        (folder / "c.yaml").write_bytes(self.content)
        if self.command == "compare":  # all but the trainings
            config = as_compared(load_config("c.yaml", self.assignments))
            expand(config)
            check_parts(config, read_data(config))
        else:
            run_command([self.command, "c.yaml", *(f"--set={text}" for text in self.assignments)])
        for name, content in {**_tables(), "c.yaml": self.content}.items():
            assert (folder / name).read_bytes() == content, f"{name} has changed"
        assert not (folder / "pwned").exists(), "the configuration ran a command"


def run_command(arguments):
    """Runs a command in this process; an error is raised as `InputError` if it has the form that errors have."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(arguments)
    except SystemExit as stop:  # of argparse
        if stop.code != 2 or "usage: " not in err.getvalue():
            raise AssertionError(f"status {stop.code}: {err.getvalue()}") from stop
        raise InputError("usage") from stop
    lines = err.getvalue().splitlines() or [""]
    errors = [line for line in lines if line.startswith("error: ")]
    for text in (out.getvalue(), err.getvalue()):
        steering = [letter for letter in text if letter in STEERING or (category(letter) == "Cc" and letter != "\n")]
        assert not steering, f"the output has {steering!r}"
    if status == 0:
        assert not errors, err.getvalue()
        return
    assert (status, errors) == (2, lines[-1:]), f"status {status}: {err.getvalue()}"  # warnings may stand before it
    raise InputError(errors[0])


def paths_of(node, path=()):
    """All places in plain data."""
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from paths_of(value, (*path, key))


@st.composite
def changed(draw, data):
    """Plain data with a change at one place: another value or key, one less, one more, or a part of elsewhere."""
    data = copy.deepcopy(data)
    path = draw(st.sampled_from([path for path in paths_of(data) if path]))
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    key, change = path[-1], draw(st.sampled_from(["value", "value", "value", "key", "drop", "add", "wrap", "move"]))
    if change == "value":
        parent[key] = draw(st.one_of(values, numbers, words))
    elif change == "drop":
        del parent[key]
    elif change == "wrap":
        parent[key] = draw(st.sampled_from([[parent[key]], {"name": parent[key]}, str(parent[key])]))
    elif change == "move":
        source = data
        for step in draw(st.sampled_from(list(paths_of(data)))):
            source = source[step]
        parent[key] = copy.deepcopy(source)
    elif isinstance(parent, list):
        parent.append(draw(values))
    else:
        parent[draw(words)] = parent.pop(key) if change == "key" else draw(values)
    return data


@st.composite
def assignments(draw, data):
    """A ``key.key=value`` with a key that exists, or nearly, or not at all."""
    path = list(draw(st.sampled_from(list(paths_of(data)))))
    if draw(st.integers(0, 4)) == 0:
        path.insert(draw(st.integers(0, len(path))), draw(words))
    text = draw(st.one_of(values.map(lambda value: yaml.safe_dump(value, default_flow_style=True).strip(".\n")), words))
    return ".".join(map(str, path)) + draw(st.sampled_from(["=", "=", "=", "=", ""])) + text


def is_bounded(data):
    """Whether a training would end soon: with few epochs, and not with the many rows that the funnel has by default."""
    if isinstance(data, list):
        return all(map(is_bounded, data))
    for key, value in data.items() if isinstance(data, dict) else ():
        if key in ("epochs", "seeds", "trials") and _is_large(value):
            return False
        if key == "synthetic_funnel" and not (isinstance(value, dict) and "rows" in value):
            return False
        if not is_bounded(value):
            return False
    return True


def _is_large(value):
    return (isinstance(value, int | float) and abs(value) > 9) or (isinstance(value, list) and len(value) > 3)


@st.composite
def configurations(draw):
    data = yaml.safe_load(draw(st.sampled_from(BASES)))
    data["training"].setdefault("epochs", 1)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        data = draw(changed(data))
        if not isinstance(data, dict) or not data:
            break
    if draw(st.integers(0, 3)) == 0 and isinstance(data, dict):
        data["weighting"] = draw(st.sampled_from([{"method": name} for name in WEIGHTINGS]))
    sets = (
        draw(st.lists(assignments(data), max_size=2)) if isinstance(data, dict) and data and draw(st.booleans()) else []
    )
    if not is_bounded(data):
        data = {"epochs": data}
    text = yaml.safe_dump(
        data, sort_keys=False, allow_unicode=draw(st.booleans()), default_flow_style=draw(st.sampled_from([None, True]))
    )
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        content = damaged(content, draw(damages))
    sets = [text for text in sets if not any(word in text for word in ("epochs", "seeds", "trials", "funnel"))]
    return ConfigCase(draw(st.sampled_from(["train", "train", "compare"])), content, sets)


CASES = st.one_of(
    configurations(),
    configurations(),
    configurations(),
    configurations(),
    configurations(),
    st.builds(ConfigCase, st.just("train"), st.one_of(RAW.map(str.encode), st.binary(max_size=30)), st.just([])),
    st.builds(
        lambda text, damage, raw: ConfigCase("train", text.encode(), [f"{damage}={raw}"]),
        st.sampled_from(BASES),
        st.sampled_from(["model", "data", "name", "features.dense", "tasks.0", "training.monitor"]),
        RAW,
    ),
)
