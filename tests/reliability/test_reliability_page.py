"""The figures of docs/reliability.md are those of the results."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "memory": 8e9,
    "python": "3.11.7",
    "torch": "2.13.0",
    "commit": "abc",
    "date": "2026-11-21T20:00:00",
}
GROWTH = {
    "weighting": "equal",
    "rows": "memory",
    "steps": 10_000,
    "memory_first": 3e8,
    "memory_last": 3.06e8,
    "growth": 0.02,
    "held_first": [10, 2, 12],
    "held_last": [10, 2, 13],
}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Writes a page from results; gives its lines."""
    monkeypatch.syspath_prepend(DOCS)
    import reliability_page

    def write(**results):
        for name, rows in results.items():
            (tmp_path / f"{name}.json").write_text(json.dumps({"results": rows, "machine": MACHINE}))
        file = tmp_path / "page.md"
        file.write_text("before\n<!-- figures: a -->\nold\n<!-- end of figures -->\nafter\n")
        reliability_page.main(["--results", str(tmp_path), "--page", str(file)])
        return file.read_text().splitlines()

    return write


def test_what_was_not_run_is_not_measured(page):
    lines = page()
    assert "| memory growth over 10,000 steps | under 1 % |  | not measured |" in lines
    assert sum("not measured" in line for line in lines) == 8
    assert "old" not in lines
    assert (lines[0], lines[-1]) == ("before", "after")


@pytest.mark.parametrize(
    ("faults", "verdict"), [([], "20 of 20, with 31 kills | met"), (["x"], "19 of 20, with 31 kills | **missed**")]
)
def test_jobs_of_several_processes(page, faults, verdict):
    lines = page(rank_kills=[{"jobs": 12, "kills": 20, "faults": []}, {"jobs": 8, "kills": 11, "faults": faults}])
    assert sum(verdict in line for line in lines) == 1


def test_targets_are_met_or_missed(page):
    faults = [
        {"operation": "write", "how": "disk full", "cases": 12, "survived": 12},
        {"operation": "any bit flipped", "how": "state.json", "cases": 300, "survived": 300},
    ]
    lines = page(memory_growth=[GROWTH], faults=faults)
    assert "| memory growth over 10,000 steps | under 1 % | +2.00% | **missed** |" in lines
    assert any(line.startswith("| faults") and line.endswith("| all | 12 of 12 | met |") for line in lines)
    assert any(line.startswith("| damage") and line.endswith("| all | 300 of 300 | met |") for line in lines)
    assert "| write | 12 of 12 |" in lines
    assert "| any bit flipped | 300 of 300 |" in lines
    assert "| equal | memory | 10,000 | 300.0 → 306.0 MB | +2.00% | 10 → 10 | 2 → 2 | 12 → 13 |" in lines


def test_the_page_has_the_marks(page):
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    assert text.count("<!-- figures: ") == text.count("<!-- end of figures -->") == 1
