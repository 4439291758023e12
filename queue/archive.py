"""The archive: finished jobs leave PostgreSQL as Parquet, by UTC day.

A batch is written, looked at, and only then listed and removed from PostgreSQL in one transaction. A kill at any point leaves
either the jobs, or a file that is not listed and is cleared away by the next run.

Belongs here: that hand-over. Does not belong here: when the files go (retention.py), what is read from them (DuckDB reads them
as they are: `queue-archive/<kind>/day=<date>/*.parquet`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from penguinmails.queue.connections import Connection, connect
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import IntegrityError
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

QUERIES = Queries(Path(__file__).parent / "sql" / "archive.sql")
PREFIX = "queue-archive/"
KEEP_COMPLETED_IN_POSTGRESQL = timedelta(hours=24)
KEEP_FAILED_IN_POSTGRESQL = timedelta(days=7)
"""As long as dead letters can be replayed."""
_BATCH = 20_000
_KINDS = {"completed": ("completed", "cancelled"), "failed": ("failed",)}


@dataclass(frozen=True)
class ArchiveReport:
    """What left.

    Args:
        is_busy: another archiver was at work and nothing was done here.
        leftovers: unlisted files of killed runs that were cleared away.
    """

    jobs: int = 0
    logs: int = 0
    files: int = 0
    size_bytes: int = 0
    leftovers: int = 0
    is_busy: bool = False


@dataclass(frozen=True)
class _File:
    key: str
    kind: str
    day: date
    row_count: int
    size_bytes: int


def archive_finished(
    stores: Stores,
    *,
    keep_completed: timedelta = KEEP_COMPLETED_IN_POSTGRESQL,
    keep_failed: timedelta = KEEP_FAILED_IN_POSTGRESQL,
    clock: Clock = utc_now,
    progress: Callable[[int], None] = lambda _: None,
) -> ArchiveReport:
    """Moves jobs that ended long enough ago, with their attempts, to the archive. Never touches a live job.

    Args:
        progress: told how many jobs have just left.

    Raises:
        IntegrityError: a file is not what was written; its jobs stay.
        ObjectStoreUnavailable: the object store does not answer; what has not left stays.
    """
    before = {"completed": clock() - keep_completed, "failed": clock() - keep_failed}
    files: list[_File] = []
    bucket = stores.open_bucket()
    with connect(stores.queue_url) as connection:
        row = connection.execute(QUERIES["only_one_archiver"]).fetchone()
        if not (row and row[0]):
            return ArchiveReport(is_busy=True)
        leftovers = _clear_leftovers(connection, bucket)
        for kind, statuses in _KINDS.items():
            while written := _archive_batch(connection, bucket, kind, statuses, before[kind]):
                files += written
                progress(written[0].row_count)
    jobs, logs = ([each for each in files if (each.kind == "logs") is is_log] for is_log in (False, True))
    return ArchiveReport(
        jobs=sum(each.row_count for each in jobs),
        logs=sum(each.row_count for each in logs),
        files=len(files),
        size_bytes=sum(each.size_bytes for each in files),
        leftovers=leftovers,
    )


def _archive_batch(
    connection: Connection, bucket: Bucket, kind: str, statuses: Sequence[str], before: datetime
) -> list[_File]:
    """Moves one batch of one day; returns its files, jobs first, or nothing when no job is left to move."""
    while True:
        jobs = _read(connection, "ended_jobs", {"statuses": list(statuses), "before": before, "batch": _BATCH})
        if not jobs:
            return []
        ids = [job["id"] for job in jobs]
        day = jobs[0]["updated"].astimezone(UTC).date()
        files = [_write(bucket, kind, day, jobs)]
        logs = _read(connection, "logs_of_jobs", {"ids": ids})
        if logs:
            files.append(_write(bucket, "logs", day, logs))
        if _hand_over(connection, files, ids, [job["gen"] for job in jobs]):
            return files
        bucket.delete([file.key for file in files])  # one of them was replayed meanwhile: once more with the rest


def _hand_over(connection: Connection, files: list[_File], ids: list[str], gens: list[int]) -> bool:
    """Lists the files and removes the jobs, both or neither."""
    is_whole = False
    with connection.transaction() as transaction:
        for file in files:
            values = {"object_key": file.key, "kind": file.kind, "day": file.day}
            sizes = {"row_count": file.row_count, "size_bytes": file.size_bytes}
            connection.execute(QUERIES["list_file"], values | sizes)
        removed = connection.execute(QUERIES["remove_jobs"], {"ids": ids, "gens": gens}).rowcount
        is_whole = removed == len(ids)
        if not is_whole:
            raise psycopg.Rollback(transaction)
    return is_whole


def _write(bucket: Bucket, kind: str, day: date, rows: list[dict[str, Any]]) -> _File:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema(kind)), buffer, compression="zstd")
    body = buffer.getvalue()
    key = f"{PREFIX}{kind}/day={day:%Y-%m-%d}/{uuid4()}.parquet"
    bucket.put(key, body)
    if bucket.size_bytes(key) != len(body) or pq.read_metadata(io.BytesIO(bucket.get(key))).num_rows != len(rows):
        raise IntegrityError(f"object {key}", "is not what was written", "Check the object store; the jobs stay.")
    return _File(key, kind, day, len(rows), len(body))


def _schema(kind: str) -> Any:
    import pyarrow as pa

    text, number, moment, real = pa.string(), pa.int64(), pa.timestamp("us", tz="UTC"), pa.float64()
    if kind == "logs":
        columns = {"job_id": text, "gen": number, "queue_name": text, "status": text, "attempt_number": number}
        columns |= {"started": moment, "finished": moment, "duration_seconds": real, "waited_seconds": real}
        return pa.schema(list((columns | {"log_message": text}).items()))
    columns = {"id": text, "queue_name": text, "status": text, "priority": number, "payload": text}
    columns |= {"attempt_count": number, "max_attempts": number, "run_at": moment, "started": moment}
    columns |= {"completed": moment, "failed": moment, "last_error_message": text, "created": moment, "updated": moment}
    return pa.schema(
        list((columns | {"gen": number, "crash_count": number, "dedupe_key": text, "tenant_id": text}).items())
    )


def _clear_leftovers(connection: Connection, bucket: Bucket) -> int:
    """Deletes what a killed run had written and not listed; only ever under the archiver's lock."""
    listed = {row[0] for row in connection.execute(QUERIES["listed_files"])}
    leftovers = [entry.key for entry in bucket.list(PREFIX) if entry.key not in listed]
    bucket.delete(leftovers)
    return len(leftovers)


def _read(connection: Connection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES[name], parameters).fetchall()
