"""Draining: relay, worker and reaper turn by turn in one process, until nothing is left to do now.

Belongs here: `drain`. Does not belong here: long-running processes (cli.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from penguinmails.queue.configuration import DEFAULTS, Configuration
from penguinmails.queue.connections import connect
from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.executors import InlineExecutor
from penguinmails.queue.handlers import PROTOCOL, Handlers
from penguinmails.queue.reaper import Reaper
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class DrainReport:
    """What a drain did.

    Args:
        left: jobs that could still run now (another process has them, or the time was up).
    """

    completed: int
    retried: int
    dead: int
    reclaimed: int
    left: int
    seconds: float


def drain(
    stores: Stores,
    handlers: Handlers | None = None,
    *,
    configuration: Configuration = DEFAULTS,
    at_most_seconds: float = 600.0,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
) -> DrainReport:
    """Runs every job that is ready, here, one at a time, and returns when none is left to be run now.

    Jobs of a killed process are waited for until they are taken back; retries that lie ahead are not. Any number of
    drains and workers may run at once. Jobs of queues without a handler here are left alone.

    Args:
        handlers: default: the platform's own and those of installed packages.
        at_most_seconds: ends then, however much is left.
        progress: told how many jobs have just been settled.

    Raises:
        FastLaneUnsafe: this Redis evicts or forgets.
        ServerError: PostgreSQL does not answer.
    """
    handlers = handlers or Handlers.installed()
    began = time.monotonic()
    reclaimed = 0
    relay, reaper = Relay(stores, configuration=configuration), Reaper(stores, configuration=configuration)
    worker = Worker(stores, handlers.queue_names, InlineExecutor(handlers), configuration=configuration)
    swept_at = -configuration.sweep_seconds
    try:
        worker.require_safe_redis()
        while not stop() and time.monotonic() - began < at_most_seconds:
            if time.monotonic() - swept_at >= configuration.sweep_seconds:
                reclaimed += reaper.step().jobs_moved
                swept_at = time.monotonic()
            moved = _relay_step(relay)
            settled_before = _settled(worker)
            moved += worker.step()
            progress(_settled(worker) - settled_before)
            if moved == 0:
                if worker.is_idle and _runnable(stores, handlers) == 0:
                    break
                time.sleep(configuration.poll_seconds)
        if worker.counts.dead:
            reaper.step()  # mirrors them
    finally:
        worker.close()
        relay.close()
        reaper.close()
    counts = asdict(worker.counts)
    return DrainReport(
        completed=counts["completed"],
        retried=counts["retried"],
        dead=counts["dead"],
        reclaimed=reclaimed,
        left=_runnable(stores, handlers),
        seconds=time.monotonic() - began,
    )


def _relay_step(relay: Relay) -> int:
    try:
        return relay.step()
    except FastLaneUnavailable:
        return 0  # the worker goes around Redis


def _settled(worker: Worker) -> int:
    return worker.counts.completed + worker.counts.retried + worker.counts.dead


def _runnable(stores: Stores, handlers: Handlers) -> int:
    """How many jobs of these queues are ready, handed over or running."""
    with connect(stores.queue_url) as connection:
        row = connection.execute(PROTOCOL["runnable"], {"queue_names": handlers.queue_names}).fetchone()
    return int(row[0]) if row else 0
