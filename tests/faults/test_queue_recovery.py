"""What dies, is flushed, doubled or late loses no job and runs none beside itself."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import psycopg
import pytest
from queue_support import FIXTURES, QUEUE, SHORT, STEADY, Note, handlers_of, job, nothing, own_redis, rows, statuses

from penguinmails.queue.child_processes import ChildProcesses
from penguinmails.queue.configuration import Configuration
from penguinmails.queue.drain import drain
from penguinmails.queue.errors import FastLaneUnavailable, FastLaneUnsafe, OwnershipLost, PermanentFailure
from penguinmails.queue.executors import InlineExecutor
from penguinmails.queue.fast_lane import FastLane, list_key
from penguinmails.queue.handlers import Handlers, JobContext
from penguinmails.queue.leases import Lease
from penguinmails.queue.operations import JobFilter, Order, replay
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.queue.queues import Band
from penguinmails.queue.reaper import Reaper
from penguinmails.queue.reconciler import QUERIES as REAPER
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
LIVELY = dataclasses.replace(STEADY, lease_seconds=5.0)


def _sleep_once(payload: Note, context: JobContext) -> None:
    """Says that it runs and, at the first run, never ends."""
    Path(payload.note, f"run-{context.job.gen}").touch()
    if context.job.gen == 1:
        time.sleep(600)


def _work(stores: Stores, handlers: Handlers) -> None:
    Worker(stores, [QUEUE], InlineExecutor(handlers), configuration=SHORT).run(lambda: False)


@contextmanager
def _process(target: Callable[..., None], *arguments: object) -> Iterator[SpawnProcess]:
    """A process that ends with the block, also when an assertion in it fails: it would hold up the end of the tests for ever."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()  # also ends one that is stopped
        process.join(60)


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come to be in time"
        time.sleep(0.01)


def _hand_over(stores: Stores, configuration: Configuration = STEADY) -> int:
    relay = Relay(stores, configuration=configuration)
    try:
        return relay.step()
    finally:
        relay.close()


def test_a_killed_workers_job_is_run_again(stores: Stores, connection: psycopg.Connection, tmp_path: Path) -> None:
    enqueued = enqueue(connection, QUEUE, {"note": str(tmp_path)}, max_attempts=1)
    handlers = handlers_of(_sleep_once)
    _hand_over(stores)
    with _process(_work, stores, handlers) as worker:
        _until((tmp_path / "run-1").exists, seconds=60)
        worker.kill()
        worker.join(60)
    assert job(stores, enqueued.id)["status"] == "running"
    report = drain(stores, handlers, configuration=SHORT)
    assert (report.completed, report.reclaimed) == (1, 1)
    done = job(stores, enqueued.id)
    assert (done["status"], done["attempt_count"], done["crash_count"]) == ("completed", 1, 1)
    assert [row[0] for row in rows(stores, "SELECT status FROM job_logs ORDER BY id")] == ["retry", "success"]


def _say_who_and_hang(payload: Note, _: JobContext) -> None:
    Path(payload.note, "unfinished").write_text(str(os.getpid()))
    Path(payload.note, "unfinished").rename(Path(payload.note, "child"))
    time.sleep(600)


def _work_in_children(stores: Stores, handlers: Handlers) -> None:
    Worker(stores, [QUEUE], ChildProcesses(handlers, slots=1), configuration=LIVELY).run(lambda: False)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_handlers_end_with_their_worker(
    stores: Stores, connection: psycopg.Connection, tmp_path: Path, end: signal.Signals
) -> None:
    """A handler must not go on when its worker is killed, nor when the worker is frozen and its lease runs out."""
    enqueue(connection, QUEUE, {"note": str(tmp_path)})
    _hand_over(stores)
    handlers = handlers_of(_say_who_and_hang)
    with _process(_work_in_children, stores, handlers) as worker:
        _until((tmp_path / "child").exists, seconds=60)
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert worker.pid
        os.kill(worker.pid, end)
        _until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    reaper = Reaper(stores, configuration=SHORT)
    _until(lambda: reaper.step().jobs_reclaimed == 1)
    reaper.close()
    assert statuses(stores) == {"queued": 1}


