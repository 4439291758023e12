"""Crashing the queue's processes between any two of their calls to PostgreSQL or Redis.

A crash is an exception that nothing catches, raised just before a call, which is as good as just after the one before: that
one was made and nobody acted on its answer. Handlers add a point of their own before their effect, the only other thing that
happens between two calls. The lease's own thread is left alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import redis
from queue_support import QUEUE

from penguinmails.queue.configuration import Configuration
from penguinmails.queue.executors import InlineExecutor
from penguinmails.queue.handlers import Handlers
from penguinmails.queue.reaper import Reaper
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

# Leases end only when a test says so: no clock decides what happens.
TIMELESS = Configuration(
    lease_seconds=3_600,
    hand_off_seconds=3_600,
    run_slack_seconds=3_600,
    housekeeping_seconds=0,
    high_water=5,
    batch=5,
    crash_limit=1_000,
)


class Crash(BaseException):
    """The process is gone."""


class CrashPoints:
    """Counts calls of the main thread and crashes at the one it was set to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: int | None = None
        for owner, name in (
            (psycopg.Cursor, "execute"),
            (redis.Redis, "execute_command"),
            (redis.client.Pipeline, "execute"),
        ):
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    @contextmanager
    def at(self, point: int | None) -> Iterator[None]:
        """Crashes at the given point (1 is before the first call) of what runs inside."""
        self._left = point
        try:
            yield
        finally:
            self._left = None

    def _around(self, call: Any) -> Any:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.pass_one()
            return call(*arguments, **named)

        return counted

    def pass_one(self) -> None:
        """One crash point."""
        if self._left is None or threading.current_thread() is not threading.main_thread():
            return
        self._left -= 1
        if self._left == 0:
            raise Crash


class Processes:
    """A relay, two workers and a reaper that take turns; a crashed one is replaced by a new one."""

    def __init__(self, stores: Stores, handlers: Handlers) -> None:
        self._stores = stores
        self._handlers = handlers
        self.relay = self._new_relay()
        self.workers = [self._new_worker(), self._new_worker()]
        self.reaper = self._new_reaper()

    def step(self, name: str, points: CrashPoints, point: int | None) -> bool:
        """One turn of a process; returns whether it survived."""
        with points.at(point):
            return self.step_within(name)

    def step_within(self, name: str) -> bool:
        """The same, at the crash point already set."""
        try:
            self._process(name).step()
        except Crash:
            self.kill(name)
            return False
        return True

    def kill(self, name: str) -> None:
        """What SIGKILL leaves: closed connections, a lease that nobody renews."""
        if name == "relay":
            self.relay.close()
            self.relay = self._new_relay()
        elif name == "reaper":
            self.reaper.close()
            self.reaper = self._new_reaper()
        else:
            position = int(name)
            vanish(self._stores, self.workers[position])
            self.workers[position] = self._new_worker()

    def close(self) -> None:
        self.relay.close()
        self.reaper.close()
        for worker in self.workers:
            vanish(self._stores, worker)

    def _process(self, name: str) -> Relay | Reaper | Worker:
        return {"relay": self.relay, "reaper": self.reaper}.get(name) or self.workers[int(name)]

    def _new_relay(self) -> Relay:
        return Relay(self._stores, configuration=TIMELESS)

    def _new_reaper(self) -> Reaper:
        return Reaper(self._stores, configuration=TIMELESS)

    def _new_worker(self) -> Worker:
        return Worker(self._stores, [QUEUE], InlineExecutor(self._handlers), configuration=TIMELESS)


def vanish(stores: Stores, worker: Worker) -> None:
    """Ends a worker without a word, and lets its lease run out."""
    lease = worker._lease
    if lease is not None:
        lease._ended.set()
        lease._thread.join(60)
        lease._disconnect()
        with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
            connection.execute(
                "UPDATE workers SET lease_expires = now() - interval '1 second' WHERE id = %s", [lease.id]
            )
    worker.reconnect()
    worker._fast_lane.close()
