"""A job's way from enqueueing to its end, on the real servers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from queue_support import FIXTURES, QUEUE, STEADY, Note, handlers_of, job, nothing, rows, statuses

from penguinmails.queue.drain import drain
from penguinmails.queue.errors import PermanentFailure, UnknownQueue
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES


def test_a_job_exists_exactly_when_its_transaction_commits(stores: Stores, connection: psycopg.Connection) -> None:
    with connection.transaction():
        enqueue(connection, QUEUE, {})
        raise psycopg.Rollback
    assert statuses(stores) == {}
    with connection.transaction():
        enqueued = enqueue(connection, QUEUE, {"note": "x"}, tenant_id=uuid4())
    assert enqueued.is_new
    assert job(stores, enqueued.id)["status"] == "queued"


def test_a_job_is_run_completed_and_logged(stores: Stores, connection: psycopg.Connection) -> None:
    seen: list[str] = []

    def remember(payload: Note, context: JobContext) -> None:
        context.assert_owned()
        seen.append(payload.note)

    enqueued = enqueue(connection, QUEUE, {"note": "hello"})
    report = drain(stores, handlers_of(remember), configuration=STEADY)
    assert (report.completed, report.left, seen) == (1, 0, ["hello"])
    done = job(stores, enqueued.id)
    assert (done["status"], done["attempt_count"]) == ("completed", 1)
    assert done["completed"] >= done["started"]
    logs = rows(stores, "SELECT status, attempt_number, gen, duration IS NOT NULL, waited IS NOT NULL FROM job_logs")
    assert logs == [("success", 1, 1, True, True)]


def test_jobs_run_by_priority_then_age(stores: Stores, connection: psycopg.Connection) -> None:
    order: list[str] = []
    jobs = [
        (note, priority) for priority in (200, 100, 10) for note in (f"{priority}-a", f"{priority}-b", f"{priority}-c")
    ]
    for note, priority in jobs:
        enqueue(connection, QUEUE, {"note": note}, priority=priority)
    drain(stores, handlers_of(lambda payload, _: order.append(payload.note)), configuration=STEADY)
    assert order == [f"{priority}-{letter}" for priority in (10, 100, 200) for letter in "abc"]


def test_bulk_enqueue_is_all_or_nothing(stores: Stores, connection: psycopg.Connection) -> None:
    assert enqueue_many(connection, (NewJob(QUEUE, {"note": str(number)}) for number in range(12_000))) == 12_000
    with pytest.raises(UnknownQueue):
        enqueue_many(connection, [NewJob(QUEUE, {}), NewJob("no-such-queue", {})])
    assert statuses(stores) == {"queued": 12_000}


def test_high_priority_is_tried_more_often(stores: Stores, connection: psycopg.Connection) -> None:
    single = enqueue(connection, QUEUE, {}, priority=50)
    normal = enqueue(connection, QUEUE, {})
    enqueue_many(connection, [NewJob(QUEUE, {}, priority=50, dedupe_key="bulk")])
    bulk = rows(stores, "SELECT max_attempts FROM jobs WHERE dedupe_key = 'bulk'")
    assert (job(stores, single.id)["max_attempts"], bulk[0][0], job(stores, normal.id)["max_attempts"]) == (5, 5, 3)


def test_a_live_key_is_not_enqueued_again(stores: Stores, connection: psycopg.Connection) -> None:
    first = enqueue(connection, QUEUE, {}, dedupe_key="tick")
    again = enqueue(connection, QUEUE, {}, dedupe_key="tick")
    assert (again.id, again.is_new) == (first.id, False)
    assert enqueue_many(connection, [NewJob(QUEUE, {}, dedupe_key="tick"), NewJob(QUEUE, {}, dedupe_key="tock")]) == 1
    drain(stores, handlers_of(nothing), configuration=STEADY)
    assert enqueue(connection, QUEUE, {}, dedupe_key="tick").is_new
    assert not enqueue(connection, QUEUE, {}, job_id=first.id).is_new


def test_an_unknown_queue_is_refused_without_breaking_the_transaction(connection: psycopg.Connection) -> None:
    with connection.transaction():
        with pytest.raises(UnknownQueue):
            enqueue(connection, "no-such-queue", {})
        assert enqueue(connection, QUEUE, {}).is_new


def test_a_job_does_not_run_before_its_time(stores: Stores, connection: psycopg.Connection) -> None:
    later = enqueue(connection, QUEUE, {}, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 0
    connection.execute("UPDATE jobs SET run_at = now() WHERE id = %s", [later.id])
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 1


def test_a_failing_job_is_tried_again_later_and_then_buried(stores: Stores, connection: psycopg.Connection) -> None:
    def fail(_: Note, __: JobContext) -> None:
        raise ValueError("someone@example.com")

    enqueued = enqueue(connection, QUEUE, {})
    for attempt in (1, 2, 3):
        drain(stores, handlers_of(fail), configuration=STEADY)
        now = job(stores, enqueued.id)
        assert now["attempt_count"] == attempt
        assert now["status"] == ("failed" if attempt == 3 else "retry_scheduled")
        delay = (now["run_at"] - now["updated"]).total_seconds()
        assert attempt == 3 or 0.75 * 2**attempt <= delay <= 1.25 * 2**attempt
        assert now["last_error_message"].startswith("ValueError at ")
        assert "example.com" not in now["last_error_message"]
        connection.execute("UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled'")
    assert rows(stores, "SELECT status, attempt_number FROM job_logs ORDER BY id") == [
        ("retry", 1),
        ("retry", 2),
        ("failed", 3),
    ]
    client = stores.open_redis()
    assert client.llen("deadletter:queue") == 1
    assert 0 < client.ttl(f"deadletter:{enqueued.id}") <= 604_800
    client.close()


@pytest.mark.parametrize("payload", [{"note": 5}, {"note": "permanent"}])
def test_what_cannot_succeed_is_not_tried_again(
    stores: Stores, connection: psycopg.Connection, payload: dict[str, object]
) -> None:
    def refuse(_: Note, __: JobContext) -> None:
        raise PermanentFailure("mailbox", "is gone", "Nothing to do.")

    enqueued = enqueue(connection, QUEUE, payload)
    assert drain(stores, handlers_of(refuse), configuration=STEADY).dead == 1
    assert job(stores, enqueued.id)["status"] == "failed"


def test_a_handler_may_finish_in_its_own_transaction(stores: Stores, connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE effects (job_id uuid)")

    def work(_: Note, context: JobContext) -> None:
        with psycopg.connect(stores.queue_url.get_secret_value()) as own:
            own.execute("INSERT INTO effects VALUES (%s)", [context.job.id])
            context.finish_within(own)

    enqueued = enqueue(connection, QUEUE, {})
    assert drain(stores, handlers_of(work), configuration=STEADY).completed == 1
    assert rows(stores, "SELECT job_id FROM effects") == [(enqueued.id,)]
    assert job(stores, enqueued.id)["status"] == "completed"


def test_two_drains_at_once_run_every_job_once(stores: Stores, connection: psycopg.Connection) -> None:
    ran: list[str] = []
    handlers = handlers_of(lambda payload, _: ran.append(payload.note))
    enqueue_many(connection, (NewJob(QUEUE, {"note": str(number)}) for number in range(3_000)))
    threads = [
        threading.Thread(
            target=drain, args=(stores, handlers), kwargs={"configuration": STEADY, "at_most_seconds": 120}, daemon=True
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses(stores) == {"completed": 3_000}
    assert sorted(ran, key=int) == [str(number) for number in range(3_000)]


def test_a_final_state_is_left_only_by_replay(stores: Stores, connection: psycopg.Connection) -> None:
    enqueued = enqueue(connection, QUEUE, {})
    drain(stores, handlers_of(nothing), configuration=STEADY)
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE jobs SET status = 'queued' WHERE id = %s", [enqueued.id])
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE jobs SET gen = gen - 1 WHERE id = %s", [enqueued.id])