def test_a_job_that_kills_every_worker_is_buried(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = enqueue(connection, QUEUE, {})
    reaper = Reaper(stores, configuration=SHORT)
    for _ in range(SHORT.crash_limit):
        connection.execute(
            "UPDATE jobs SET status = 'running', gen = gen + 1, worker_id = %s, attempt_count = attempt_count + 1, "
            "started = now() WHERE status = 'queued'",
            [uuid4()],
        )
        reaper.step()
    reaper.close()
    assert job(stores, enqueued.id)["status"] == "failed"
    assert job(stores, enqueued.id)["crash_count"] == SHORT.crash_limit


def test_a_flushed_redis_loses_no_job(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(300)))
    reaper = Reaper(stores, configuration=SHORT)
    reaper.step()
    assert _hand_over(stores) == 300
    client = stores.open_redis()
    client.flushall()
    client.close()
    sweep = reaper.step()
    reaper.close()
    assert (sweep.redis_changed, sweep.hand_offs_lost) == (True, 300)
    assert drain(stores, handlers_of(nothing), configuration=SHORT).completed == 300


def test_a_relay_killed_between_commit_and_push_loses_no_job(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = enqueue(connection, QUEUE, {})
    connection.execute(
        "UPDATE jobs SET status = 'migrated_to_redis', gen = gen + 1, lease_expires = now() WHERE id = %s",
        [enqueued.id],
    )
    assert drain(stores, handlers_of(nothing), configuration=SHORT).completed == 1
    assert job(stores, enqueued.id)["gen"] == 3


def test_a_hand_off_still_in_redis_is_left_there(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = enqueue(connection, QUEUE, {})
    reaper = Reaper(stores, configuration=SHORT)
    reaper.step()
    _hand_over(stores)
    connection.execute("UPDATE jobs SET lease_expires = now() - interval '1 minute'")
    assert reaper.step().hand_offs_lost == 0
    reaper.close()
    found = job(stores, enqueued.id)
    assert (found["status"], found["gen"]) == ("migrated_to_redis", 1)
    assert found["lease_expires"] > found["updated"]


def test_doubled_stale_and_foreign_messages_are_dropped(stores: Stores, connection: psycopg.Connection) -> None:
    ran: list[UUID] = []
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(50)))
    _hand_over(stores)
    client = stores.open_redis()
    messages = client.lrange(list_key(QUEUE, Band.NORMAL), 0, -1)
    stale = [message.replace(b'"gen" : 1', b'"gen" : 0') for message in messages]
    assert stale != messages
    foreign = [b"", b"not json", b'{"id": "x"}', b'{"id": "018f0000-0000-7000-8000-000000000000", "gen": 1}']
    client.rpush(list_key(QUEUE, Band.NORMAL), *messages, *stale, *foreign)
    handlers = handlers_of(lambda _, context: ran.append(context.job.id))
    worker = Worker(stores, [QUEUE], InlineExecutor(handlers), configuration=STEADY)
    _until(lambda: worker.step() == 0 and worker.is_idle and worker.counts.completed == 50)
    worker.close()
    assert len(ran) == len(set(ran)) == 50
    assert (worker.counts.stale, worker.counts.foreign) == (101, 3)
    letters = [json.loads(letter) for letter in client.lrange("deadletter:queue", 0, -1)]
    assert {letter["message"] for letter in letters} == {"", "not json", '{"id": "x"}'}
    assert all("no job and generation" in letter["error"] for letter in letters)
    client.close()


