"""Any input either works or is refused in one clear sentence; see docs/reliability.md.

    python tests/reliability/fuzz.py --cases 20000 [--seed 7] [--kind tables]

Hypothesis draws tables, definitions and arguments, configurations, and saved folders, valid and broken, and shrinks
what fails. Each chunk of cases runs in a process of its own with a limit of memory, so that a crash or a case that asks
for all memory is a failure like any other. Exit status 1 if a case has failed.
"""

import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import hypothesis
import strategies_folders
import strategies_schemas
import strategies_tables
import strategies_yaml
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import UnsatisfiedAssumption
from reporting import parser_of, write_results

from nextrec_like.errors import InputError

KINDS = {
    "tables": strategies_tables.CASES,
    "schemas": strategies_schemas.CASES,
    "yaml": strategies_yaml.CASES,
    "folders": strategies_folders.CASES,
}
CHUNK = 250
"""Cases of one process, of which the first failure is shrunk."""
SECONDS = 20
"""Limit of a case; the usual one takes some milliseconds."""
SHRINKING_SECONDS = 2
"""The same, once a case has taken longer: to find the smallest such case, many are tried."""
patience = [SECONDS]
MEMORY = 4 * 2**30
"""Limit of what a case may allocate, in bytes."""
LENGTH = 2000
"""Limit of a message."""
WORKED, REFUSED = "worked", "clear errors"


class Failure(AssertionError):
    """A case that neither worked nor was refused clearly."""


class Hang(Failure):
    """A case took longer than the limit."""


def outcome(case, folder):
    """How a case ends: `WORKED` or `REFUSED`.

    Raises:
        Failure: For anything else.
    """
    try:
        with _time_limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", category=RuntimeWarning, module="nextrec_like")
            case.run(folder)
    except InputError as error:
        _check_message(str(error))
        return REFUSED
    except Exception as error:
        if isinstance(error, Failure | UnsatisfiedAssumption):
            raise
        raise Failure(f"{type(error).__name__}: {error!s:.300}") from error
    return WORKED


def _check_message(message):
    if not message.strip() or len(message) > LENGTH or "Traceback" in message or "\n" in message:
        raise Failure(f"The message is not one clear sentence: {message!r:.1200}")


@contextlib.contextmanager
def _time_limit():
    seconds = patience[-1]

    def stop(*_):
        patience.append(SHRINKING_SECONDS)
        raise Hang(f"The case took over {seconds} s.")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def search(kind, num_cases, seed, note=None, derandomize=False):
    """Runs cases of a kind, and shrinks those that fail.

    Args:
        kind: A key of `KINDS`.
        num_cases: Number of cases.
        seed: Of the draws.
        note: File for the case that runs, which outlives a crash.
        derandomize: Whether the cases are those of every run, whatever the seed.

    Returns:
        Number of cases by `WORKED` and `REFUSED`, and the smallest case that fails at each place, as text.
    """
    counts, smallest = Counter(), {}
    base, home = Path(tempfile.mkdtemp(prefix="fuzz-")), Path.cwd()

    @settings(
        max_examples=num_cases,
        database=None,
        deadline=None,
        derandomize=derandomize,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=True,
        print_blob=False,
    )
    @given(KINDS[kind])
    def check(case):
        if note is not None:
            note.write_text(f"{case!r:.2000}\n  at {time.time()}", encoding="utf-8", errors="replace")
        folder = base / "a" / "b"  # so that a path such as ../x stays within
        folder.mkdir(parents=True)
        os.chdir(folder)
        try:
            how = outcome(case, folder)
        except Failure as failure:
            smallest[_place(failure)] = f"{failure}\n  case: {case!r:.2000}"
            raise
        finally:
            os.chdir(home)
            shutil.rmtree(base / "a")
        if not smallest:  # afterwards cases are shrunk
            counts[how] += 1

    try:
        (check if derandomize else hypothesis.seed(seed)(check))()
    except Exception:
        if not smallest:
            raise
    finally:
        shutil.rmtree(base)
    return counts, smallest


def _place(failure):
    """The innermost lines of the package and of all that a failure came from."""
    frames = traceback.extract_tb((failure.__cause__ or failure).__traceback__)
    own = [frame for frame in frames if "nextrec_like" in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*frames[-1:], *own[:-4:-1]])


def _chunk(kind, num_cases, seed, note, connection):
    """A process: a search under a limit of memory."""
    torch.set_num_threads(1)
    used = int(re.search(r"VmSize:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, -1))
    with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        connection.send(search(kind, num_cases, seed, note))


def run_chunk(kind, num_cases, seed):
    """`search` in a process of its own; a case that ends it, or hangs where no signal reaches it, is a failure."""
    context = multiprocessing.get_context("fork")
    with tempfile.NamedTemporaryFile() as file:
        note = Path(file.name)
        here, there = context.Pipe()
        process = context.Process(target=_chunk, args=(kind, num_cases, seed, note, there))
        process.start()
        there.close()
        before, silent = None, 0
        while not here.poll(1) and process.is_alive():
            text = note.read_text(encoding="utf-8", errors="replace")
            silent, before = (silent + 1 if text == before else 0), text
            if silent > 3 * SECONDS:
                process.kill()
        with contextlib.suppress(EOFError):
            if here.poll():
                return here.recv()
        process.join()
        how = "hangs" if silent > 3 * SECONDS else f"ended its process with {process.exitcode}"
        return Counter(), {how: f"  case: {note.read_text(encoding='utf-8', errors='replace')}"}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="of the first chunk")
    parser.add_argument("--kind", choices=KINDS, help="one kind only")
    arguments = parser.parse_args()
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    torch.set_num_threads(1)
    results = [_run_kind(kind, -(-arguments.cases // len(kinds)), arguments.seed) for kind in kinds]
    limits = {"seconds_per_case": SECONDS, "bytes_per_case": MEMORY, "characters_per_message": LENGTH}
    write_results("fuzz", {"seed": arguments.seed, "chunk": CHUNK, **limits}, results, arguments.output)
    return any(result["failures"] for result in results)


def _run_kind(kind, num_cases, seed):
    counts, failures, start = Counter(), {}, time.perf_counter()
    for number, first in enumerate(range(0, num_cases, CHUNK)):
        size = min(CHUNK, num_cases - first)
        found, smallest = run_chunk(kind, size, seed + number)
        counts += found
        for place in smallest.keys() - failures.keys():
            again = f"--kind {kind} --seed {seed + number} --cases {size}"
            print(f"FAILURE at {place}: {smallest[place]}\n  again: {again}\n", flush=True)
        failures |= smallest
    result = {
        "kind": kind,
        "cases": sum(counts.values()) + len(failures),
        "worked": counts[WORKED],
        "clear_errors": counts[REFUSED],
        "failures": len(failures),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print("   ".join(f"{name} {value}" for name, value in result.items()), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
