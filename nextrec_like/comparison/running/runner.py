"""Trains what a comparison needs and has not yet."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from nextrec_like.comparison.identity import run_key
from nextrec_like.comparison.running.pool import Pool
from nextrec_like.comparison.running.together import Together
from nextrec_like.comparison.running.work import Job, Outcome
from nextrec_like.comparison.store import RunFolder, Store
from nextrec_like.config import Config, resolve
from nextrec_like.errors import InputError
from nextrec_like.storage.atomic import write_text
from nextrec_like.storage.reading import read_json

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """A training that is wanted.

    Attributes:
        title: For messages.
        config: Its configuration, but for the seed.
        seed: The seed.
    """

    title: str
    config: Config
    seed: int


class Runner:
    """Trains each run once, and knows what became of it.

    Args:
        store: The folder of the comparison.
        fingerprint: Of the data.
        pool: Where trainings go.
        say: Called with each message.
        retry_failed: Whether runs that failed before are tried again.
    """

    def __init__(self, store: Store, fingerprint: str, pool: Pool | Together, say: Say, retry_failed: bool) -> None:
        self.store, self.fingerprint, self.pool, self.say = store, fingerprint, pool, say
        self.retry_failed, self.num_rows = retry_failed, store.num_rows()
        self.failures: dict[str, str] = {}
        self.trained = 0
        self._seen_warnings: set[str] = set()
        store.tidy()

    def key(self, config: Config, seed: int) -> str:
        """The key of a run."""
        return run_key(config, seed, self.fingerprint, self.pool.processes.size)

    def folder(self, key: str) -> RunFolder:
        """The folder of a run that has not failed."""
        return RunFolder(self.store.runs / key)

    def train(self, requests: Iterable[Request]) -> None:
        """Trains those of the requests that no folder holds yet, however many times they are asked for."""
        jobs: dict[str, Job] = {}
        titles: dict[str, str] = {}
        found = 0
        for request in requests:
            key = self.key(request.config, request.seed)
            if key in titles:
                continue
            titles[key] = f"{request.title}   seed {request.seed}"
            if self._is_done(key):
                found += 1
            else:
                jobs[key] = Job(key, resolved_for(request, key), request.seed)
        if not jobs:
            return
        size = self.pool.processes.size
        how = f"{self.pool.jobs} at a time" if size == 1 else f"each in {size} processes"
        self.say(f"{len(titles)} runs, {found} of them done before; {how}")
        start = time.monotonic()
        for number, (job, outcome) in enumerate(self.pool.run(list(jobs.values())), start=1):
            self._note(outcome)
            left = (time.monotonic() - start) / number * (len(jobs) - number)
            self.say(
                f"  {number:>{len(str(len(jobs)))}}/{len(jobs)}  {titles[job.key]}   {self._told(outcome)}{_left(left)}"
            )

    def _is_done(self, key: str) -> bool:
        """Whether a run is there, or has failed in a way that would happen again."""
        if key in self.failures:
            return True
        reason = None if self.retry_failed else read_failure(self._failure_file(key))
        if reason is not None:
            self.failures[key] = reason
            return True
        folder = self.folder(key)
        if not folder.path.exists():
            return False
        fault = folder.fault(self.num_rows)
        if fault is not None:
            aside = self.store.put_aside(folder.path)
            self.say(f"  {folder.path} is trained again: {fault}; the old folder is now {aside}")
        return fault is None

    def _note(self, outcome: Outcome) -> None:
        for warning in outcome.warnings:
            if warning not in self._seen_warnings:
                self._seen_warnings.add(warning)
                self.say(f"  warning: {warning}")
        if outcome.reason is None:
            self.trained += 1
            self._failure_file(outcome.key).unlink(missing_ok=True)
            return
        self.failures[outcome.key] = outcome.reason
        if outcome.final:
            self._keep_failure(outcome)
        if outcome.trace:
            self.say(outcome.trace)

    def _keep_failure(self, outcome: Outcome) -> None:
        """Keeps why a run fails; if that cannot be written, the next call tries the run again."""
        file = self._failure_file(outcome.key)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps({"key": outcome.key, "reason": outcome.reason}))
        except OSError as error:
            self.say(f"  the failure cannot be noted in {file}: {error.strerror or error}")

    def _told(self, outcome: Outcome) -> str:
        if outcome.reason is not None:
            return f"FAILED: {outcome.reason}"
        result = self.folder(outcome.key).result()
        score = "" if result["score"] is None else f"   score {result['score']:.5f}"
        return f"{result['seconds']:.1f} s{score}"

    def _failure_file(self, key: str) -> Path:
        return self.store.path / "failures" / f"{key}.json"


def read_failure(file: Path) -> str | None:
    """Why a run failed before; None if it did not, or if the note was not written to its end."""
    try:
        return str(read_json(file, "compare again")["reason"])
    except (InputError, KeyError, TypeError):
        return None


def resolved_for(request: Request, key: str) -> dict[str, Any]:
    """The configuration of one training, which `nextrec-like train` takes as well."""
    training = request.config.training.model_copy(update={"seed": None, "seeds": [request.seed]})
    return {**resolve(request.config.model_copy(update={"training": training})), "name": key}


def _left(seconds: float) -> str:
    if seconds < 60:
        return f"   {seconds:.0f} s left" if seconds >= 1 else ""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"   {hours} h {minutes} min left" if hours else f"   {minutes} min left"
