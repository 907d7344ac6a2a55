"""Small trainings by the command ``nextrec-like train``; see `trainings`."""

import json
from dataclasses import asdict
from pathlib import Path

from trainings import BATCH_SIZE, CHECKPOINTS, KEEP_LAST, RESULT, Case, digest, files_in, last_checkpoint, untimed

from nextrec_like.cli import main

COMMAND = """\
name: job
output: {folder}/runs
data: {{train: {data}/train, valid: {data}/valid.parquet, streaming: {streaming}}}
features:
  encoded: true
  dense: [age]
  sparse: [{{name: user, vocab_size: 50, embedding_dim: 4}}, {{name: item, vocab_size: 30, embedding_dim: 4}}]
  sequence: [{{name: hist, vocab_size: 30, embedding_dim: 4, embedding_name: item, max_len: 4}}]
tasks: [click, {{name: conversion, parent: click}}]
model:
  name: mmoe
  num_experts: 2
  expert_params: {{dims: [8], norm: batch, dropout: 0.3}}
  tower_params: {{dims: [4]}}
weighting: {weighting}
training:
  optimizer_params: {{lr: 0.001}}
  embedding_optimizer: {embedding_optimizer}
  precision: {precision}
  epochs: {epochs}
  batch_size: {batch_size}
  patience: 3
  log_every: 3
  seeds: [3, 4]
  device: cpu
checkpoints: {{every_steps: {every_steps}, keep_last: {keep_last}}}
"""


def train_by_command(case: Case, data: Path, folder: Path) -> int:
    """As `train`, by ``nextrec-like train CONFIG --resume``, with two seeds."""
    config = folder / "job.yaml"
    if not config.exists():
        values = {**asdict(case), "streaming": str(case.source != "memory").lower()}
        config.write_text(
            COMMAND.format(folder=folder, data=data, batch_size=BATCH_SIZE, keep_last=KEEP_LAST, **values),
            encoding="utf-8",
        )
    status = main(["train", str(config), "--resume"])
    if status == 0:
        # One killed before it wrote anything leaves an empty folder, which is no run.
        (run,) = (path.parent for path in (folder / "runs").glob("job-*/config.yaml"))
        history = [untimed(json.loads(line)) for line in (run / "history.jsonl").read_text().splitlines()]
        found = {"history": digest(json.dumps(history).encode())}
        for name in ("metrics.json", "steps.parquet"):
            found[name] = digest((run / name).read_bytes())
        for seed in (3, 4):
            parts = files_in(run / f"model_seed_{seed}") | last_checkpoint(run / CHECKPOINTS / f"seed_{seed}")
            found |= {f"{name} of seed {seed}": each for name, each in parts.items()}
        (folder / RESULT).write_text(json.dumps(found), encoding="utf-8")
    return status
