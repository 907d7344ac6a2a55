"""Rows that several processes share out: each batch in parts, no row twice, none lost."""

from itertools import accumulate, chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nextrec_like import InputError, SparseFeature, Task
from nextrec_like.batch import Share
from nextrec_like.data.cache import cached
from nextrec_like.data.packed import pack
from nextrec_like.data.parquet_rows import ParquetRows
from nextrec_like.data.streaming import StreamedData
from nextrec_like.features import FeatureSet
from nextrec_like.tasks import TaskSet

CPU = torch.device("cpu")
FEATURES, TASKS = FeatureSet([], [SparseFeature("row", 1000, 4)]), TaskSet([Task("click")])
SIZES = [(3, 8), (1, 4), (32, 8), (33, 8), (35, 8), (38, 8), (50, 3), (9, 1)]
"""Rows and batch size: fewer rows than processes, none left over, one, fewer than processes; small batches."""
GROUP_ROWS = [11, 0, 5, 1, 17, 9]
"""Of row groups, again and again."""


def packed(num_rows):
    return pack(pa.table({"row": np.arange(num_rows), "click": np.arange(num_rows) % 2}), FEATURES, TASKS)


class Recorded:
    """Row groups in memory that note which pieces are read."""

    fingerprint = ""

    def __init__(self, num_rows):
        whole, ends = packed(num_rows), [0]
        while ends[-1] < num_rows:
            ends.append(min(num_rows, ends[-1] + GROUP_ROWS[(len(ends) - 1) % len(GROUP_ROWS)]))
        self.groups = [whole.slice(start, stop) for start, stop in pairwise(ends)]
        self.sizes = [len(group) for group in self.groups]
        self.pieces = []

    def read(self, group, start, piece_rows, full=False):
        assert start % piece_rows == 0
        for first in range(start, self.sizes[group], piece_rows):
            self.pieces.append((group, first, min(first + piece_rows, self.sizes[group])))
            yield self.groups[group].slice(*self.pieces[-1][1:])


def streamed(num_rows, shuffle_rows=16):
    return StreamedData(Recorded(num_rows), shuffle_rows)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def numbers(batch):
    return batch.ids[:, 0].tolist()


def parts(rows, batch_size, count, *, shuffled=False, start=0, streams=0):
    """Row numbers of each batch of each process."""
    generators = [seeded() if shuffled else None for _ in range(count)]
    shares = [Share(index, count, streams) for index in range(count)]
    return [
        [numbers(batch) for batch in rows.batches(batch_size, CPU, generator, start, share)]
        for generator, share in zip(generators, shares)
    ]


def joint(parts_of_processes):
    """Row numbers of each batch of all processes."""
    return [list(chain(*of_step)) for of_step in zip(*parts_of_processes, strict=True)]


def test_parts_of_a_batch_differ_by_at_most_one_row():
    assert parts(packed(17), 7, 3) == [[[0, 1], [7, 8], [14]], [[2, 3], [9, 10], [15]], [[4, 5, 6], [11, 12, 13], [16]]]
    assert parts(packed(9), 4, 2) == [[[0, 1], [4, 5]], [[2, 3], [6, 7, 8]]]  # a single last row joins the batch before
    assert parts(packed(6), 4, 3) == [[[0], []], [[1], [4]], [[2, 3], [5]]]


@pytest.mark.parametrize(("num_rows", "batch_size"), SIZES)
@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("start", [0, 2])
def test_processes_take_together_what_one_process_takes(num_rows, batch_size, count, start):
    for rows, shuffled in ((packed(num_rows), False), (packed(num_rows), True), (streamed(num_rows), False)):
        generator = seeded() if shuffled else None
        expected = [numbers(batch) for batch in rows.batches(batch_size, CPU, generator)][start:]
        assert joint(parts(rows, batch_size, count, shuffled=shuffled, start=start)) == expected


@pytest.mark.parametrize(("num_rows", "batch_size"), SIZES)
@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("shuffle_rows", [1, 16, 1000])
def test_shuffled_streams_have_every_row_once_and_parts_of_the_same_sizes(num_rows, batch_size, count, shuffle_rows):
    found = parts(streamed(num_rows, shuffle_rows), batch_size, count, shuffled=True)
    in_memory = parts(packed(num_rows), batch_size, count)
    assert sorted(chain(*joint(found))) == list(range(num_rows))
    assert [list(map(len, process)) for process in found] == [list(map(len, process)) for process in in_memory]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_stream_is_a_stretch_of_the_row_groups_in_random_order(count):
    rows = streamed(101)
    order = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=seeded()))).permutation(
        len(rows.source.sizes)
    )
    line = list(chain(*(numbers(rows.source.groups[group].rows) for group in order)))
    found = [list(chain(*process)) for process in parts(rows, 7, count, shuffled=True)]
    ends = list(accumulate(map(len, found), initial=0))
    assert [sorted(process) for process in found] == [sorted(line[start:stop]) for start, stop in pairwise(ends)]
    assert all(process != line[start:stop] for process, (start, stop) in zip(found, pairwise(ends)))