def test_every_dead_letter_is_mirrored_once_whoever_buried_it(stores: Stores, connection: psycopg.Connection) -> None:
    """Also one that a worker of another language has ended, and all of them once Redis was flushed."""

    def fail(_: Note, __: JobContext) -> None:
        raise PermanentFailure("mailbox", "is gone", "Nothing to do.")

    by_us, by_others = enqueue(connection, QUEUE, {"note": "a"}, priority=10), enqueue(connection, QUEUE, {"note": "b"})
    connection.execute("UPDATE jobs SET status = 'failed', failed = now() WHERE id = %s", [by_others.id])
    assert drain(stores, handlers_of(fail), configuration=SHORT).dead == 1
    client = stores.open_redis()
    reaper = Reaper(stores, configuration=SHORT)
    for flushed in (False, True):
        if flushed:
            client.flushall()
        reaper.step()
        letters = {each["id"]: each for each in map(json.loads, client.lrange("deadletter:queue", 0, -1))}
        assert (set(letters), client.llen("deadletter:queue")) == ({str(by_us.id), str(by_others.id)}, 2)
        assert letters[str(by_us.id)]["payload"] == {"note": "a"}
        assert letters[str(by_us.id)]["original_priority"] == 10
        assert letters[str(by_us.id)]["error"] == "mailbox: is gone. Nothing to do."
        assert 0 < client.ttl("deadletter:queue") <= 604_800
        assert client.get(f"deadletter:{by_us.id}") == b"moved"
    replay(stores, JobFilter(ids=(by_us.id,)), Order("tester", "a test", dry_run=False))
    assert [json.loads(letter)["id"] for letter in client.lrange("deadletter:queue", 0, -1)] == [str(by_others.id)]
    client.close()
    reaper.close()


def test_ids_of_recent_jobs_are_kept_for_those_who_ask_redis(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = [enqueue(connection, QUEUE, {}, priority=priority).id for priority in (10, 100, 200)]
    _hand_over(stores)
    client = stores.open_redis()
    assert {UUID(each.decode()) for each in client.smembers(f"recent_jobs:{QUEUE}")} == set(enqueued)
    assert 0 < client.ttl(f"recent_jobs:{QUEUE}") <= 3_600
    client.close()


def test_two_relays_hand_every_job_over_once(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(1_500)))
    relays = [Relay(stores, configuration=SHORT) for _ in range(2)]
    threads = [threading.Thread(target=lambda relay=relay: [relay.step() for _ in range(5)]) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(relay.counts.handed_off for relay in relays) == 1_500
    for relay in relays:
        relay.close()
    fast_lane = FastLane.open(stores)
    assert len(fast_lane.tickets_in_lanes([QUEUE])) == fast_lane.depths([QUEUE])[QUEUE, Band.NORMAL] == 1_500
    fast_lane.close()


def test_redis_holds_no_more_than_its_high_water(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(5_000)))
    relay = Relay(stores, configuration=SHORT)
    while relay.step():
        pass
    late = enqueue(connection, QUEUE, {}, priority=1)
    assert relay.step() == 1
    relay.close()
    assert statuses(stores) == {"migrated_to_redis": SHORT.high_water + 1, "queued": 5_000 - SHORT.high_water}
    ran: list[UUID] = []
    worker = Worker(
        stores, [QUEUE], InlineExecutor(handlers_of(lambda _, each: ran.append(each.job.id))), configuration=STEADY
    )
    _until(lambda: bool(worker.step()) and bool(ran))
    worker.close()
    assert ran[0] == late.id


def test_without_redis_jobs_go_straight_through_postgresql(
    template_database: Callable[..., str], clone_database: Callable[..., object], servers: object
) -> None:
    from queue_support import make_stores

    from penguinmails.stack import embedded

    with own_redis() as server:
        stores = make_stores(server, template_database, clone_database)  # type: ignore[arg-type]
        with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
            enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(100)))
        reaper = Reaper(stores, configuration=SHORT)
        reaper.step()
        reaper.close()
        assert _hand_over(stores, SHORT) == 100
        with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
            enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(100)))
        embedded.stop(server.home)
        with pytest.raises(FastLaneUnavailable):
            _hand_over(stores)
        assert drain(stores, handlers_of(nothing), configuration=SHORT).completed == 200
        assert statuses(stores) == {"completed": 200}


