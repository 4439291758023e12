"""Probe, thresholds, doctor and commands, on the real servers."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime

import psycopg
import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from queue_support import FIXTURES, QUEUE, STEADY, Note, handlers_of, rows

from penguinmails.queue import cli
from penguinmails.queue.doctor import examine
from penguinmails.queue.drain import drain
from penguinmails.queue.fast_lane import list_key
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.probe import QueueSnapshot, keep, probe
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.queue.queues import QUEUES, Band
from penguinmails.queue.relay import Relay
from penguinmails.queue.schema import migrate
from penguinmails.queue.thresholds import THRESHOLDS, evaluate
from penguinmails.stack.cli import main
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def run(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("PENGUINMAILS_QUEUE_URL", stores.queue_url.get_secret_value())
    monkeypatch.setenv("PENGUINMAILS_REDIS_URL", stores.redis_url.get_secret_value())
    return CliRunner()


def test_the_declared_queues_are_in_the_table(stores: Stores, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE job_queues SET is_active = false, timeout_seconds = 1 WHERE name = %s", [QUEUE])
    assert migrate(stores) == []
    found = rows(stores, "SELECT name, default_priority, timeout_seconds, description, max_attempts FROM job_queues")
    assert sorted(found) == sorted(dataclasses.astuple(definition) for definition in QUEUES)
    assert rows(stores, "SELECT name FROM job_queues WHERE NOT is_active") == [(QUEUE,)]


def test_depth_counts_what_waits_in_postgresql_and_in_redis(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(30)))
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    relay.close()
    enqueue_many(connection, (NewJob(QUEUE, {}, priority=10) for _ in range(12)))
    enqueue(connection, QUEUE, {}, run_at=datetime(2100, 1, 1, tzinfo=UTC))
    snapshot = probe(stores, clock=lambda: NOW)
    lanes = {lane.band: lane for lane in snapshot.lanes if lane.queue_name == QUEUE}
    assert (lanes["high"].ready, lanes["high"].in_redis, lanes["high"].waiting) == (12, 0, 12)
    assert (lanes["normal"].ready, lanes["normal"].in_redis, lanes["normal"].waiting) == (0, 30, 30)
    assert lanes["normal"].scheduled == 1
    assert (snapshot.waiting, snapshot.missing_hand_offs, snapshot.probed_at) == (42, 0, NOW)
    assert {each.threshold.name for each in evaluate(snapshot)} == {"no_relay", "no_worker", "no_reaper"}


def test_ends_of_five_minutes_are_counted(stores: Stores, connection: psycopg.Connection) -> None:
    def fail_on_request(payload: Note, _: JobContext) -> None:
        if payload.note == "fail":
            raise RuntimeError

    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(60)))
    enqueue_many(connection, (NewJob(QUEUE, {"note": "fail"}, max_attempts=1) for _ in range(20)))
    drain(stores, handlers_of(fail_on_request), configuration=STEADY)
    snapshot = probe(stores)
    assert (snapshot.completed_5_minutes, snapshot.failed_5_minutes, snapshot.dead_letters) == (60, 20, 20)
    assert snapshot.failure_rate == 0.25
    assert {"failure_rate", "failed_jobs"} <= {each.threshold.name for each in evaluate(snapshot)}
    connection.execute("UPDATE job_logs SET finished = finished - interval '6 minutes'")
    assert probe(stores).finished_5_minutes == 0


def test_probes_are_kept_and_forgotten(stores: Stores) -> None:
    keep(stores, probe(stores, clock=lambda: datetime(2025, 1, 1, tzinfo=UTC)))
    keep(stores, probe(stores, clock=lambda: NOW))
    assert rows(stores, "SELECT probed_at, waiting_jobs FROM queue_probes") == [(NOW, 0)]


def test_a_queue_without_redis_is_still_probed(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue(connection, QUEUE, {})
    away = dataclasses.replace(stores, redis_url=SecretStr("unix:///nonexistent/valkey.sock"))
    snapshot = probe(away)
    assert (snapshot.redis, snapshot.waiting) == (None, 1)
    assert "redis_away" in {each.threshold.name for each in evaluate(snapshot)}
    assert not all(finding.ok for finding in examine(away))


def test_a_redis_that_lost_its_hand_offs_or_would_is_noticed(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(3)))
    relay = Relay(stores, configuration=STEADY)
    relay.step()
    relay.close()
    client = stores.open_redis()
    client.rpop(list_key(QUEUE, Band.NORMAL))
    assert probe(stores).missing_hand_offs == 0  # it may be on its way
    connection.execute("UPDATE jobs SET updated = now() - interval '1 minute'")
    assert probe(stores).missing_hand_offs == 1
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert {"drift", "redis_unsafe"} <= {each.threshold.name for each in evaluate(probe(stores))}
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    client.close()


def test_a_healthy_queue_passes_the_doctor(stores: Stores) -> None:
    assert all(finding.ok for finding in examine(stores))


def test_every_threshold_says_why_and_what_to_do() -> None:
    assert len({threshold.name for threshold in THRESHOLDS}) == len(THRESHOLDS)
    assert all(threshold.reason and threshold.remedy and threshold.unit for threshold in THRESHOLDS)


def test_each_limit_can_be_exceeded(stores: Stores) -> None:
    calm: QueueSnapshot = probe(stores)
    assert evaluate(calm) == []
    late = dataclasses.replace(calm, overdue_hand_offs=1, oldest_transaction_seconds=601.0)
    assert {each.threshold.name for each in evaluate(late)} == {"overdue_hand_offs", "oldest_transaction"}


def test_commands_enqueue_drain_and_show(run: CliRunner) -> None:
    enqueued = run.invoke(cli.queue, ["enqueue", QUEUE, '{"note": "x"}', "--priority", "10", "--json"])
    assert json.loads(enqueued.stdout)["is_new"] is True
    assert run.invoke(cli.queue, ["status"]).exit_code == 1  # it waits and nobody comes
    drained = run.invoke(cli.queue, ["drain", "--json"])
    assert json.loads(drained.stdout)["completed"] == 1
    status = run.invoke(cli.queue, ["status", "--json"])
    assert status.exit_code == 0
    assert json.loads(status.stdout)["completed_5_minutes"] == 1


@pytest.mark.parametrize(
    "arguments", [["enqueue", "no-such-queue"], ["enqueue", QUEUE, "not json"], ["worker", "--queue", "x"]]
)
def test_wrong_input_is_refused(run: CliRunner, arguments: list[str]) -> None:
    result = run.invoke(cli.queue, arguments)
    assert getattr(result.exception, "exit_code", None) == 2


def test_status_ends_the_command_with_one_when_a_limit_is_exceeded(
    run: CliRunner, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["penguinmails", "queue", "status"])
    enqueue(connection, QUEUE, {})
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1


def test_top_shows_the_queue_until_a_key_ends_it(run: CliRunner, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(12)))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (40, 100))
    command = [sys.executable, "-m", "penguinmails.stack.cli", "queue", "top", "--every", "0.2"]
    environment = os.environ | {"TERM": "xterm"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        shown = _read_until(ours, b"no_worker")
        assert b"12 waiting" in shown
        os.write(ours, b" ")
        _read_until(ours, b"held")
        os.write(ours, b"q")
        _read_until(ours, b"\x1b[?1049l")  # the screen is as it was
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(20)
        os.close(ours)


def _read_until(terminal: int, text: bytes) -> bytes:
    shown, end = b"", time.monotonic() + 30
    while text not in shown:
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65_536)
    return shown
