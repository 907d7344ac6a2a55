import pytest

from nextrec_like import synthetic_funnel
from nextrec_like.config import load_config

SMALL = """
data: {train: train.parquet, valid: valid.parquet, test: test.parquet}
features: {dense: [price], sparse: [user_id, item_id, hour]}
tasks: [click, {name: conversion, parent: click}]
model: {name: mmoe, num_experts: 2, expert_params: {dims: [8]}, tower_params: {dims: [4]}}
training: {optimizer_params: {lr: 1e-2}, epochs: 2, batch_size: 256, seeds: [0, 1], device: cpu, log_every: 2}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with small tables, as the current one."""
    for number, part in enumerate(("train", "valid", "test")):
        synthetic_funnel(1_500, seed=number).to_parquet(tmp_path / f"{part}.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configure(tmp_path):
    """A small configuration with this section `comparison`, and overrides."""

    def make(comparison="{}", *overrides, text=SMALL):
        file = tmp_path / "small.yaml"
        file.write_text(f"{text}\ncomparison: {comparison}\n", encoding="utf-8")
        return load_config(file, overrides)

    return make
