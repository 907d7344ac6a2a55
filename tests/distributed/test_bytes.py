"""A step sends the rows that it has read, whatever the size of the tables, and the dense gradients once.

Rows of a table of width 4 are sent as a number of 8 bytes and 4 gradients of 4 bytes: 24 bytes to each other process.
"""

import numpy as np
import pytest
from messages import StepMessages, counted
from rank_trainings import make_rows

from nextrec_like import DenseFeature, MMoE, SparseFeature

STEPS, BATCH = 4, 64
TARGET = ["click", "like", "share"]
ROW_BYTES = 8 + 4 * 4
LENGTH_BYTES = 2 * 8
"""Lengths of row numbers and of gradients, which each process sends to the others first."""


def sent(rows, batch_size, vocabulary=100, embedding_optimizer="dense"):
    """Bytes of rows and of dense gradients that this process sends in a step, after the first one."""
    model = MMoE(
        [DenseFeature("age")],
        [SparseFeature("user", vocabulary, embedding_dim=4), SparseFeature("item", 25, embedding_dim=4)],
        target=TARGET,
        num_experts=3,
        expert_params={"dims": [16, 8]},
        tower_params={"dims": [8]},
    )
    model.compile(embedding_optimizer=embedding_optimizer)
    with counted() as totals:
        steps = StepMessages(totals)
        fitted = {"shuffle": False, "device": "cpu", "check_data": False, "verbose": 0, "callbacks": [steps]}
        model.fit(rows, batch_size=batch_size, **fitted)
    return steps.bytes_per_step("all_gather", "batch_isend_irecv"), steps.bytes_per_step("all_reduce")


def rows_with(distinct_users, processes, vocabulary=100):
    """Rows whose every 64 have so many users, spread over the vocabulary, and one item."""
    rows = make_rows(BATCH * processes * STEPS)
    number = np.arange(len(rows["user"]))
    rows["user"] = number % distinct_users * (vocabulary // distinct_users)
    rows["item"] = np.full(len(number), 7)
    return rows


@pytest.mark.parametrize("processes", [2, 4])
def test_bytes_are_proportional_to_distinct_rows(ranks, processes):
    for distinct in (8, 16, 64):
        results = ranks(processes, sent, rows_with(distinct, processes), BATCH)
        expected = (processes - 1) * ((distinct + 1) * ROW_BYTES + LENGTH_BYTES)  # users, and the item
        assert [row_bytes for row_bytes, _ in results] == [expected] * processes


@pytest.mark.parametrize("embedding_optimizer", ["dense", "lazy_adam", "rowwise_adagrad"])
def test_bytes_do_not_depend_on_the_size_of_the_table(ranks, embedding_optimizer):
    expected = (32 + 1) * ROW_BYTES + LENGTH_BYTES
    for vocabulary in (32, 50_000):
        rows = rows_with(32, 2, vocabulary)
        results = ranks(2, sent, rows, BATCH, vocabulary, embedding_optimizer)
        assert [row_bytes for row_bytes, _ in results] == [expected] * 2


@pytest.mark.parametrize("processes", [2, 4])
def test_bytes_of_random_rows_are_at_most_twice_the_lower_bound(ranks, processes):
    rows, rng = make_rows(BATCH * processes * STEPS), np.random.default_rng(1)
    rows["user"] = np.minimum(rng.zipf(1.3, len(rows["user"])), 5_000) - 1  # of which each process reads another number
    results = ranks(processes, sent, rows, BATCH, 5_000)
    users, items = (rows[name].reshape(STEPS, processes, BATCH) for name in ("user", "item"))
    for rank, (row_bytes, _) in enumerate(results):
        own = [len(set(users[step, rank])) + len(set(items[step, rank])) for step in range(1, STEPS)]
        bound = (processes - 1) * np.mean(own) * ROW_BYTES  # every other process has to get each of these rows
        assert bound <= row_bytes <= 2 * bound


@pytest.mark.parametrize("processes", [2, 4])
def test_dense_gradients_are_sent_once_whatever_the_batch(ranks, processes):
    experts = 3 * (9 * 16 + 16 + 16 * 8 + 8)  # of 9 numbers: age, user and item
    gates = 3 * (9 * 3 + 3)
    towers = 3 * (8 * 8 + 8 + 8 + 1)
    gradients = 2 * (processes - 1) / processes * 4 * (experts + gates + towers)
    few = ranks(processes, sent, rows_with(8, processes), BATCH)
    many = ranks(processes, sent, make_rows(BATCH * 4 * processes * STEPS), BATCH * 4)
    sums = {sum_bytes for results in (few, many) for _, sum_bytes in results}
    assert len(sums) == 1
    assert gradients <= sums.pop() <= gradients + 500  # flags and counts
