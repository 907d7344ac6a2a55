"""A background thread that works ahead, and ends."""

import threading
from contextlib import contextmanager

import pytest
import torch

from nextrec_like.batch import Batch
from nextrec_like.data.prefetch import on_device, prefetched


class Items:
    """Counts what was made, and notes when it was closed."""

    def __init__(self, stop=5, error=None):
        self.stop, self.error, self.made, self.threads, self.is_closed = stop, error, 0, set(), False

    def __call__(self):
        try:
            while self.made < self.stop:
                self.threads.add(threading.current_thread())
                self.made += 1
                yield self.made
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


def assert_ended(items, own_threads):
    assert items.is_closed
    assert not any(thread.is_alive() for thread in items.threads)
    assert own_threads() == 0


def test_items_come_in_order_from_one_other_thread(own_threads):
    items = Items()
    assert list(prefetched(items())) == [1, 2, 3, 4, 5]
    assert len(items.threads) == 1
    assert threading.main_thread() not in items.threads
    assert_ended(items, own_threads)


def test_one_item_is_made_ahead(own_threads):
    items = Items()
    iterator = prefetched(items())
    assert next(iterator) == 1
    iterator.close()
    assert items.made <= 2
    assert_ended(items, own_threads)


def test_error_of_an_item_is_raised_as_it_is(own_threads):
    error = OSError("gone")
    items = Items(error=error)
    with pytest.raises(OSError, match="gone") as caught:
        list(prefetched(items()))
    assert caught.value is error
    assert_ended(items, own_threads)


def test_thread_ends_when_the_loop_is_left(own_threads):
    items = Items()
    for item in prefetched(items()):
        if item == 2:
            break
    assert_ended(items, own_threads)


def test_thread_ends_when_the_loop_raises(own_threads):
    items = Items()

    def interrupted():
        for _ in prefetched(items()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_ended(items, own_threads)


class FakeStream:
    """A queue of a GPU that notes what is asked of it."""

    def __init__(self, name, notes):
        self.name, self.notes = name, notes

    def record_event(self):
        event = f"event {sum(note.startswith('event') for note in self.notes)}"
        self.notes.append(f"{event} on {self.name}")
        return event

    def wait_event(self, event):
        self.notes.append(f"{self.name} waits for {event}")


@pytest.fixture
def notes(monkeypatch):
    """What happens on a GPU that is not there, in order; rows stay where they are."""
    notes = []
    current = [FakeStream("main", notes)]

    @contextmanager
    def within(stream):
        current.append(stream)
        yield
        current.pop()

    def note(text, result):
        notes.append(text)
        return result

    def first(batch):
        return int(batch.ids[0, 0])

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream("side", notes))
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current[-1])
    monkeypatch.setattr(Batch, "pinned", lambda batch: note(f"pin {first(batch)}", batch))
    monkeypatch.setattr(
        Batch, "to", lambda batch, device: note(f"copy {first(batch)} to {device} on {current[-1].name}", batch)
    )
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: notes.append(f"kept for {stream.name}"))
    return notes


def make_batches(count, closed=None, labels=True):
    try:
        for number in range(count):
            yield Batch(torch.full((2, 1), number), torch.zeros(2, 1), torch.zeros(2, 1) if labels else None)
    finally:
        if closed is not None:
            closed.append(True)


GPU = torch.device("cuda:1")


def test_batches_for_a_gpu_are_copied_one_ahead_on_a_stream_of_their_own(notes):
    for batch in on_device(make_batches(3), GPU):
        notes.append(f"use {batch.ids[0, 0]}")
    arrived = ["kept for main"] * 3  # ids, numbers, labels
    assert notes == [
        *("pin 0", "copy 0 to cuda:1 on side", "event 0 on side"),
        *("pin 1", "copy 1 to cuda:1 on side", "event 1 on side"),
        *("main waits for event 0", *arrived, "use 0"),
        *("pin 2", "copy 2 to cuda:1 on side", "event 2 on side"),
        *("main waits for event 1", *arrived, "use 1"),
        *("main waits for event 2", *arrived, "use 2"),
    ]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_batches_arrive_once_each(count, notes):
    assert [int(batch.ids[0, 0]) for batch in on_device(make_batches(count, labels=False), GPU)] == list(range(count))
    assert notes.count("kept for main") == 2 * count


def test_batches_are_closed_when_those_on_the_gpu_are(notes):
    closed = []
    given = make_batches(9, closed)  # held here, or it would be closed as it is collected
    batches = on_device(given, GPU)
    next(batches)
    batches.close()
    assert closed == [True]
    assert [note for note in notes if note.startswith("copy")] == [f"copy {n} to cuda:1 on side" for n in (0, 1)]


def test_batches_for_a_cpu_are_the_same_ones(notes):
    given = list(make_batches(3))
    batches = on_device((batch for batch in given), torch.device("cpu"))
    assert all(own is batch for own, batch in zip(batches, given, strict=True))
    assert notes == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_on_a_real_gpu_hold_the_rows_in_order():
    rows = torch.arange(100_000).view(100, 1000, 1)
    batches = (Batch(ids, ids.float()) for ids in rows)
    for ids, batch in zip(rows, on_device(batches, torch.device("cuda")), strict=True):
        assert torch.equal(batch.ids.cpu(), ids)
        assert torch.equal(batch.dense.cpu(), ids.float())
