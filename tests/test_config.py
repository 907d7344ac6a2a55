import subprocess
import sys
from dataclasses import MISSING, fields
from inspect import signature
from textwrap import dedent

import pytest
import yaml

from nextrec_like import IdColumn, InputError, NumericColumn, SequenceColumn, Task
from nextrec_like.config import Config, build_columns, build_tasks, dump, load_config, resolve
from nextrec_like.config.document import parse
from nextrec_like.config.schema import Training
from nextrec_like.models import MODELS, Model

TEXT = dedent(
    """\
    data:
      synthetic_funnel: {rows: 300, seed: 0}
      split: {by: time, column: time}
    features:
      dense:
        - price
        - {name: user_age, scaling: standard, fill_value: mean}
      sparse:
        - user_id
        - {name: item_id, min_count: 2, embedding_dim: 16}
      sequence:
        - {name: history, max_len: 20, vocabulary_of: item_id}
    tasks:
      - click
      - {name: conversion, parent: click}
    model:
      name: mmoe
      num_experts: 2
      expert_params: {dims: [8, 4]}
    weighting: {method: grad_norm, alpha: 0.5}
    training:
      optimizer_params: {lr: 1e-3}
      metrics: [auc, gauc]
      group_id: user_id
    """
)


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load_text(text, *overrides):
        with open("c.yaml", "w", encoding="utf-8") as file:
            file.write(text)
        return load_config("c.yaml", overrides)

    return load_text


def message(load, text, *overrides):
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_sections_become_columns_tasks_and_options(load):
    config = load(TEXT)

    assert config.name == "c"
    assert build_columns(config) == [
        NumericColumn("price"),
        NumericColumn("user_age", fill_value="mean"),
        IdColumn("user_id"),
        IdColumn("item_id", min_count=2, embedding_dim=16),
        SequenceColumn("history", max_len=20, vocabulary_of="item_id"),
    ]
    assert build_tasks(config) == [Task("click"), Task("conversion", parent="click")]
    assert config.model.options == {"num_experts": 2, "expert_params": {"dims": [8, 4]}}
    assert config.training.optimizer_params == {"lr": 0.001}
    assert config.training.all_seeds == [0]


