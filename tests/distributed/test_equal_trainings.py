"""Several processes train what one process with the joint batch trains."""

import pytest
from rank_trainings import largest_difference, make_rows, trained, without_labels

WEIGHTINGS = [None, "uncertainty", "grad_norm", "pcgrad", "nash_mtl"]
BATCH = 60
STEPS = 50


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("embedding_optimizer", ["dense", "lazy_adam"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_fifty_steps_are_those_of_one_process(ranks, weighting, embedding_optimizer, size):
    rows = without_labels(make_rows(BATCH * STEPS), BATCH)
    options = {"compiled": {"loss_weights": weighting, "embedding_optimizer": embedding_optimizer}, "shuffle": False}
    alone = trained(rows, BATCH, **options)
    together = ranks(size, trained, rows, BATCH, **options)
    assert len(alone[1]) == STEPS
    for one in together:
        assert largest_difference(one, alone) < 1e-6
        assert largest_difference(one, together[0]) == 0
