"""Small trainings in which all that a checkpoint has to remember matters, and what they come to, as digests."""

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from signal import SIGINT
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextrec_like import DenseFeature, InputError, SequenceFeature, SparseFeature, Task
from nextrec_like.models import MMoE
from nextrec_like.training.checkpoint_folder import STATE, TENSORS, CheckpointFolder

WEIGHTINGS = ("equal", "uncertainty", "grad_norm", "pcgrad", "moco", "modo")
EMBEDDING_OPTIMIZERS = ("dense", "lazy_adam")
ROWS, VALID_ROWS, BATCH_SIZE, EPOCHS, KEEP_LAST = 400, 160, 25, 4, 2
STEPS = EPOCHS * ROWS // BATCH_SIZE
CHECKPOINTS, MODEL, RESULT = "checkpoints", "model", "result.json"
TIMES = ("seconds", "samples_per_second")
"""Keys of a history that differ from run to run."""


@dataclass(frozen=True)
class Case:
    """A training.

    Args:
        weighting: Name of the weighting.
        embedding_optimizer: ``dense`` or ``lazy_adam``.
        source: Where rows come from: ``memory``, ``files`` or ``cache``, of streamed rows.
        precision: As in `compile`.
        scheduler: One that advances by steps, ``OneCycleLR``, or by scores, ``ReduceLROnPlateau``.
        every_steps: Steps from checkpoint to checkpoint.
        epochs: Number of passes.
        checkpoints: Whether it makes checkpoints, and goes on from them.
    """

    weighting: str = "equal"
    embedding_optimizer: str = "dense"
    source: str = "memory"
    precision: str = "fp32"
    scheduler: str = "OneCycleLR"
    every_steps: int = 4
    epochs: int = EPOCHS
    checkpoints: bool = True

    def __str__(self) -> str:
        return f"{self.weighting}, {self.embedding_optimizer}, {self.source}, {self.precision}"


def all_cases() -> list[Case]:
    """Each weighting with each kind of tables, in memory and streamed; precision, cache and scheduler alternate."""
    found = []
    for number, (weighting, tables, streamed) in enumerate(product(WEIGHTINGS, EMBEDDING_OPTIMIZERS, (False, True))):
        turn = number // 2
        source = ("files", "cache")[turn % 2] if streamed else "memory"
        precision = "bf16" if number % 5 == 3 else "fp32"
        found.append(Case(weighting, tables, source, precision, ("OneCycleLR", "ReduceLROnPlateau")[number % 3 % 2]))
    return found


def write_data(folder: Path) -> None:
    """Writes training rows in several files and row groups, and validation rows."""
    (folder / "train").mkdir(parents=True)
    table = make_table(ROWS, seed=0)
    half = ROWS // 2
    for number in range(2):
        part = table.slice(number * half, half)
        pq.write_table(part, folder / "train" / f"{number}.parquet", row_group_size=60)
    pq.write_table(make_table(VALID_ROWS, seed=1), folder / "valid.parquet")


def make_table(num_rows: int, seed: int) -> pa.Table:
    """Encoded columns; labels follow from `age` and `user`, with a conversion only where there is a click."""
    rng = np.random.default_rng(seed)
    age, user = rng.normal(size=num_rows).astype(np.float32), rng.integers(0, 50, num_rows)
    click = rng.random(num_rows) < 1 / (1 + np.exp(-2 * age))
    conversion = click & (rng.random(num_rows) < np.where(user < 25, 0.8, 0.1))
    hist = [rng.integers(1, 30, size=rng.integers(0, 6)).tolist() for _ in range(num_rows)]
    return pa.table(
        {
            "age": age,
            "user": user,
            "item": rng.integers(0, 30, num_rows),
            "hist": hist,
            "click": click.astype(np.float32),
            "conversion": conversion.astype(np.float32),
        }
    )


def train(case: Case, data: Path, folder: Path) -> int:
    """Trains, or goes on, in a folder; what it comes to is then in `RESULT` there.

    Args:
        case: The training.
        data: What `write_data` has written.
        folder: Where checkpoints, model and result go.

    Returns:
        An exit status, as that of ``nextrec-like``; it also writes its errors as that does.
    """
    try:
        _train(case, data, folder)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"\n{interrupt or 'interrupted'}\n")
        return 128 + getattr(interrupt, "number", SIGINT)
    return 0


def _train(case: Case, data: Path, folder: Path) -> None:
    model, valid = _model(case), pq.read_table(data / "valid.parquet")
    streamed = case.source != "memory"
    options: dict[str, Any] = {}
    if case.checkpoints:
        params = {"every_steps": case.every_steps, "keep_last": KEEP_LAST}
        options = {"checkpoint_dir": folder / CHECKPOINTS, "checkpoint_params": params, "resume": True}
    history = model.fit(
        data / "train" if streamed else pq.read_table(data / "train"),
        data / "valid.parquet" if streamed else valid,
        epochs=case.epochs,
        batch_size=BATCH_SIZE,
        patience=3,
        log_every=3,
        seed=3,
        device="cpu",
        streaming=streamed,
        cache_dir=folder / "cache" if case.source == "cache" else None,
        verbose=0,
        **options,
    )
    model.save(folder / MODEL)
    values = {
        "history": untimed(asdict(history)),
        "metrics": {task: dict(each) for task, each in model.evaluate(valid, device="cpu").items()},
        "predictions": {name: column.tolist() for name, column in model.predict(valid, device="cpu").items()},
    }
    found = {name: digest(json.dumps(value).encode()) for name, value in values.items()}
    found |= files_in(folder / MODEL) | (last_checkpoint(folder / CHECKPOINTS) if case.checkpoints else {})
    (folder / RESULT).write_text(json.dumps(found), encoding="utf-8")


def _model(case: Case) -> MMoE:
    model = MMoE(
        dense_features=[DenseFeature("age")],
        sparse_features=[SparseFeature("user", 50, embedding_dim=4), SparseFeature("item", 30, embedding_dim=4)],
        sequence_features=[SequenceFeature("hist", 30, embedding_dim=4, embedding_name="item", max_len=4)],
        target=[Task("click"), Task("conversion", parent="click")],
        num_experts=2,
        expert_params={"dims": [8], "norm": "batch", "dropout": 0.3},
        tower_params={"dims": [4]},
    )
    by_steps = {"max_lr": 0.003, "total_steps": STEPS}
    model.compile(
        optimizer_params={"lr": 0.001},
        embedding_optimizer=case.embedding_optimizer,
        loss_weights=case.weighting,
        precision=case.precision,
        scheduler=case.scheduler,
        scheduler_params=by_steps if case.scheduler == "OneCycleLR" else {"patience": 0},
        scheduler_interval="step" if case.scheduler == "OneCycleLR" else "epoch",
        clip_norm=5.0,
    )
    return model


def last_checkpoint(folder: Path) -> dict[str, str]:
    """Digests of the newest checkpoint: all its tensors, and the rest of its state without times."""
    newest = CheckpointFolder(folder, KEEP_LAST).found()[0]
    state = untimed(json.loads((newest / STATE).read_text(encoding="utf-8")))
    return {
        "name of the checkpoint": newest.name,
        "tensors of the checkpoint": digest((newest / TENSORS).read_bytes()),
        "state of the checkpoint": digest(json.dumps(state).encode()),
    }


def files_in(folder: Path) -> dict[str, str]:
    """Digests of all files."""
    return {path.name: digest(path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


def untimed(value: Any) -> Any:
    """The value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: untimed(each) for key, each in value.items() if key not in TIMES}
    return [untimed(each) for each in value] if isinstance(value, list) else value


def digest(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()