WRONG = [
    # what is replaced, by what, line and column, what the message says
    ("num_experts", "num_expert", "18:3", "unknown key `num_expert` in `model`. Did you mean `num_experts`?"),
    ("num_experts: 2", "num_experts: 0", "18:3", "`num_experts` should be a positive integer. Received 0."),
    ("num_experts: 2", "num_experts: two", "18:3", "`num_experts` should be a positive integer"),
    ("dims: [8, 4]", "dim: [8, 4]", "19:19", "Unknown key of `expert_params` `dim`. Did you mean `dims`?"),
    ("dims: [8, 4]", "dims: [8, 4.5]", "19:19", "`expert_params.dims` should be"),
    ("name: mmoe", "name: mmo", "17:3", "Unknown model `mmo`. Did you mean `mmoe`?"),
    ("model:", "modle:", "16:1", "unknown key `modle` in the configuration. Did you mean `model`?"),
    ("seed: 0", "sead: 0", "2:33", "unknown key `sead` in `data.synthetic_funnel`. Did you mean `seed`?"),
    ("rows: 300", "rows: 12abc", "2:22", "`data.synthetic_funnel.rows` should be an integer. Received '12abc'."),
    (
        "by: time",
        "by: tyme",
        "3:11",
        "`data.split.by` should be 'random', 'time' or 'group'. Received 'tyme'. Did you me",
    ),
    (", column: time", "", "3:3", "`split` by time needs the `column` with the time of each row."),
    ("scaling: standard", "scaling: standart", "7:24", "Unknown scaling of column `user_age` `standart`. Did you mean"),
    ("scaling", "scalling", "7:24", "unknown key `scalling` in `features.dense.1`. Did you mean `scaling`?"),
    ("fill_value: mean", "fill_value: [1]", "7:43", "`features.dense.1.fill_value` should be a number or a string."),
    ("- price", "- 5", "6:7", "`features.dense.0` should be a mapping. Received 5."),
    ("- price", "- click", "6:7", "Feature `click` is the label of task `click`"),
    ("- price", "- user_age", "6:7", "Column `user_age` is given more than once"),
    ("min_count: 2", "min_count: 0", "10:23", "`min_count` of column `item_id` should be an integer of at least 1."),
    ("vocabulary_of: item_id", "vocabulary_of: itemid", "12:36", "which is not an IdColumn. Did you mean `item_id`?"),
    ("parent: click", "parent: clik", "15:24", "has parent `clik`, which is not a task. Did you mean `click`?"),
    ("parent: click", "parrent: click", "15:24", "unknown key `parrent` in `tasks.1`. Did you mean `parent`?"),
    (
        "method: grad_norm",
        "method: gradnorm",
        "20:13",
        "Unknown weighting method `gradnorm`. Did you mean `grad_norm`?",
    ),
    ("alpha", "alpa", "20:32", "Unknown option of weighting `grad_norm` `alpa`. Did you mean `alpha`?"),
    ("method: grad_norm, alpha: 0.5", "clik: 1", "20:13", "Unknown key of `weighting` `clik`. Did you mean `click`?"),
    ("lr: 1e-3", "lrr: 1e-3", "22:22", "Unknown option of optimizer `adam` `lrr`. Did you mean `lr`?"),
    ("lr: 1e-3", "lr: -1", "22:3", "`optimizer_params` of `adam` are not valid: Invalid learning rate: -1."),
    ("lr: 1e-3", "lr: abc", "22:22", "`optimizer_params.lr` of `adam` should be a number. Received 'abc'."),
    ("lr: 1e-3", "lr: [1]", "22:22", "`optimizer_params.lr` of `adam` should be a number. Received [1]."),
    ("optimizer_params: {lr: 1e-3}", "optimizer: adm", "22:3", "Unknown optimizer `adm`. Did you mean `adam`?"),
    ("optimizer_params: {lr: 1e-3}", "loss: bec", "22:3", "Unknown loss `bec`. Did you mean `bce`?"),
    ("optimizer_params: {lr: 1e-3}", "loss: {name: bce, weight: 1}", "22:21", "Unknown option of loss `bce` `weight`."),
    ("optimizer_params: {lr: 1e-3}", "epoch: 2", "22:3", "unknown key `epoch` in `training`. Did you mean `epochs`?"),
    (
        "optimizer_params: {lr: 1e-3}",
        "epochs: 12abc",
        "22:3",
        "`training.epochs` should be an integer. Received '12abc'",
    ),
    ("optimizer_params: {lr: 1e-3}", "epochs: 0", "22:3", "`training.epochs` should be greater than or equal to 1."),
    ("optimizer_params: {lr: 1e-3}", "shuffle: 1", "22:3", "`training.shuffle` should be a boolean. Received 1."),
    ("optimizer_params: {lr: 1e-3}", "clip_norm: .nan", "22:3", "`training.clip_norm` should be a finite number."),
    ("optimizer_params: {lr: 1e-3}", "monitor: {metric: auk}", "22:13", "`metrics` `auk`. Did you mean `auc`?"),
    ("optimizer_params: {lr: 1e-3}", "monitor: {metric: {click: auk}}", "22:22", "`auk`. Did you mean `auc`?"),
    ("optimizer_params: {lr: 1e-3}", "monitor: {metric: {clik: auc}}", "22:22", "`clik`. Did you mean `click`?"),
    ("optimizer_params: {lr: 1e-3}", "device: tpu9", "22:3", "`device` should be"),
    ("optimizer_params: {lr: 1e-3}", "seeds: [1, 1]", "22:3", "`seeds` should differ from each other."),
    ("optimizer_params: {lr: 1e-3}", "scheduler: StepLr", "22:3", "Unknown scheduler `StepLr`. Did you mean `StepLR`?"),
    ("optimizer_params: {lr: 1e-3}", "embedding_optimizer: lazy_adm", "22:3", "Did you mean `lazy_adam`?"),
    ("optimizer_params: {lr: 1e-3}", "embedding_optimiser: sgd", "22:3", "Did you mean `embedding_optimizer`?"),
    (
        "optimizer_params: {lr: 1e-3}",
        "embedding_optimizer: sgd\n  embedding_optimizer_params: {lrr: 1}",
        "23:32",
        "Unknown option of embedding_optimizer `sgd` `lrr`. Did you mean `lr`?",
    ),
    (
        "optimizer_params: {lr: 1e-3}",
        "embedding_optimizer: sgd\n  embedding_optimizer_params: {lr: abc}",
        "23:32",
        "`lr` should be a finite non-negative number. Received 'abc'.",
    ),
    ("optimizer_params: {lr: 1e-3}", "embedding_optimizer_params: {lr: 1}", "22:3", "given by name: lazy_adam"),
    ("optimizer_params: {lr: 1e-3}", "jit: 1", "22:3", "`training.jit` should be a boolean. Received 1."),
    ("optimizer_params: {lr: 1e-3}", "device_data: gpu", "22:3", "`training.device_data` should be"),
    ("gauc]", "gauk]", "23:18", "Unknown metric `gauk`. Did you mean `gauc`?"),
    ("  group_id: user_id\n", "", "23:18", "The metric `gauc` needs the group of each row; set `group_id`"),
    ("model:", "objective: entire\nmodel:", "16:1", "Unknown objective `entire`. Did you mean `entire_space`?"),
    ("model:", "name: a/b\nmodel:", "16:1", "`name` should be usable as the name of a folder."),
    ("    - price", "  \t- price", "6:", "not valid YAML"),
    ("seed: 0}", "seed: 0", "3:8", "not valid YAML: while parsing a flow mapping"),
    ("seed: 0", "rows: 5", "2:33", "key `rows` is given twice; first at c.yaml:2:22."),
    ("- price", "- !!python/object:os.system x", "6:7", "the tag `!!python/object:os.system` is not known"),
]


