import numpy as np
import pytest

from nextrec_like.data.moments import Moments, Pieces


def parts(numbers, seed, count=7):
    """The numbers in random parts, some of them empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(numbers) + 1, count))
    return np.split(numbers, cuts)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_have_one_length_however_the_numbers_came(seed):
    numbers = np.arange(53.0)
    pieces = Pieces(10)
    full = [piece.tolist() for part in parts(numbers, seed) for piece in pieces.add(part)]
    assert full == numbers[:50].reshape(5, 10).tolist()
    assert pieces.rest.tolist() == [50.0, 51.0, 52.0]


def test_pieces_keep_no_numbers_alive():
    pieces = Pieces(10)
    pieces.add(np.arange(1e6))
    pieces.add(np.arange(1e6 + 3))
    assert pieces.rest.base is None


def test_moments_of_parts_are_those_of_numpy():
    numbers = np.random.default_rng(0).normal(1e6, 3, 1000)  # a mean far above the deviation costs digits
    moments = Moments()
    for part in parts(numbers, 1):
        moments.add(part)
    assert moments.count == 1000
    np.testing.assert_allclose([moments.mean, moments.std], [numbers.mean(), numbers.std()], rtol=1e-12)
    assert (moments.low, moments.high) == (numbers.min(), numbers.max())


def test_copies_are_as_if_added_one_by_one():
    numbers = np.array([1.0, 4.0, 7.0, 12.0])
    moments = Moments()
    moments.add(numbers)
    moments.add_copies(-5.0, 3)
    moments.add_copies(99.0, 0)
    every = np.concatenate([numbers, [-5.0] * 3])
    np.testing.assert_allclose([moments.mean, moments.std], [every.mean(), every.std()], rtol=1e-14)
    assert (moments.count, moments.low, moments.high) == (7, -5.0, 12.0)


def test_overflow_is_not_finite():
    moments = Moments()
    moments.add(np.array([1e308, -1e308]))
    moments.add(np.array([1e308, 1e308]))
    assert not np.isfinite([moments.mean, moments.std]).all()
