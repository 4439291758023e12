"""Pausing, cancelling, retrying, replaying and explaining, on the real servers."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner
from queue_support import FIXTURES, QUEUE, STEADY, Note, handlers_of, job, nothing, rows, statuses

from penguinmails.queue import cli
from penguinmails.queue.child_processes import ChildProcesses
from penguinmails.queue.drain import drain
from penguinmails.queue.errors import JobRefused, UnknownQueue
from penguinmails.queue.fast_lane import list_key, processing_key
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.inspection import show, why
from penguinmails.queue.leases import Lease
from penguinmails.queue.limits import set_limit
from penguinmails.queue.operations import JobFilter, Order, cancel, pause, replay, resume, retry_now
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.queue.queues import Band
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
DO = Order("tester", "a test", dry_run=False)


def _fail(_: Note, __: JobContext) -> None:
    raise RuntimeError


def _hand_over(stores: Stores) -> int:
    relay = Relay(stores, configuration=STEADY)
    try:
        return relay.step()
    finally:
        relay.close()


def _bury(stores: Stores, connection: psycopg.Connection, count: int, **named: object) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {"note": str(n)}, max_attempts=1, **named) for n in range(count)))  # type: ignore[arg-type]
    drain(stores, handlers_of(_fail), configuration=STEADY)


def test_a_paused_queue_starts_nothing_even_from_redis(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(20)))
    assert _hand_over(stores) == 20
    assert pause(stores, QUEUE, actor="tester", reason="a test").taken_back == 20
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(5)))
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 0
    assert statuses(stores) == {"queued": 25}
    resume(stores, QUEUE, actor="tester", reason="a test")
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 25
    assert rows(stores, "SELECT action, actor, jobs_changed FROM queue_audit ORDER BY id") == [
        ("pause", "tester", 20),
        ("resume", "tester", 0),
    ]
    with pytest.raises(UnknownQueue):
        pause(stores, "no-such-queue", actor="tester", reason="a test")


def test_replay_is_dry_bounded_audited_and_complete(stores: Stores, connection: psycopg.Connection) -> None:
    _bury(stores, connection, 30)
    dry = replay(stores, JobFilter(queue_name=QUEUE), Order("tester", "a test"))
    assert (dry.matched, dry.changed, statuses(stores)) == (30, 0, {"failed": 30})
    assert rows(stores, "SELECT * FROM queue_audit") == []
    assert replay(stores, JobFilter(payload={"note": "7"}), DO).changed == 1
    assert replay(stores, JobFilter(error="RuntimeError"), Order("tester", "x", at_most=9, dry_run=False)).changed == 9
    assert statuses(stores) == {"failed": 20, "queued": 10}
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 10
    assert rows(stores, "SELECT action, jobs_changed, job_filter->'payload' FROM queue_audit ORDER BY id") == [
        ("replay", 1, {"note": "7"}),
        ("replay", 9, None),
    ]
    client = stores.open_redis()
    assert len(list(client.scan_iter("deadletter:*-*"))) == 20
    client.close()


def test_replay_leaves_out_a_key_that_is_live_again(stores: Stores, connection: psycopg.Connection) -> None:
    _bury(stores, connection, 1, dedupe_key="tick")
    _bury(stores, connection, 1, dedupe_key="tick")
    _bury(stores, connection, 1, dedupe_key="other")
    enqueue(connection, QUEUE, {}, dedupe_key="other")
    assert replay(stores, JobFilter(), DO).changed == 1
    assert statuses(stores) == {"failed": 2, "queued": 2}


def test_replay_comes_apart(stores: Stores, connection: psycopg.Connection) -> None:
    _bury(stores, connection, 3)
    replay(stores, JobFilter(), DO, stagger_seconds=100)
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 1
    assert statuses(stores) == {"completed": 1, "queued": 2}


def test_retry_now_waits_no_longer(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(3)))
    drain(stores, handlers_of(_fail), configuration=STEADY)
    assert retry_now(stores, JobFilter(statuses=("retry_scheduled",)), DO).changed == 3
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 3


def test_a_cancelled_job_does_not_run(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}, tenant_id=tenant) for tenant in (uuid4(), uuid4())))
    _hand_over(stores)
    (tenant_id,) = rows(stores, "SELECT tenant_id FROM jobs LIMIT 1")[0]
    assert cancel(stores, JobFilter(tenant_id=tenant_id), DO).changed == 1
    assert drain(stores, handlers_of(nothing), configuration=STEADY).completed == 1
    assert statuses(stores) == {"cancelled": 1, "completed": 1}


def _go_on(payload: Note, context: JobContext) -> None:
    """Says how far it is and goes on until it is cancelled, in good order or not."""
    folder, _, manner = payload.note.partition("|")
    if not folder:
        return
    context.report_progress(0.25, "a quarter")
    Path(folder, "runs").touch()
    while manner == "hangs" or not context.is_cancelled:
        time.sleep(0.01)
    Path(folder, "tidied").touch()


@pytest.mark.parametrize("manner", ["tidies", "hangs"])
def test_cancelling_asks_a_running_handler_and_then_ends_it(
    stores: Stores, connection: psycopg.Connection, tmp_path: Path, manner: str
) -> None:
    running = enqueue(connection, QUEUE, {"note": f"{tmp_path}|{manner}"})
    _hand_over(stores)
    grace = dataclasses.replace(STEADY, cancel_grace_seconds=600.0 if manner == "tidies" else 0.1)
    worker = Worker(stores, [QUEUE], ChildProcesses(handlers_of(_go_on), slots=1), configuration=grace)

    def step_until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            worker.step()
            time.sleep(0.01)

    step_until((tmp_path / "runs").exists)
    step_until(lambda: job(stores, running.id)["progress"] is not None)
    assert "25 % done (a quarter)" in why(stores, running.id).reasons[0]
    cancel(stores, JobFilter(ids=(running.id,)), DO)
    next_one = enqueue(connection, QUEUE, {})
    _hand_over(stores)
    step_until(lambda: worker.counts.completed == 1)
    worker.close()
    assert (job(stores, running.id)["status"], job(stores, next_one.id)["status"]) == ("cancelled", "completed")
    assert worker.counts.fenced == 1
    assert (tmp_path / "tidied").exists() is (manner == "tidies")


def test_why_names_what_holds_a_job_up(stores: Stores, connection: psycopg.Connection) -> None:
    first, second = enqueue(connection, QUEUE, {}), enqueue(connection, QUEUE, {}, priority=200)
    reasons = " ".join(why(stores, second.id).reasons)
    assert "No living worker" in reasons
    assert "No relay" in reasons
    assert "1 jobs of its queue are ahead of it (1 of its own tenant's" in reasons
    _hand_over(stores)
    assert "It is in Redis, for" in " ".join(why(stores, first.id).reasons)
    assert "0 messages of its band are ahead" in " ".join(why(stores, first.id).reasons)
    client = stores.open_redis()
    reserver = Lease(stores.queue_url, "worker", STEADY)
    client.rename(list_key(QUEUE, Band.NORMAL), processing_key(reserver.id))
    assert f"Worker {reserver.id} has reserved it" in " ".join(why(stores, first.id).reasons)
    reserver.close()
    client.flushall()
    client.close()
    assert "not in Redis any more" in " ".join(why(stores, first.id).reasons)
    pause(stores, QUEUE, actor="tester", reason="a test")
    assert "paused" in why(stores, first.id).reasons[0]
    resume(stores, QUEUE, actor="tester", reason="a test")
    drain(stores, handlers_of(_fail), configuration=STEADY)
    assert "after attempt 1 failed" in why(stores, first.id).reasons[0]
    assert [attempt["status"] for attempt in show(stores, first.id).attempts] == ["retry"]
    connection.execute("UPDATE jobs SET status = 'running', worker_id = %s WHERE id = %s", [uuid4(), first.id])
    assert "is dead" in why(stores, first.id).reasons[0]
    tenant_id = uuid4()
    set_limit(stores, QUEUE, tenant_id, jobs_per_second=0.1, actor="tester", reason="a test")
    limited = [enqueue(connection, QUEUE, {}, tenant_id=tenant_id).id for _ in range(3)]
    assert "0.1 jobs a second on this queue: its turn comes in about 20 seconds" in " ".join(
        why(stores, limited[2]).reasons
    )
    with pytest.raises(JobRefused):
        why(stores, uuid4())


def test_an_order_needs_an_actor_a_reason_and_a_bound() -> None:
    for arguments in (("", "why", 1), ("who", " ", 1), ("who", "why", 0), ("who", "why", 10**6)):
        with pytest.raises(JobRefused):
            Order(*arguments)


def test_the_commands(stores: Stores, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENGUINMAILS_QUEUE_URL", stores.queue_url.get_secret_value())
    monkeypatch.setenv("PENGUINMAILS_REDIS_URL", stores.redis_url.get_secret_value())

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli.queue, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    _bury(stores, connection, 2)
    found = json.loads(run("list", "--status", "failed", "--json"))
    assert len(found) == 2
    run("list")
    run("show", found[0]["id"])
    assert "dead letter" in run("why", found[0]["id"])
    planned = run("replay", "--reason", "x", "--all")
    assert found[0]["id"] in planned
    assert "would take 2 jobs" in planned
    refused = CliRunner().invoke(cli.queue, ["cancel", "--reason", "x", "--yes"])
    assert isinstance(refused.exception, JobRefused)
    assert json.loads(run("replay", "--queue", QUEUE, "--reason", "x", "--yes", "--json"))["changed"] == 2
    assert "1 jobs changed" in run("cancel", "--id", found[0]["id"], "--reason", "x", "--yes")
    run("pause", QUEUE, "--reason", "x")
    run("resume", QUEUE, "--reason", "x")
    assert "0 jobs" in run("retry", "--all", "--reason", "x")
    tenant = str(uuid4())
    assert "Limit set" in run("limit", QUEUE, tenant, "--jobs-per-second", "2", "--reason", "too fast")
    assert "taken away" in run("limit", QUEUE, tenant, "--reason", "x")
    assert json.loads(run("limit", QUEUE, tenant, "--reason", "x", "--json"))["changed"] is False
    assert len(json.loads(run("tenants", "--json"))) == 1
    actions = [each["action"] for each in json.loads(run("audit", "--json"))]
    assert actions == ["unlimit", "limit", "resume", "pause", "cancel", "replay"]
    assert "too fast" in run("audit")
