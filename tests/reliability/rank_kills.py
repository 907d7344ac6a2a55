"""Jobs of several processes, one of which is killed at random moments, end as if nothing had happened.

    python tests/reliability/rank_kills.py [--jobs 20] [--processes 2] [--seed 0]

Each job is ``torchrun --max-restarts 3 -m nextrec_like train job.yaml``. One to three times a random process gets
``kill -9``; torchrun starts all of them again, and they go on from the last checkpoint. Exit status 1 if any job ends
otherwise than one that was left alone. Linux only.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from command_trainings import COMMAND
from reporting import parser_of, write_results
from trainings import BATCH_SIZE, KEEP_LAST, Case, digest, write_data

CASES = (
    Case("grad_norm", "dense", "memory", epochs=12),
    Case("pcgrad", "lazy_adam", "files", epochs=12),
    Case("uncertainty", "lazy_adam", "memory", epochs=12),
    Case("equal", "dense", "cache", epochs=12),
)
LIMIT = 180.0
"""Seconds after which a job hangs."""


class Job:
    """A job of torchrun in a session of its own.

    Args:
        case: What it trains.
        data: What `write_data` has written.
        folder: Where its configuration and its run go; it is made.
        processes: How many processes train.
    """

    def __init__(self, case: Case, data: Path, folder: Path, processes: int) -> None:
        folder.mkdir()
        self.folder, self.log = folder, folder / "log.txt"
        values = {**asdict(case), "streaming": str(case.source != "memory").lower()}
        values |= {"folder": folder, "data": data, "batch_size": BATCH_SIZE // processes, "keep_last": KEEP_LAST}
        text = COMMAND.format(**values).replace("  patience: 3\n", "")
        if case.source == "cache":
            text = text.replace("streaming: true", f"streaming: true, cache_dir: {folder}/cache")
        (folder / "job.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["--max-restarts=3", "--monitor-interval=0.1"]
        command += ["-m", "nextrec_like", "train", str(folder / "job.yaml")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
            )
        self.started = time.monotonic()

    def kill_one(self, draw: random.Random) -> int | None:
        """Kills a random process that trains, and gives its rank; None if there is none."""
        ranks = self._ranks()
        if not ranks:
            return None
        rank = draw.choice(sorted(ranks))
        with suppress(ProcessLookupError):
            os.kill(ranks[rank], signal.SIGKILL)
        return rank

    def end(self) -> str | None:
        """Waits for its end; says what is wrong with that."""
        fault = None
        try:
            status = self.process.wait(max(0.0, self.started + LIMIT - time.monotonic()))
            if status:
                fault = f"ended with status {status}"
        except subprocess.TimeoutExpired:
            fault = f"has not ended after {LIMIT:g} s"
        if fault is None and self._ranks():
            fault = f"left {len(self._ranks())} processes behind"
        for each in [self.process.pid, *self._ranks().values()]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        return fault if fault is None else f"{fault}: {self.log.read_text(errors='replace')[-2000:]}"

    def result(self) -> dict[str, str]:
        """Digests of what it has trained; of a job there is one run."""
        (run,) = (path.parent for path in self.folder.glob("runs/job-*/metrics.json"))
        files = [run / "metrics.json", run / "steps.parquet", *run.glob("model_seed_*/*.safetensors")]
        return {str(file.relative_to(run)): digest(file.read_bytes()) for file in files}

    def _ranks(self) -> dict[int, int]:
        """Process ids of its trainings, by rank."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (place / "cmdline").read_bytes()
                if str(self.folder / "job.yaml").encode() in command and b"torch.distributed.run" not in command:
                    variables = (place / "environ").read_bytes().decode().split("\0")
                    known = dict(each.split("=", 1) for each in variables if "=" in each)
                    found[int(known["RANK"])] = int(place.name)
        return found


def run(case: Case, data: Path, folder: Path, processes: int, jobs: int, draw: random.Random) -> dict[str, Any]:
    """Leaves one job alone, and kills processes of the others."""
    folder.mkdir()
    alone = Job(case, data, folder / "alone", processes)
    faults = [fault for fault in [alone.end()] if fault]
    if faults:
        return _row(case, processes, [], faults)
    seconds, expected = time.monotonic() - alone.started, alone.result()
    killed: list[int] = []
    hit = number = 0
    while hit < jobs and number < 3 * jobs:  # a job may have ended before the first blow, and then does not count
        job, before = Job(case, data, folder / str(number), processes), len(killed)
        for _ in range(draw.choice([1, 1, 2, 3])):
            time.sleep(draw.uniform(0.3, 0.9) * seconds)
            rank = job.kill_one(draw)
            if rank is None:
                break
            killed.append(rank)
        fault, number, hit = job.end(), number + 1, hit + (len(killed) > before)
        if fault is None and job.result() != expected:
            fault = "ends with other results: " + ", ".join(
                name for name, value in job.result().items() if value != expected.get(name)
            )
        faults += [f"{case}, job {number}: {fault}"] if fault else []
    return _row(case, processes, killed, faults) | {"jobs": hit, "seconds": round(seconds, 1)}


def _row(case: Case, processes: int, killed: Sequence[int], faults: Sequence[str]) -> dict[str, Any]:
    first = sum(rank == 0 for rank in killed)
    return {
        "case": str(case),
        "processes": processes,
        "jobs": 0,
        "kills": len(killed),
        "of process 0": first,
        "faults": list(faults),
    }


def main() -> int:
    """Runs all, and writes what it found."""
    parser = parser_of(__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    draw, rows = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory(prefix="rank-kills-") as place:
        write_data(Path(place) / "data")
        for number, case in enumerate(CASES):
            jobs = len(range(number, arguments.jobs, len(CASES)))
            if jobs:
                folder = Path(place) / str(number)
                rows.append(run(case, Path(place) / "data", folder, arguments.processes, jobs, draw))
                print("   ".join(f"{name} {value}" for name, value in rows[-1].items() if value != []), flush=True)
                print("".join(f"FAULT {fault}\n" for fault in rows[-1]["faults"]), end="", flush=True)
    settings = {"seed": arguments.seed, "processes": arguments.processes}
    write_results("rank_kills", settings, rows, arguments.output)
    return any(row["faults"] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
