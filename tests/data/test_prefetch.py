"""A background thread that works ahead, and ends."""

import threading

import pytest

from nextrec_like.data.prefetch import prefetched


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
