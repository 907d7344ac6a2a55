import numpy as np
import pytest

from nextrec_like.metrics.groups import group_keys


def fnv_1a_mixed(text):
    """FNV-1a over code points, then a step of SplitMix64, in Python's integers."""
    key = 0xCBF29CE484222325
    for character in text:
        key = (key ^ ord(character)) * 0x100000001B3 % 2**64
    key = (key + 0x9E3779B97F4A7C15) % 2**64
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB % 2**64
    return key ^ (key >> 31)


WORDS = ["", "u", "user_1", "user_10", "Ünï", "汉字", "a b", "🙂"]


@pytest.mark.parametrize("dtype", [str, object, "U40"])
def test_keys_of_text_equal_a_plain_loop(dtype):
    assert group_keys(np.array(WORDS, dtype=dtype)).tolist() == [fnv_1a_mixed(word) for word in WORDS]


def test_keys_of_a_text_do_not_depend_on_the_longest_of_the_chunk():
    assert group_keys(np.array(["u", "v"]))[0] == group_keys(np.array(["a much longer name", "u"]))[1]


def test_keys_of_bytes_are_those_of_the_text():
    assert group_keys(np.array([b"u", b"user_1"])).tolist() == group_keys(np.array(["u", "user_1"])).tolist()


def test_different_integers_have_different_and_even_keys():
    numbers = np.concatenate([np.arange(-50_000, 50_000), np.arange(100_000) << 40])
    keys = group_keys(numbers)
    assert len(np.unique(keys)) == len(np.unique(numbers))
    for halvings in (1, 4):  # four deviations of a binomial
        share = 0.5**halvings
        expected = len(numbers) * share
        assert np.count_nonzero(keys <= np.uint64((2**64 - 1) >> halvings)) == pytest.approx(
            expected, abs=4 * np.sqrt(expected * (1 - share))
        )


def test_first_keys_are_those_published_for_splitmix64():
    # The first outputs of the reference implementation (https://prng.di.unimi.it/splitmix64.c) from the states 0 and 1.
    assert group_keys(np.array([0, 1])).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]
