from math import log2

import numpy as np
import pytest

from nextrec_like.data.quantiles import QuantileSketch


def sketch_of(numbers, size, part=997):
    sketch = QuantileSketch(size)
    for start in range(0, len(numbers), part):
        sketch.add(numbers[start : start + part])
    return sketch


def orders(count):
    ascending = np.arange(count, dtype=float)
    generator = np.random.default_rng(0)
    return {
        "sorted": ascending,
        "reversed": ascending[::-1],
        "zigzag": np.stack([ascending, ascending[::-1]], axis=1).reshape(-1)[:count],
        "outwards": np.where(ascending % 2 == 0, ascending, -ascending),
        "saw": ascending % 37,
        "ties": generator.integers(3, size=count).astype(float),
        "one value and outliers": np.where(ascending % 1000 == 7, ascending, 5.0),
        "random": generator.normal(size=count),
        "blocks": np.concatenate([np.sort(block) for block in np.array_split(generator.permutation(ascending), 9)]),
    }


@pytest.mark.parametrize("count", [5_000, 16_384, 40_001])
@pytest.mark.parametrize("order", orders(1))
@pytest.mark.parametrize("size", [8, 64, 511])
def test_ranks_are_as_exact_as_stated(order, count, size):
    numbers = orders(count)[order]
    sketch = sketch_of(numbers, size)
    ranks = np.arange(1, count + 1)
    found, ordered = sketch.at(ranks), np.sort(numbers)
    first, last = np.searchsorted(ordered, found, "left") + 1, np.searchsorted(ordered, found, "right")
    assert sketch.count == count
    assert (first <= ranks + sketch.rank_error).all()
    assert (last >= ranks - sketch.rank_error).all()
    assert np.isin(found, numbers).all()


@pytest.mark.parametrize("size", [8, 64, 511])
def test_stated_error_is_about_the_logarithm_over_four_buffers(size):
    count = 100_000
    sketch = sketch_of(np.arange(count, dtype=float), size)
    levels = np.floor(log2(count / size))
    assert 0 < sketch.rank_error <= count * levels / (4 * size) + 2**levels  # half a collapse per level on top


@pytest.mark.parametrize("count", [1, 2, 9, 63, 127])
def test_few_numbers_are_exact(count):
    numbers = np.random.default_rng(count).normal(size=count)
    sketch = sketch_of(numbers, 64, part=10)
    assert sketch.rank_error == 0
    assert sketch.at(np.arange(1, count + 1)).tolist() == np.sort(numbers).tolist()
    assert sketch.median() == pytest.approx(np.median(numbers), rel=1e-15)


def test_result_does_not_depend_on_the_parts():
    numbers = np.random.default_rng(3).normal(size=10_000)
    ranks = np.arange(1, 10_001)
    whole = sketch_of(numbers, 64, part=10_000).at(ranks)
    for part in (1, 63, 64, 65, 3_000):
        np.testing.assert_array_equal(sketch_of(numbers, 64, part).at(ranks), whole)


def test_copies_are_as_if_added_one_by_one():
    sketch = sketch_of(np.array([5.0, 1.0, 3.0]), 8)
    sketch.add_copies(2.0, 4)
    assert sketch.count == 7
    assert sketch.at(range(1, 8)).tolist() == [1, 2, 2, 2, 2, 3, 5]


def test_two_middle_numbers_are_averaged_without_overflow():
    assert sketch_of(np.array([1e308, 1e308, 1.0, 1.5e308]), 8).median() == 1e308
    assert sketch_of(np.array([4.0, 1.0, 9.0, 2.0]), 8).median() == 3.0


def test_memory_grows_with_the_logarithm_only():
    sketch = sketch_of(np.arange(100_000.0), 64)
    kept = sum(len(buffer) for buffer in sketch._waiting if buffer is not None) + len(sketch._pieces.rest)
    assert kept <= 64 * (log2(100_000 / 64) + 2)
