"""Groups of processes for all tests of this folder, each of which has a time limit."""

import faulthandler
import sys
from collections.abc import Iterator

import pytest
from ranks import Pool

LIMIT = 240
"""Seconds after which a test that hangs ends the whole run, with the stacks of all threads."""


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def ranks():
    """Runs a function in so many processes at once: ``ranks(2, function, ...)`` gives what each returns."""
    pools = {size: Pool(size) for size in (2, 3, 4)}
    yield lambda size, function, *args, **options: pools[size].run(function, *args, **options)
    for pool in pools.values():
        pool.stop()
