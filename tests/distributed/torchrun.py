"""Jobs of torchrun, which end within a time limit and leave no process behind."""

import os
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ranks import free_port

COMMAND = ("-m", "nextrec_like")
FAULTY = (str(Path(__file__).parent / "faulty.py"),)
MARK = "NEXTREC_LIKE_TEST_JOB"
LIMIT = 90.0

CONFIG = """
name: small
data:
  synthetic_funnel: {rows: 3000, seed: 0}
  split: {by: time, column: time, fractions: [0.8, 0.1, 0.1]}
features:
  dense: [{name: price, scaling: log1p}]
  sparse: [city, device]
tasks: [click, {name: conversion, parent: click}]
model: {name: mmoe, num_experts: 2, expert_params: {dims: [8]}, tower_params: {dims: [4]}}
weighting: grad_norm
training: {epochs: 3, batch_size: 100, shuffle: false, restore_best: false, log_every: 5, device: cpu}
checkpoints: {every_steps: 5}
"""
"""A small training with batches of 100 rows in each process; without an order of rows that only several can have."""


def torchrun(folder, *arguments, program=COMMAND, restarts=0):
    """Runs a command in two processes, in a folder with ``small.yaml``; gives status, output and error output."""
    (folder / "small.yaml").write_text(CONFIG)
    options = ["--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return finished(folder, ["-m", "torch.distributed.run", *options, *program, *arguments])


def two_machines(folder, *arguments, program=COMMAND, restarts=0):
    """As `torchrun`, with a process on each of two machines, which are this one; gives what both have to give."""
    (folder / "small.yaml").write_text(CONFIG)
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--local-addr", "localhost"]
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(restarts), *meeting]
    command = ["-m", "torch.distributed.run", *options, *program, *arguments]
    with ThreadPoolExecutor(2) as machines:
        return list(machines.map(lambda _: finished(folder, command), range(2)))


def finished(folder, arguments, **environment):
    """Runs Python in a session of its own, and kills all that it has started if it takes too long or leaves any."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", MARK: mark, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
        assert not marked(mark), "it has left processes behind"
    finally:
        for number in marked(mark):
            os.kill(number, signal.SIGKILL)
    return process.returncode, out, err


def marked(mark):
    """The living processes that were started with this mark in their environment."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark.encode() in _read(path)]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:  # it is that of another user, or has just ended
        return b""


def errors(err):
    """What the library has said of errors; torchrun says more."""
    return [line for line in err.splitlines() if line.startswith(("error: ", "interrupted"))]
