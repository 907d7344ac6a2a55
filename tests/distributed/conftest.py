"""Groups of processes for all tests of this folder, each of which has a time limit."""

from collections.abc import Iterator

import pytest
from ranks import Pool, limited


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    with limited():
        yield


@pytest.fixture(scope="session")
def ranks():
    """Runs a function in so many processes at once: ``ranks(2, function, ...)`` gives what each returns."""
    pools = {size: Pool(size) for size in (2, 3, 4)}
    yield lambda size, function, *args, **options: pools[size].run(function, *args, **options)
    for pool in pools.values():
        pool.stop()