def test_a_redis_that_would_lose_jobs_is_refused(stores: Stores) -> None:
    client = stores.open_redis()
    for setting, bad, good in (("maxmemory-policy", "allkeys-lru", "noeviction"), ("appendonly", "no", "yes")):
        client.config_set(setting, bad)
        try:
            for process in (
                Relay(stores, configuration=SHORT),
                Worker(stores, [QUEUE], InlineExecutor(Handlers({})), configuration=SHORT),
            ):
                with pytest.raises(FastLaneUnsafe):
                    process.run(lambda: False)
        finally:
            client.config_set(setting, good)
    client.close()


def test_a_redis_that_still_reads_its_files_is_waited_for(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it says of itself that it keeps nothing."""
    fast_lane = FastLane.open(stores)
    said = fast_lane.client.info() | {"loading": 1, "aof_enabled": 0}
    monkeypatch.setattr(fast_lane.client, "info", lambda: said)
    with pytest.raises(FastLaneUnavailable):
        fast_lane.require_safe()
    fast_lane.close()


def test_a_late_finish_is_refused(stores: Stores, connection: psycopg.Connection) -> None:
    """The worker was thought dead and its job taken away while the handler ran."""
    refused: list[bool] = []

    def overrun(_: Note, context: JobContext) -> None:
        if context.job.gen > 1:
            return
        connection.execute("UPDATE workers SET dead = true")
        reaper = Reaper(stores, configuration=SHORT)
        assert reaper.step().jobs_reclaimed == 1
        reaper.close()
        with psycopg.connect(stores.queue_url.get_secret_value()) as own:
            try:
                context.finish_within(own)
            except OwnershipLost:
                refused.append(True)

    enqueued = enqueue(connection, QUEUE, {})
    _hand_over(stores)
    worker = Worker(stores, [QUEUE], InlineExecutor(handlers_of(overrun)), configuration=STEADY)
    _until(lambda: worker.step() == 0 and worker.counts.fenced == 1)
    worker.close()
    assert refused == [True]
    assert job(stores, enqueued.id)["status"] == "queued"
    assert drain(stores, handlers_of(nothing), configuration=SHORT).completed == 1


BAD = ("raise", "exit", "leave", "hang", "eat", "babble")


def _misbehave(payload: Note, context: JobContext) -> None:
    match payload.note:
        case "raise":
            raise RuntimeError
        case "exit":
            raise SystemExit(3)
        case "leave":
            os._exit(9)
        case "hang":
            time.sleep(600)
        case "eat":
            bytearray(8 * 2**30)
        case "babble":
            raise PermanentFailure("a\x00b", "\udc80", "c" * 10_000)


def test_the_worker_outlives_every_handler(stores: Stores, connection: psycopg.Connection) -> None:
    """What a handler does wrong is said, each in its way, and the other jobs are done."""
    connection.execute("UPDATE job_queues SET timeout_seconds = 1 WHERE name = %s", [QUEUE])
    bad = {note: enqueue(connection, QUEUE, {"note": note}, max_attempts=1).id for note in BAD}
    good = [enqueue(connection, QUEUE, {}).id for _ in range(20)]
    _hand_over(stores)
    executor = ChildProcesses(handlers_of(_misbehave), slots=2, memory_limit_bytes=4 * 2**30)
    worker = Worker(stores, [QUEUE], executor, configuration=STEADY)
    deadline = time.monotonic() + 60
    while worker.counts.completed + worker.counts.dead < 20 + len(BAD) and time.monotonic() < deadline:
        worker.step()
        relay = _hand_over(stores)
        time.sleep(0 if relay else 0.01)
    worker.close()
    assert {job(stores, each)["status"] for each in good} == {"completed"}
    reasons = {note: job(stores, job_id)["last_error_message"] for note, job_id in bad.items()}
    assert reasons["raise"].startswith("RuntimeError")
    assert reasons["exit"].startswith("SystemExit")
    assert reasons["eat"].startswith("MemoryError")
    assert reasons["babble"].startswith("ab: ?.")
    assert "exit code 9" in reasons["leave"]
    assert "ran longer than 1 s" in reasons["hang"]
    assert {job(stores, each)["status"] for each in bad.values()} == {"failed"}


def test_a_stopping_worker_gives_back_what_it_has(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(10)))
    _hand_over(stores)

    def slow(_: Note, __: JobContext) -> None:
        time.sleep(0.05)

    worker = Worker(stores, [QUEUE], InlineExecutor(handlers_of(slow)), configuration=STEADY)
    worker.step()
    worker.step()
    worker.close(wait_seconds=0)
    assert not rows(stores, "SELECT id FROM jobs WHERE status = 'running'")
    assert not rows(stores, "SELECT id FROM jobs WHERE attempt_count > 1 OR (status = 'queued' AND attempt_count <> 0)")
    assert drain(stores, handlers_of(nothing), configuration=SHORT).left == 0


def test_what_was_started_when_the_answer_got_lost_is_adopted(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = enqueue(connection, QUEUE, {})
    worker = Worker(stores, [QUEUE], InlineExecutor(handlers_of(nothing)), configuration=STEADY)
    worker.step()
    (worker_id,) = rows(stores, "SELECT id FROM workers WHERE NOT dead")[0]
    connection.execute(
        "UPDATE jobs SET status = 'running', gen = 1, attempt_count = 1, started = now(), worker_id = %s, "
        "lease_expires = now() + interval '1 hour' WHERE id = %s",
        [worker_id, enqueued.id],
    )
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    worker.reconnect()
    _until(lambda: worker.step() >= 0 and worker.counts.completed == 1)
    worker.close()


def test_a_start_that_failed_holds_nothing_back(
    stores: Stores, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL goes away between reserving and starting; the worker lives on and no other job comes."""
    enqueued = enqueue(connection, QUEUE, {})
    reaper = Reaper(stores, configuration=SHORT)
    reaper.step()
    _hand_over(stores)
    worker = Worker(stores, [QUEUE], InlineExecutor(handlers_of(nothing)), configuration=STEADY)

    def away(*_: object) -> None:
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_start", away)
        with pytest.raises(psycopg.OperationalError):
            worker.step()
    worker.reconnect()
    worker.step()
    connection.execute("UPDATE jobs SET lease_expires = now() - interval '1 second'")
    assert reaper.step().hand_offs_lost == 1
    reaper.close()
    _hand_over(stores)
    _until(lambda: worker.step() >= 0 and worker.counts.completed == 1)
    worker.close()
    assert job(stores, enqueued.id)["status"] == "completed"


def test_a_relay_that_was_thought_dead_is_counted_again(stores: Stores, connection: psycopg.Connection) -> None:
    """As after an outage of PostgreSQL: it owns nothing, so it need not stop."""
    lease = Lease(stores.queue_url, "relay", SHORT, begins_anew=True)
    first = lease.id
    connection.execute("UPDATE workers SET dead = true")
    _until(lambda: rows(stores, "SELECT kind FROM workers WHERE NOT dead") == [("relay",)])
    assert lease.id != first
    lease.close()
    assert rows(stores, "SELECT id FROM workers WHERE NOT dead") == []


def test_a_frozen_reaper_is_stood_in_for(stores: Stores, connection: psycopg.Connection) -> None:
    """It holds the lock of the active one and does nothing."""
    first = Reaper(stores, configuration=SHORT)
    first.step()
    first.close()
    connection.execute(REAPER["only_one_reaper"])
    enqueue(connection, QUEUE, {})
    connection.execute("UPDATE jobs SET status = 'running', worker_id = %s, gen = 1", [uuid4()])
    end = time.monotonic() + 20
    Reaper(stores, configuration=SHORT).run(lambda: "queued" in statuses(stores) or time.monotonic() > end)
    assert statuses(stores) == {"queued": 1}
