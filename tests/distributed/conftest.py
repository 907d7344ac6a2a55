"""Groups of two and of four processes for all tests of this folder."""

import pytest
from ranks import Pool


@pytest.fixture(scope="session")
def ranks():
    """Runs a function in so many processes at once: ``ranks(2, function, ...)`` gives what each returns."""
    pools = {size: Pool(size) for size in (2, 3, 4)}
    yield lambda size, function, *args, **options: pools[size].run(function, *args, **options)
    for pool in pools.values():
        pool.stop()
