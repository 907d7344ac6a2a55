"""A training holds no more with each epoch: the short form of memory_growth.py."""

from itertools import product

import pytest
from memory_growth import SOURCES, WEIGHTINGS, measure


@pytest.mark.parametrize(("weighting", "source"), list(product(WEIGHTINGS, SOURCES)))
def test_no_tensor_thread_or_open_file_is_left_by_an_epoch(weighting, source, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    figures = measure(weighting, source, steps=400)
    assert all(last <= first for first, last in zip(figures["held_first"], figures["held_last"]))
