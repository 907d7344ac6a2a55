"""How much memory there is."""

import os

from nextrec_like import memory


def test_available_memory_is_part_of_what_is_there():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.available_memory() <= total


def test_limit_of_a_container_counts(monkeypatch):
    limits = {"/sys/fs/cgroup/memory.max": 1000, "/sys/fs/cgroup/memory.current": 400}
    monkeypatch.setattr(memory, "_number", limits.get)
    assert memory.available_memory() == 600


def test_half_of_the_memory_counts_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setattr(memory, "_lines", lambda file: {})
    monkeypatch.setattr(memory, "_number", lambda file: None)
    assert memory.available_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
