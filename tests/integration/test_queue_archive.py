"""Finished jobs leave for the archive, whole and once, and the files leave in their time."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from queue_support import FIXTURES, QUEUE, STEADY, Note, handlers_of, make_stores, rows, statuses

from penguinmails.queue import archive
from penguinmails.queue.archive import archive_finished
from penguinmails.queue.drain import drain
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.operations import JobFilter, Order, replay
from penguinmails.queue.producer import NewJob, enqueue_many
from penguinmails.queue.retention import forget_old
from penguinmails.queue.schedules import enqueue_tick
from penguinmails.stack import embedded
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

redis_server, _, connection = FIXTURES


@pytest.fixture(name="stores")
def _stores(
    redis_server: embedded.Embedded,
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    clone_database: Callable[[str, str], SecretStr],
    bucket: Bucket,
) -> Stores:
    return dataclasses.replace(make_stores(redis_server, template_database, clone_database), bucket=bucket.address)


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(days=8)


def _run_some(stores: Stores, connection: psycopg.Connection) -> None:
    """20 completed, 5 failed, 3 waiting."""

    def work(payload: Note, _: JobContext) -> None:
        if payload.note == "fail":
            raise RuntimeError

    enqueue_many(connection, (NewJob(QUEUE, {"note": str(number)}) for number in range(20)))
    enqueue_many(connection, (NewJob(QUEUE, {"note": "fail"}, max_attempts=1) for _ in range(5)))
    drain(stores, handlers_of(work), configuration=STEADY)
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(3)))


def test_finished_jobs_leave_whole_and_live_ones_stay(
    stores: Stores, connection: psycopg.Connection, bucket: Bucket
) -> None:
    _run_some(stores, connection)
    assert archive_finished(stores).jobs == 0  # too young
    report = archive_finished(stores, clock=_later)
    assert (report.jobs, report.logs, report.files, report.leftovers) == (25, 25, 4, 0)
    assert statuses(stores) == {"queued": 3}
    assert rows(stores, "SELECT id FROM job_logs") == []
    kept = {
        key: pq.read_table(io.BytesIO(bucket.get(key))).to_pylist()
        for (key,) in rows(stores, "SELECT object_key FROM queue_archives")
    }
    jobs = [row for key, found in kept.items() for row in found if "/logs/" not in key]
    assert sorted(row["payload"] for row in jobs if row["status"] == "completed") == sorted(
        f'{{"note": "{number}"}}' for number in range(20)
    )
    assert sum(row["status"] == "failed" for row in jobs) == 5
    assert all("/day=" in key for key in kept)
    assert archive_finished(stores, clock=_later).jobs == 0


def test_a_kill_between_file_and_removal_changes_nothing(
    stores: Stores, connection: psycopg.Connection, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_some(stores, connection)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "_hand_over", _killed)
        with pytest.raises(KeyboardInterrupt):
            archive_finished(stores, clock=_later)
    assert statuses(stores) == {"completed": 20, "failed": 5, "queued": 3}
    report = archive_finished(stores, clock=_later)
    assert (report.jobs, report.leftovers) == (25, 2)
    assert len(list(bucket.list(archive.PREFIX))) == 4


def _killed(*_: object) -> bool:
    raise KeyboardInterrupt


def test_a_job_replayed_meanwhile_stays(
    stores: Stores, connection: psycopg.Connection, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_some(stores, connection)
    hand_over = archive._hand_over

    def replay_first(*arguments: object) -> bool:
        replay(stores, JobFilter(), Order("tester", "a test", at_most=1, dry_run=False))
        monkeypatch.setattr(archive, "_hand_over", hand_over)
        return hand_over(*arguments)  # type: ignore[arg-type]

    archive_finished(stores, clock=lambda: datetime.now(UTC) + timedelta(days=2))
    monkeypatch.setattr(archive, "_hand_over", replay_first)
    assert archive_finished(stores, clock=_later).jobs == 4
    assert statuses(stores) == {"queued": 4}
    assert len(list(bucket.list(archive.PREFIX))) == 4


def test_two_archivers_do_not_meet(stores: Stores, connection: psycopg.Connection) -> None:
    connection.execute(archive.QUERIES["only_one_archiver"])
    assert archive_finished(stores).is_busy


def test_files_are_deleted_in_their_time_and_only_when_asked(
    stores: Stores, connection: psycopg.Connection, bucket: Bucket
) -> None:
    _run_some(stores, connection)
    archive_finished(stores, clock=_later)
    for days, files in ((80, 0), (95, 2), (185, 3), (370, 4)):
        planned = forget_old(stores, clock=lambda days=days: datetime.now(UTC) + timedelta(days=days))
        assert (planned.files, planned.dry_run) == (files, True)
    forget_old(stores, dry_run=False, clock=lambda: datetime.now(UTC) + timedelta(days=185))
    left = [entry.key for entry in bucket.list(archive.PREFIX)]
    assert [key.split("/")[1] for key in left] == ["failed"]
    assert rows(stores, "SELECT object_key FROM queue_archives") == [(left[0],)]


def test_of_attempts_their_sums_stay_whatever_is_killed(
    stores: Stores, connection: psycopg.Connection, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_some(stores, connection)
    archive_finished(stores, clock=_later)

    def in_time() -> datetime:
        return datetime.now(UTC) + timedelta(days=95)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete", _killed)
        with pytest.raises(KeyboardInterrupt):
            forget_old(stores, dry_run=False, clock=in_time)
    assert forget_old(stores, dry_run=False, clock=in_time).files == 1  # of two
    sums = "SELECT queue_name, status, attempts FROM queue_log_summaries ORDER BY status"
    assert rows(stores, sums) == [(QUEUE, "failed", 5), (QUEUE, "success", 20)]
    assert rows(
        stores, "SELECT every(duration_seconds >= longest_seconds AND longest_seconds > 0) FROM queue_log_summaries"
    )
    assert archive_finished(stores, clock=_later).leftovers == 1
    assert not [entry for entry in bucket.list(archive.PREFIX) if "/logs/" in entry.key]


def test_ticks_and_the_ledger_of_sent_mail_are_forgotten(stores: Stores, connection: psycopg.Connection) -> None:
    for tick in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)):
        enqueue_tick(connection, "nightly", tick, QUEUE, {})
    connection.execute(
        "INSERT INTO queue_sent_mail (message_id, idempotency_key, state, updated) SELECT gen_random_uuid(), "
        "gen_random_uuid(), state, updated::timestamptz FROM (VALUES ('sent', '2026-04-01 00:00Z'), "
        "('sending', '2026-04-01 00:00Z'), ('sent', '2026-06-01 00:00Z')) AS mail (state, updated)"
    )

    def clock() -> datetime:
        return datetime(2026, 6, 2, tzinfo=UTC)

    for dry_run in (True, False):
        report = forget_old(stores, dry_run=dry_run, clock=clock)
        assert (report.ticks, report.sent_mail) == (1, 1)
    assert forget_old(stores, clock=clock).ticks == 0
    assert rows(stores, "SELECT count(*) FROM queue_sent_mail") == [(2,)]
