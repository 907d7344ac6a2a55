"""Parts of tables, and their files."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nextrec_like import InputError
from nextrec_like.sharded.shards import DRAWN_ROWS, Shard, draw, read_shards, read_table, write_shards

TABLE = torch.arange(60.0).view(10, 6)


def part(rows, columns, slot="weight"):
    return Shard("user/id.x", slot, rows.start, columns.start, TABLE[rows, columns].clone())


def write_two(folder):
    write_shards(folder / "0.safetensors", [part(slice(0, 4), slice(0, 6)), part(slice(4, 10), slice(0, 2))])
    write_shards(folder / "1.safetensors", [part(slice(4, 10), slice(2, 6))])


@pytest.mark.parametrize("cuts", [[(0, 10, 0, 6)], [(0, 10, 0, 4), (0, 10, 4, 6)], [(0, 3, 0, 6), (3, 10, 1, 5)]])
def test_shards_are_read_from_files_that_are_cut_in_other_ways(tmp_path, cuts):
    write_two(tmp_path)
    shards = [Shard("user/id.x", "weight", r, c, torch.zeros(r2 - r, c2 - c)) for r, r2, c, c2 in cuts]
    read_shards(tmp_path, shards, "save it again")
    for shard, (r, r2, c, c2) in zip(shards, cuts):
        np.testing.assert_array_equal(shard.values, np.arange(60.0).reshape(10, 6)[r:r2, c:c2])
    assert torch.equal(read_table(tmp_path, "user/id.x", 10, 6, "save it again"), TABLE)


def test_numbers_that_are_in_no_file_are_an_error(tmp_path):
    write_two(tmp_path)
    (tmp_path / "1.safetensors").unlink()
    with pytest.raises(InputError, match=r"lack numbers of `user/id\.x/weight/0-10/0-6`; save it again"):
        read_table(tmp_path, "user/id.x", 10, 6, "save it again")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": TABLE}, "names no part of a table"),
        ({"t/weight/0-10/0-5": TABLE}, "another shape or type"),
        ({"t/weight/10-0/0-6": TABLE}, "another shape or type"),
        ({"t/weight/0-10/0-6": TABLE.double()}, "another shape or type"),
        (b"no safetensors", "could not be read"),
    ],
    ids=range(5),
)
def test_a_damaged_file_is_named(tmp_path, tensors, words):
    file = tmp_path / "0.safetensors"
    if isinstance(tensors, bytes):
        file.write_bytes(tensors)
    else:
        save_file(tensors, file)
    with pytest.raises(InputError, match=re.escape(words)):
        read_table(tmp_path, "t", 10, 6, "save it again")


def test_initial_numbers_are_the_same_however_a_table_is_cut():
    rows = DRAWN_ROWS + 100
    whole = Shard("user", "weight", 0, 0, torch.empty(rows, 8))
    draw(whole, 8, seed=3, padding=True)
    cut = Shard("user", "weight", DRAWN_ROWS - 5, 4, torch.empty(50, 4))
    draw(cut, 8, seed=3, padding=True)
    assert torch.equal(cut.values, whole.values[DRAWN_ROWS - 5 : DRAWN_ROWS + 45, 4:])
    assert (whole.values[0] == 0).all()
    assert whole.values[1:].std().item() == pytest.approx(0.05, rel=0.01)
    assert abs(whole.values.mean().item()) < 1e-3
    assert not torch.equal(whole.values[1:101], whole.values[DRAWN_ROWS + 1 - 1 : DRAWN_ROWS + 100])


def test_other_tables_and_seeds_have_other_numbers():
    drawn = []
    for name, seed in [("user", 0), ("item", 0), ("user", 1)]:
        shard = Shard(name, "weight", 0, 0, torch.empty(4, 4))
        draw(shard, 4, seed, padding=False)
        drawn.append(shard.values)
    assert not any(torch.equal(drawn[one], drawn[other]) for one, other in [(0, 1), (0, 2), (1, 2)])