@pytest.mark.parametrize("streams", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shuffle_rows", [5, 16, 1000])
def test_any_number_of_processes_goes_on_where_others_have_stopped(streams, count, shuffle_rows):
    begun = joint(parts(streamed(87, shuffle_rows), 7, streams, shuffled=True))
    assert len(begun) == 13
    for start in range(14):
        rest = parts(streamed(87, shuffle_rows), 7, count, shuffled=True, start=start, streams=streams)
        assert joint(rest) == begun[start:]


def test_process_without_rows_has_batches_of_none():
    for rows in (packed(40), streamed(40)):
        batches = list(rows.batches(2, CPU, seeded(), share=Share(0, 3)))
        assert [tuple(batch.ids.shape) for batch in batches] == [(0, 1)] * 20
        assert [tuple(batch.labels.shape) for batch in batches] == [(0, 1)] * 20
    found = parts(streamed(40), 8, 3, shuffled=True, streams=2)
    assert [list(map(len, process)) for process in found] == [[0] * 5, [4] * 5, [4] * 5]


def test_process_reads_its_own_stretch_and_the_beginning_of_its_piece():
    count, read = 4, []
    for index in range(count):
        rows = streamed(400)  # in pieces of 2 rows
        list(rows.batches(20, CPU, seeded(), share=Share(index, count)))
        assert len(set(rows.source.pieces)) == len(rows.source.pieces)
        read.append(sum(stop - start for _, start, stop in rows.source.pieces))
    assert all(100 <= num_rows <= 100 + 2 for num_rows in read)  # at most a row at either end is another's


def test_resumed_process_reads_only_from_its_window_on():
    rows = streamed(400)
    list(rows.batches(20, CPU, seeded(), start=15, share=Share(1, 4)))
    assert sum(stop - start for _, start, stop in rows.source.pieces) <= 25 + 16 + 4 * 2


@pytest.mark.parametrize("from_cache", [False, True])
def test_rows_of_parquet_files_are_shared_out_alike(tmp_path, from_cache):
    whole = Recorded(101)
    writer = None
    for group in whole.groups:
        table = pa.table({"row": group.rows.ids[:, 0].numpy(), "click": group.labels[:, 0]})
        writer = writer or pq.ParquetWriter(tmp_path / "rows.parquet", table.schema)
        writer.write_table(table)
    writer.close()
    source = ParquetRows([tmp_path / "rows.parquet"], FEATURES, TASKS)
    rows = StreamedData(cached(source, tmp_path / "cache") if from_cache else source, 40)
    assert [size for size in rows.source.sizes if size] == [size for size in whole.sizes if size]
    assert joint(parts(rows, 8, 3)) == joint(parts(packed(101), 8, 1))
    found = joint(parts(rows, 8, 3, shuffled=True))
    assert sorted(chain(*found)) == list(range(101))
    assert joint(parts(rows, 8, 2, shuffled=True, start=4, streams=3)) == found[4:]


@pytest.mark.parametrize("count", [2, 3])
def test_processes_sample_together_what_one_process_samples(count):
    for make in (packed, streamed):
        whole, together = make(60), []
        batches = whole.batches(7, CPU)
        next(batches)
        expected = numbers(whole.sample(10, CPU, seeded()))
        for index in range(count):
            rows, share = make(60), Share(index, count)
            batches = rows.batches(7, CPU, share=share)
            next(batches)
            together += numbers(rows.sample(10, CPU, seeded(), share))
        assert together == expected


def test_sample_of_a_shuffled_process_is_from_its_first_stream():
    for count in (1, 2):
        for index in range(count):
            rows = streamed(200, shuffle_rows=50)
            share = Share(index, count, streams=4)
            first = 4 // count * index
            own = set(chain(*parts(rows, 20, 4, shuffled=True)[first]))  # 50 rows, which are one window
            for batch in rows.batches(20, CPU, seeded(), share=share):
                assert len(batch) == 20 // count
                assert set(numbers(rows.sample(40, CPU, seeded(1), share))) <= own


def test_sampling_leaves_all_generators_in_the_same_state():
    states = []
    for index in range(3):
        rows, draws, share = streamed(70, shuffle_rows=16), seeded(1), Share(index, 3, streams=2)
        for _ in rows.batches(9, CPU, seeded(), share=share):
            rows.sample(12, CPU, draws, share)
        states.append(draws.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_threads_end_with_the_batches_of_a_process_that_reads_several_streams(own_threads):
    rows, share = streamed(400), Share(0, 1, streams=3)
    for _ in rows.batches(12, CPU, seeded(), share=share):
        assert own_threads() == 3
        break
    assert own_threads() == 0
    rows.source.read = broken(rows.source)
    with pytest.raises(InputError, match="damaged"):
        list(rows.batches(12, CPU, seeded(), share=share))
    assert own_threads() == 0


def broken(source):
    """Reads a few row groups and then fails."""
    read, left = source.read, iter(range(15))

    def reads(*arguments):
        if next(left, None) is None:
            raise InputError("The file is damaged.")
        return read(*arguments)

    return reads