@pytest.mark.parametrize(
    ("old", "new", "place", "expected"), WRONG, ids=[f"{new} {place}" for _, new, place, _ in WRONG]
)
def test_error_names_place_key_and_closest(load, old, new, place, expected):
    assert old in TEXT

    text = message(load, TEXT.replace(old, new, 1))

    assert text.startswith(f"c.yaml:{place}")
    assert expected in text


@pytest.mark.parametrize("section", ["data", "features", "tasks", "model"])
def test_missing_section_is_named(load, section):
    data = yaml.safe_load(TEXT)
    del data[section]

    assert message(load, yaml.safe_dump(data)) == f"c.yaml:1:1: the configuration needs the key `{section}`."


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{}", "`data` needs exactly one of `synthetic_funnel`, `path` and `train`, and has none."),
        ("{path: a.csv, train: b.csv}", "and has `path` and `train`."),
        ("{path: a.csv, valid: b.csv}", "`valid` of `data` goes with `train`, not with `path`"),
        ("{train: a.csv, valid: b.csv, split: {}}", "`valid` of `data` comes from `split` already"),
        ("{path: a.csv, split: {fractions: [0.5, 0.6]}}", "`fractions` should be positive numbers with sum 1."),
        ("{path: a.csv, split: {column: time}}", "`column` has no use in a random `split`"),
        ("{path: []}", "`data.path` should have at least 1 item."),
    ],
)
def test_sources_of_data_must_go_together(load, data, expected):
    assert expected in message(load, TEXT, f"data={data}")


