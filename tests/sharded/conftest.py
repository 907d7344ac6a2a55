"""Groups of processes for the tests of sharded tables."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "distributed"))
from ranks import Pool, limited


@pytest.fixture(autouse=True)
def _limited():
    with limited():
        yield


@pytest.fixture(scope="session")
def sharding_ranks():
    """Runs a function in so many processes at once: ``sharding_ranks(2, function, ...)`` gives what each returns."""
    pytest.importorskip("torchrec", reason="TorchRec is not installed; see the extra `sharded` in pyproject.toml")
    pools = {size: Pool(size) for size in (2, 3)}
    yield lambda size, function, *args, **options: pools[size].run(function, *args, **options)
    for pool in pools.values():
        pool.stop()
