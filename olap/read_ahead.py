"""Reading the next batch while the last is still being written: the database, the driver and Parquet work at once.

Belongs here: that one wrapper; both sides release Python's lock while they work. Does not belong here: what is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yields `items` in their order, one of them read ahead in a thread of its own.

    What reading raises is raised here. Whoever stops early waits for the item under way, so that nothing is read any more
    once this has ended.
    """
    iterator = iter(items)

    def one() -> list[Item]:  # or none: StopIteration cannot cross from thread to thread
        return list(islice(iterator, 1))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        ahead = reader.submit(one)
        while found := ahead.result():
            ahead = reader.submit(one)
            yield from found