def test_patience_without_validation_rows_is_refused_at_once(load):
    text = message(load, TEXT, "data={path: nowhere.csv}", "training.patience=1")

    assert text.startswith("--set training.patience=1: `patience` needs validation rows")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "c.yaml:1:1: the configuration is empty"),
        (b"# nothing\n", "c.yaml:1:1: the configuration is empty"),
        (b"- a\n- b\n", "c.yaml:1:1: the configuration holds a list"),
        (
            b"a,b\n1,2\n" * 99,
            "c.yaml:1:1: the file holds the text 'a,b 1,2 a,b ...b 1,2 a,b 1,2'; it looks like a table",
        ),
        (b"5", "c.yaml:1:1: the configuration holds the value 5"),
        (b"name: caf\xe9", "c.yaml:1:1: the file is not UTF-8 text (byte 9)"),
        (b"name: a\x00b", "c.yaml:1:8: not valid YAML: the character"),
        (b"a: 1\n---\nb: 2\n", "c.yaml:2:1: not valid YAML"),
        (b"a: &x [*x]", "the anchor contains itself"),
        (b"[a]: 1", "c.yaml:1:1: a key should be a word"),
    ],
)
def test_files_that_are_no_mapping_are_refused(tmp_path, monkeypatch, content, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_bytes(content)

    with pytest.raises(InputError) as caught:
        load_config("c.yaml")

    assert expected in str(caught.value)


def test_missing_file_names_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=r"There is no configuration `c\.yaml`") as caught:
        load_config("c.yaml")

    assert str(tmp_path) in str(caught.value)


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())

    assert load_config(file).model.name == "mmoe"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1.5E+2", -150.0),
        ("1.", 1.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("200_000", 200_000),
        ("010", 10),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("12abc", "12abc"),
        ("'1e-3'", "1e-3"),
        ("~", None),
        ("", None),
        ("&a [1, 2]", [1, 2]),
    ],
)
def test_scalars_have_the_types_of_yaml_1_2(text, value):
    parsed = parse(text, "x").data

    assert parsed == value
    assert type(parsed) is type(value)


def test_dumped_text_reads_back_as_the_same_data():
    data = {
        "1e-3": "1e-3",
        "b": ["no", "true", True, None, 1e-5, "", "~", "é", "12", 12, "a: b", [], {}],
        "3": {"x": 1.0},
    }

    assert parse(dump(data), "x").data == data


def test_aliases_are_read(load):
    config = load(TEXT.replace("expert_params: {dims: [8, 4]}", "expert_params: &p {dims: [8]}\n  tower_params: *p"))

    assert config.model.options["tower_params"] == {"dims": [8]}


def test_overrides_replace_values_and_are_named_in_errors(load):
    config = load(
        TEXT,
        "training.epochs=3",
        "features.sparse=[user_id, item_id]",
        "tasks.0={name: tap, label: click}",
        "tasks.1.parent=tap",
        "model.tower_params.dims=[4]",
        "output=a=b",
        "training.group_id=",
        "training.metrics=auc",
    )

    assert config.training.epochs == 3
    assert [entry.name for entry in config.features.sparse] == ["user_id", "item_id"]
    assert build_tasks(config) == [Task("tap", label="click"), Task("conversion", parent="tap")]
    assert config.model.options["tower_params"] == {"dims": [4]}
    assert config.output == "a=b"
    assert config.training.group_id is None
    assert config.training.metrics == ["auc"]


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("training.epoch=1", "unknown key `epoch` in `training`. Did you mean `epochs`?"),
        ("training.epochs=1.5", "`training.epochs` should be an integer. Received 1.5."),
        ("model.num_experts={", "not valid YAML: while parsing a flow node"),
        ("model.name=mmo", "Unknown model `mmo`. Did you mean `mmoe`?"),
        ("tasks.1.parent=clik", "Did you mean `click`?"),
        ("tasks.2=a", "`tasks` is a list; give a position from 0 to 1, or the whole list."),
        ("tasks.first=a", "`tasks` is a list"),
        ("tasks.0.label=a", "`tasks.0` is 'click', not a mapping; set it as a whole."),
        ("training", "should be `key=value` with keys joined by dots"),
        ("training..epochs=1", "should be `key=value`"),
        ("training.loss=5", "`training.loss` should be a string or a list or a mapping. Received 5."),
        ("=1", "should be `key=value`"),
        ("foo.bar=1", "unknown key `foo` in the configuration."),
        ("foo.bar.baz=1", "unknown key `foo` in the configuration."),
        ("features.encoded=yes", "`features.encoded` should be true or false. Received 'yes'."),
        ("training.optimizer_params.lr=-1", "`optimizer_params` of `adam` are not valid: Invalid learning rate: -1."),
        ("training.optimizer_params.lr=abc", "`optimizer_params.lr` of `adam` should be a number. Received 'abc'."),
        ("training.loss.clik.name=bce", "Unknown task in `loss` `clik`. Did you mean `click`?"),
    ],
)
def test_wrong_override_is_named(load, assignment, expected):
    text = message(load, TEXT, assignment)

    assert text.startswith(f"--set {assignment}: ")
    assert expected in text


