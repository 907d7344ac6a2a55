"""Parts of any length as parts of given lengths."""

from itertools import chain

import pytest

from nextrec_like.data.recut import part_lengths, recut


@pytest.mark.parametrize("given", [[10], [1] * 10, [3, 0, 4, 3], [0, 9, 0, 1]])
@pytest.mark.parametrize("wanted", [[10], [1] * 10, [4, 4, 2], [2, 1]])
def test_same_rows_in_the_lengths_asked_for(given, wanted):
    numbers = iter(range(10))
    parts = [[next(numbers) for _ in range(length)] for length in given]
    found = list(recut(parts, wanted, lambda part, a, b: part[a:b], lambda pieces: list(chain(*pieces))))
    assert [len(part) for part in found] == wanted
    assert list(chain(*found)) == list(range(sum(wanted)))


def test_single_last_row_joins_the_part_before():
    assert part_lengths(9, 4) == [4, 5]
