"""Letting Python look for reference cycles rarely while many thousand objects without any are made and dropped.

Its cyclic garbage collector begins after every 700 new objects and looks at all that are alive: a third of the time in which
a hand-over's own process works. Memory is still given back as usual, by counting references.

Belongs here: that setting, which is the whole process's, and putting it back.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_RARELY = (100_000, 20, 20)
_lock = threading.Lock()
_working = 0
_usual = gc.get_threshold()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Sets it for as long as anybody in this process is inside."""
    global _working, _usual
    with _lock:
        if not _working:
            _usual = gc.get_threshold()
            if 0 < _usual[0] < _RARELY[0]:  # nobody has switched it off, or made it rarer still
                gc.set_threshold(*_RARELY)
        _working += 1
    try:
        yield
    finally:
        with _lock:
            _working -= 1
            if not _working:
                gc.set_threshold(*_usual)
