"""Showing how far long work has come: a bar for people at a terminal, log lines in Dagster.

Belongs here: the one channel through which assets report progress and results to whoever started them. Does not belong
here: what they report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.progress import Progress

_SECONDS_BETWEEN_LINES = 5.0


class _Logs(Protocol):
    def info(self, msg: object, /) -> None: ...


@dataclass
class Listener:
    """Whoever started the run in this process and wants to see it: bars to draw, results to collect."""

    bars: Progress
    results: dict[str, Any] = field(default_factory=dict)


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Makes `listener` hear everything that assets report inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def progress_of(what: str, log: _Logs, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yields the function that long work calls with the number of units just done.

    Args:
        what: the work and its unit, as shown ("messages loaded").
        log: Dagster's log of the step.
        total: units in all, when known.
    """
    listener = _listener.get()
    if listener is not None:
        bar = listener.bars.add_task(what, total=total)
        yield lambda units: listener.bars.update(bar, advance=units)
        listener.bars.update(bar, visible=False)
        return
    done, last, tell = 0, time.monotonic(), log.info

    def advance(units: int) -> None:
        nonlocal done, last
        done += units
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            tell(f"{done:,} {what} of {total:,}" if total else f"{done:,} {what}")

    yield advance
    if done:
        tell(f"{done:,} {what} in all")


def collect(name: str, result: Any) -> None:
    """Hands `result` to the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener.results[name] = result