def test_metric_to_monitor_may_be_given_by_task(load):
    monitor = {"metric": {"click": "auc", "conversion": "gauc"}, "weights": {"click": 0.5, "conversion": 0.5}}

    assert load(TEXT, f"training.monitor={dump(monitor).strip()}").training.monitor == monitor


def test_options_of_another_model_get_a_hint_how_to_change_the_model(load):
    text = message(load, TEXT, "model.name=shared_bottom")

    assert text.startswith("c.yaml:18:3: unknown key `num_experts` in `model`.")
    assert text.endswith(" To change the model, replace its options too: --set 'model={name: shared_bottom}'.")


def test_seed_and_seeds_exclude_each_other(load):
    assert load(TEXT, "training.seed=3").training.all_seeds == [3]
    assert load(TEXT, "training.seeds=3").training.all_seeds == [3]
    assert "give one of them" in message(load, TEXT, "training.seed=3", "training.seeds=[1]")


def test_encoded_features_have_the_fields_of_features(load):
    features = "{encoded: true, sparse: [{name: item, vocab_size: 9}], dense: [price]}"

    assert build_columns(load(TEXT, f"features={features}")) == []
    assert "needs the key `vocab_size`" in message(load, TEXT, "features={encoded: true, sparse: [item]}")


def test_short_forms_of_model_and_weighting(load):
    config = load(TEXT, "model=shared_bottom", "weighting=2.0")

    assert (config.model.name, config.model.options, config.weighting) == ("shared_bottom", {}, 2.0)


def test_resolved_configuration_has_all_defaults_and_resolves_to_itself(load):
    content = resolve(load(TEXT, "model=esmm", "training.seed=4"))

    assert content["name"] == "c"
    assert content["objective"] == "entire_space"
    assert content["model"]["ctr_params"]["activation"] == "relu"
    assert content["features"]["sparse"][1] == {
        field.name: None if field.default is MISSING else field.default for field in fields(IdColumn)
    } | {"name": "item_id", "min_count": 2, "embedding_dim": 16}
    assert content["training"]["seeds"] == [4]
    assert resolve(load(dump(content))) == content


def test_training_section_has_every_argument_of_compile_and_fit():
    elsewhere = {"self", "train", "valid_data", "valid_split", "callbacks", "verbose", "objective", "loss_weights"}
    elsewhere |= {"checkpoint_dir", "checkpoint_params", "check_data", "resume", "streaming", "cache_dir"}
    arguments = {*signature(Model.compile).parameters, *signature(Model.fit).parameters} - elsewhere

    assert arguments == set(Training.model_fields) - {"seeds"}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_configurable_by_name(load, name):
    options = set(resolve(load(TEXT, f"model={name}", "weighting=equal"))["model"]) - {"name"}

    assert options <= set(signature(MODELS[name].__init__).parameters)


def test_configuration_can_be_written_in_python():
    config = Config.model_validate(
        {
            "name": "x",
            "data": {"path": "rows.csv"},
            "features": {"sparse": ["a"]},
            "tasks": ["b"],
            "model": {"name": "mmoe", "num_expert": 2},
        }
    )

    with pytest.raises(InputError, match="configuration: unknown key `num_expert`"):
        resolve(config)


def test_importing_the_library_does_not_import_the_configuration():
    heavy = ["pydantic", "yaml", "nextrec_like.config", "nextrec_like.cli"]
    code = f"import sys, nextrec_like; print([name for name in {heavy} if name in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
