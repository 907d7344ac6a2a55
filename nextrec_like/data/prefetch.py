"""Work that is done before its result is asked for: by a thread, or by the copy engine of a GPU."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import torch

from nextrec_like.batch import Batch

T = TypeVar("T")


def prefetched(items: Generator[T, None, None]) -> Iterator[T]:
    """The same items, of which a background thread makes the next one while the present one is used.

    The thread has ended and the items are closed once this iterator is exhausted, closed or collected; an error of the
    items is raised unchanged.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="nextrec_like-prefetch") as pool:
        try:
            future = pool.submit(next, items, None)
            while (item := future.result()) is not None:
                future = pool.submit(next, items, None)
                yield item
                del item  # or three of them would be in memory
        finally:
            pool.shutdown(cancel_futures=True)  # waits for the one that is being made
            items.close()


def on_device(batches: Generator[Batch, None, None], device: torch.device) -> Generator[Batch, None, None]:
    """The batches on a device; a GPU copies the next one from pinned memory while the present one is used."""
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    with closing(batches):
        for batch in batches:
            with torch.cuda.stream(stream):
                copied = batch.pinned().to(device), stream.record_event()
            if waiting is not None:
                yield _arrived(*waiting)
            waiting = copied
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(batch: Batch, ready: torch.cuda.Event) -> Batch:
    """The batch once its copy is complete, for use on the current stream."""
    current = torch.cuda.current_stream(batch.ids.device)
    current.wait_event(ready)
    for tensor in (batch.ids, batch.dense, batch.labels):
        if tensor is not None:
            tensor.record_stream(current)  # or its memory could be given away before the step has read it
    return batch
