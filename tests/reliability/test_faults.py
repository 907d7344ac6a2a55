"""Whatever goes wrong while a checkpoint is written, the training goes on: the short form of faults.py."""

import pytest
from interference import FILES, Faults, unnoticed
from trainings import CHECKPOINTS, KEEP_LAST, Case

from nextrec_like.training.checkpoint_folder import MANIFEST, CheckpointFolder


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Faults.of(Case("equal", "lazy_adam", every_steps=8, epochs=1), tmp_path_factory.mktemp("faults"))


def test_all_is_on_the_disk_before_it_gets_its_name(faults):
    first = faults.operations.index("make .epoch-0000-step-000008")
    kinds = [each.split()[0] for each in faults.operations[first:][:14]]
    checkpoint = ["make", *["write"] * 3, *["flush"] * 4, "rename", "flush"]
    assert kinds == [*checkpoint, "write", "flush", "rename", "flush"]
    assert faults.operations[first + 8 : first + 14] == [
        "rename .epoch-0000-step-000008",
        "flush .",
        "write .LATEST",
        "flush .LATEST",
        "rename .LATEST",
        "flush .",
    ]


def test_each_operation_may_go_wrong(faults):
    wrong = []
    for number in range(1, len(faults.operations) + 1):
        ways = faults.ways(number)
        wrong += faults.inject(number, ways[number % len(ways)], seed=number)
    assert wrong == []


def test_any_damage_to_the_newest_checkpoint_is_noticed(faults):
    folder = CheckpointFolder(faults.several() / CHECKPOINTS, KEEP_LAST)
    for name in FILES:
        bits = 8 * (folder.found()[0] / name).stat().st_size
        assert unnoticed(folder, name, range(0, bits, 1 if name == MANIFEST else bits // 50)) == []
