"""Relay and worker hear at once that there is something to do, and need not hear it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from queue_support import FIXTURES, QUEUE, STEADY, handlers_of, nothing, rows, statuses

from penguinmails.queue.executors import InlineExecutor
from penguinmails.queue.fast_lane import FastLane, wake_key
from penguinmails.queue.handlers import Handlers
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.queue.relay import Relay
from penguinmails.queue.wake_ups import HandOffs
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
DEAF = dataclasses.replace(STEADY, idle_poll_seconds=600.0)
"""Looks by itself so rarely that only a word can have told it."""
LISTENING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted"


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "did not come to be in time"
        time.sleep(0.005)


@contextmanager
def _running(stores: Stores, *processes: Relay | Worker) -> Iterator[None]:
    """Processes in threads of their own; ended by a word they are given, as they would sleep too long."""
    ended = threading.Event()
    threads = [threading.Thread(target=each.run, args=(ended.is_set,), daemon=True) for each in processes]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        _say_something(stores)
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)


def _say_something(stores: Stores) -> None:
    rows(stores, "NOTIFY queue_jobs")
    client = stores.open_redis()
    client.rpush(wake_key(QUEUE), *"12345")
    client.close()


def _worker(stores: Stores, handlers: Handlers) -> Worker:
    return Worker(stores, [QUEUE], InlineExecutor(handlers), configuration=DEAF)


def test_a_word_brings_a_job_all_the_way(stores: Stores, connection: psycopg.Connection) -> None:
    """One after the other, also several at once, to two workers that wait."""
    handlers = handlers_of(nothing)
    processes = (Relay(stores, configuration=DEAF), _worker(stores, handlers), _worker(stores, handlers))
    with _running(stores, *processes):
        _until(lambda: rows(stores, LISTENING) == [(1,)])
        for count in (1, 2, 50):
            enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(count)))
            _until(lambda: set(statuses(stores)) == {"completed"})
    assert statuses(stores) == {"completed": 53}


def test_inserts_notify_once_a_transaction_and_only_while_a_relay_listens(
    stores: Stores, connection: psycopg.Connection
) -> None:
    connection.execute("LISTEN queue_jobs")
    enqueue(connection, QUEUE, {})
    assert list(connection.notifies(timeout=0.0)) == []
    relay = Relay(stores, configuration=DEAF)
    with _running(stores, relay):
        _until(lambda: rows(stores, LISTENING) == [(1,)])
        with connection.transaction():
            enqueue(connection, QUEUE, {})
            enqueue(connection, QUEUE, {})
        assert len(list(connection.notifies(timeout=60.0, stop_after=1))) == 1
    list(connection.notifies(timeout=0.0))
    _until(lambda: rows(stores, LISTENING) == [(0,)])  # its session ends a moment after it has closed it
    enqueue(connection, QUEUE, {})
    # The word that ended the relay came from another session, and may come late.
    said = [word for word in connection.notifies(timeout=0.0) if word.pid == connection.info.backend_pid]
    assert said == []


def test_a_relay_under_load_asks_for_no_word(stores: Stores, connection: psycopg.Connection) -> None:
    """Producers are spared the notification as long as it finds something at every turn."""
    relay = Relay(stores, configuration=dataclasses.replace(STEADY, batch=1))
    with _running(stores, relay):
        _until(lambda: rows(stores, LISTENING) == [(1,)])
        enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(200)))
        _until(lambda: rows(stores, LISTENING) == [(0,)])
        _until(lambda: statuses(stores) == {"migrated_to_redis": 200})
        _until(lambda: rows(stores, LISTENING) == [(1,)])


def test_what_no_word_tells_is_found_a_little_later(stores: Stores, connection: psycopg.Connection) -> None:
    """As through a pooler that passes no notification on, or from a relay of an older version."""
    connection.execute("DROP TRIGGER jobs_are_new ON jobs")
    relay = Relay(stores, configuration=STEADY)
    worker = Worker(stores, [QUEUE], InlineExecutor(handlers_of(nothing)), configuration=STEADY)
    with _running(stores, relay, worker):
        enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(3)))
        _until(lambda: statuses(stores) == {"completed": 3})
        client = stores.open_redis()
        enqueue(connection, QUEUE, {})
        while client.delete(wake_key(QUEUE)):
            pass
        client.close()
        _until(lambda: statuses(stores) == {"completed": 4})


class _Full(InlineExecutor):
    """Has room until it is told that it has none."""

    has_room = True

    def room(self) -> int:
        return 1 if self.has_room else 0


def test_a_worker_without_room_gives_its_word_to_another(stores: Stores) -> None:
    client = stores.open_redis()
    executor = _Full(handlers_of(lambda _: None))  # type: ignore[arg-type]
    full, other = (HandOffs(FastLane.open(stores).client, [QUEUE], DEAF) for _ in range(2))
    try:
        full.after_turn(executor, moved=0, is_gathering=True)  # asks
        executor.has_room = False
        _until(lambda: client.info("clients")["blocked_clients"] == 1)
        client.rpush(wake_key(QUEUE), "1")
        _until(lambda: client.info("clients")["blocked_clients"] == 0)
        full.after_turn(executor, moved=0, is_gathering=False)
        _until(lambda: client.llen(wake_key(QUEUE)) == 1)
        executor.has_room = True
        other.after_turn(executor, moved=0, is_gathering=False)
        assert client.llen(wake_key(QUEUE)) == 0
    finally:
        full.close()
        other.close()
        client.close()


def test_a_batch_wakes_as_many_workers_as_it_has_work_for(stores: Stores, connection: psycopg.Connection) -> None:
    """One token a batch; whoever leaves something passes the word on."""
    fast_lane = FastLane.open(stores)
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(3)))
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    relay.close()
    (worker_id,) = rows(stores, "SELECT gen_random_uuid()")[0]
    for left in (1, 1, 0):
        assert fast_lane.client.lpop(wake_key(QUEUE)) == b"1"
        assert len(fast_lane.reserve(worker_id, [QUEUE], 1)) == 1
        assert fast_lane.client.llen(wake_key(QUEUE)) == left
    fast_lane.close()
