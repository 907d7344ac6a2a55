"""Work on several columns at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW_ROWS = 2**14
"""Below, starting threads takes longer than the work."""


def for_each(function: Callable[[Item], Result], items: Sequence[Item], num_rows: int) -> list[Result]:
    """The results in order, computed by as many threads as Arrow uses: its functions and numpy's do run at once.

    Args:
        function: Should not warn, because a warning could not name the line of the user's code.
        items: Such as columns.
        num_rows: Rows per item.

    Raises:
        Exception: The first error, in the order of the items.
    """
    threads = min(pa.cpu_count(), len(items))
    if threads < 2 or num_rows < FEW_ROWS:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads, thread_name_prefix="nextrec_like-columns") as pool:
        return list(pool.map(function, items))
