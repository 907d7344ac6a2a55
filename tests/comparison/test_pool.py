"""Processes that train: one that dies harms no other, and none outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nextrec_like.comparison.identity import data_fingerprint
from nextrec_like.comparison.running.pool import Pool
from nextrec_like.comparison.running.work import Job
from nextrec_like.config import read_data, resolve


@pytest.fixture
def pool(place, configure):
    config = configure()
    with Pool(resolve(config), data_fingerprint(read_data(config)), place / "runs", jobs=2) as pool:
        yield pool


def job(configure, key, *overrides):
    return Job(key, resolve(configure("{}", *overrides)), 0)


def test_jobs_are_trained_and_processes_are_used_again(pool, place, configure):
    jobs = [job(configure, key) for key in ("a", "b", "c")]

    outcomes = {job.key: outcome.reason for job, outcome in pool.run(jobs)}
    processes = {worker.process.pid for worker in pool.workers.values()}
    outcomes |= {job.key: outcome.reason for job, outcome in pool.run([job(configure, "d")])}

    assert outcomes == dict.fromkeys("abcd")
    assert {path.name for path in (place / "runs").iterdir()} == set("abcd")
    assert {worker.process.pid for worker in pool.workers.values()} == processes


def test_a_killed_process_is_told_and_the_others_go_on(pool, configure):
    long = job(configure, "long", "training.epochs=100000")
    outcomes = {}

    def kill():
        while 0 not in pool.workers or pool.workers[0].job != long:
            time.sleep(0.05)
        time.sleep(1)
        os.kill(pool.workers[0].process.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    for done, outcome in pool.run([long, *(job(configure, key) for key in ("a", "b", "c"))]):
        outcomes[done.key] = outcome
    outcomes |= {done.key: outcome for done, outcome in pool.run([job(configure, "d"), job(configure, "e")])}

    assert outcomes["long"].reason == "its process ended with signal SIGKILL, as when memory runs out"
    assert not outcomes["long"].final
    assert [outcomes[key].reason for key in "abcde"] == [None] * 5


def test_changed_data_are_not_trained_on(place, configure):
    config = configure()
    with Pool(resolve(config), "of other data", place / "runs", jobs=1) as pool:
        ((_, outcome),) = pool.run([job(configure, "a")])

    assert "the data changed while the comparison ran" in outcome.reason
    assert not outcome.final


UNGUARDED = """
from nextrec_like.comparison.running.pool import Pool
from nextrec_like.comparison.running.work import Job
from nextrec_like.config import load_config, resolve
from pathlib import Path
print("imported", flush=True)
with Pool(resolve(load_config("small.yaml")), "", Path("runs"), jobs=1) as pool:
    ((_, outcome),) = pool.run([Job("a", {}, 0)])
print(outcome.reason)
"""


def test_a_script_without_a_guard_runs_once(place, configure):
    configure()
    (place / "script.py").write_text(UNGUARDED)

    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["imported", "the data changed while the comparison ran; run it again"]


WITH_CHILD = """
import sys
from multiprocessing import get_context
from nextrec_like.comparison.running.pool import Site, serve
from pathlib import Path
if __name__ == "__main__":
    context = get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=serve, args=(Site({}, "", Path("runs"), 1, None), there))
    child.start()
    print(child.pid, flush=True)
    child.join()
"""


def test_no_process_outlives_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(WITH_CHILD)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())

    time.sleep(4)
    parent.kill()
    parent.wait()

    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.2)
    assert not is_running(child)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
