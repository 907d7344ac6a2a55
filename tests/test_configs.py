import json
from pathlib import Path

import pytest
from rows import ROWS

from nextrec_like.cli import main
from nextrec_like.config import load_config
from nextrec_like.config.document import read_document

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
QUICK = ["training.epochs=1", "training.seeds=[0]", "training.batch_size=128", "training.device=cpu"]
QUICK += ["data.checks=false"]  # of rows that are drawn at random


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_config_runs_on_a_few_hundred_rows(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = read_document(file).data["data"]
    overrides = [*QUICK, "data.synthetic_funnel.rows=500"] if "synthetic_funnel" in data else list(QUICK)
    for part in ("train", "valid", "test"):
        if part in data:
            dataset = Path(data[part]).parent.name
            ROWS[dataset](300, seed=len(part)).to_parquet(tmp_path / f"{part}.parquet")
            overrides.append(f"data.{part}={part}.parquet")

    status = main(["train", str(file), *(word for text in overrides for word in ("--set", text))])

    assert (status, capsys.readouterr().err) == (0, "")
    content = json.loads((tmp_path / "runs" / f"{file.stem}-001" / "metrics.json").read_text())
    tasks = [task if isinstance(task, str) else task["name"] for task in read_document(file).data["tasks"]]
    assert set(tasks) <= set(content["valid"])
    assert set(tasks) <= set(content["test"])


def test_the_promised_configs_are_there():
    census = {f"census_income_{model}" for model in ("single_task", "shared_bottom", "mmoe", "ple")}
    compare = {f"{dataset}_compare" for dataset in ("beibei", "census_income", "deskdrop", "synthetic_funnel")}

    assert {file.stem for file in CONFIGS} >= census | compare | {"quickstart", "synthetic_funnel_esmm"}


@pytest.mark.parametrize("file", [file for file in CONFIGS if "census" in file.name], ids=lambda file: file.stem)
def test_census_configs_use_every_nominal_column_but_the_sources_of_the_labels(file):
    readme = (file.parent.parent / "datasets" / "census_income" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if "nominal (codes too)" in line)
    nominal = set(row.split("|")[1].replace("`", "").replace(" ", "").split(","))

    config = load_config(file)

    sources = {"income": "income_50k", "never_married": "marital_stat", "college": "education"}
    assert [(task.name, task.source) for task in config.tasks] == list(sources.items())[: len(config.tasks)]
    assert {column.name for column in config.features.sparse} == nominal - {task.source for task in config.tasks}


def test_beibei_is_a_funnel_and_reads_nothing_but_ids_and_counts_of_other_users():
    config = load_config(CONFIGS[0].with_name("beibei_compare.yaml"))

    assert {task.name: task.parent for task in config.tasks} == {"click": None, "cart": "click", "buy": "cart"}
    columns = [*config.features.sparse, *config.features.dense]
    assert {column.name for column in columns} == {"user", "item", "item_carts", "item_buys"}


def test_deskdrop_reads_no_label_and_no_time():
    config = load_config(CONFIGS[0].with_name("deskdrop_compare.yaml"))

    names = {column.name for column in [*config.features.sparse, *config.features.dense]}
    assert not names & {"like", "bookmark", "comment", "follow", "time"}
    assert [task.name for task in config.tasks] == ["like", "bookmark", "comment", "follow"]
