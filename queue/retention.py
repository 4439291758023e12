"""What the queue forgets, and when: archive files, ticks of schedules, the ledger of sent mail.

Of attempts one row a day, queue and end is kept when their file goes. Killed and run again it goes on where it was, and counts
nothing twice: a file is summed up and taken off the list in one transaction, and deleted after that; a kill in between leaves
a file that is not listed, which the archiver clears away.

Belongs here: how long each is kept, and its end. Does not belong here: making the files (archive.py), probes (probe.py).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from penguinmails.queue.archive import QUERIES
from penguinmails.queue.connections import Connection, connect
from penguinmails.queue.email_sending import QUERIES as SENT_MAIL
from penguinmails.queue.schedules import QUERIES as SCHEDULES
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.stores import Stores

KEEP_COMPLETED_FILES = timedelta(days=180)
KEEP_FAILED_FILES = timedelta(days=365)
KEEP_LOG_FILES = timedelta(days=90)
KEEP_TICKS = timedelta(days=90)
"""A scheduler that was away for longer than this would have its ticks enqueued once more."""
KEEP_SENT_MAIL = timedelta(days=30)
"""Longer than any job can be replayed; after it the message itself says that it was sent."""
_BATCH = 20_000


@dataclass(frozen=True)
class RetentionReport:
    """What is past its time: files, ticks of schedules, rows of the ledger of sent mail.

    Args:
        dry_run: it was only counted.
    """

    files: int
    rows: int
    size_bytes: int
    ticks: int
    sent_mail: int
    dry_run: bool


def forget_old(
    stores: Stores, *, at_most: int = 1_000, dry_run: bool = True, clock: Clock = utc_now
) -> RetentionReport:
    """Deletes what is past the time its kind is kept.

    Args:
        at_most: files deleted by this call, the oldest first.
        dry_run: only count.
    """
    now = clock()
    with connect(stores.queue_url) as connection:
        files = _old_files(connection, now.astimezone(UTC).date(), at_most)
        ticks = _forget(connection, SCHEDULES, "ticks", now - KEEP_TICKS, dry_run=dry_run)
        sent_mail = _forget(connection, SENT_MAIL, "sent", now - KEEP_SENT_MAIL, dry_run=dry_run)
        if files and not dry_run:
            bucket = stores.open_bucket()
            for file in files:
                _forget_file(connection, bucket, file)
    rows, size = sum(file["row_count"] for file in files), sum(file["size_bytes"] for file in files)
    return RetentionReport(len(files), rows, size, ticks, sent_mail, dry_run)


def _old_files(connection: Connection, today: date, at_most: int) -> list[dict[str, Any]]:
    limits = {
        "completed_before": today - KEEP_COMPLETED_FILES,
        "failed_before": today - KEEP_FAILED_FILES,
        "logs_before": today - KEEP_LOG_FILES,
        "most": at_most,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES["old_files"], limits).fetchall()


def _forget_file(connection: Connection, bucket: Bucket, file: dict[str, Any]) -> None:
    key = file["object_key"]
    summary = _summary(bucket.get(key)) if file["kind"] == "logs" else []
    with connection.transaction():
        if connection.execute(QUERIES["unlist_file"], {"object_key": key}).rowcount == 0:
            return  # another run was here first
        for row in summary:
            connection.execute(QUERIES["add_to_summary"], {"day": file["day"], **row})
    bucket.delete([key])


def _summary(body: bytes) -> list[dict[str, Any]]:
    """Sums a file of attempts up by queue and end."""
    import pyarrow.parquet as pq

    found = pq.read_table(io.BytesIO(body)).group_by(["queue_name", "status"])
    summed = found.aggregate(
        [([], "count_all"), ("duration_seconds", "sum"), ("duration_seconds", "max"), ("waited_seconds", "sum")]
    )
    names = {
        "count_all": "attempts",
        "duration_seconds_sum": "duration_seconds",
        "duration_seconds_max": "longest_seconds",
        "waited_seconds_sum": "waited_seconds",
    }
    rows = summed.rename_columns([names.get(name, name) for name in summed.column_names]).to_pylist()
    return [{name: 0.0 if value is None else value for name, value in row.items()} for row in rows]


def _forget(connection: Connection, queries: Any, what: str, before: datetime, *, dry_run: bool) -> int:
    """Deletes rows batch by batch, so that no transaction is long; returns how many."""
    if dry_run:
        row = connection.execute(queries[f"count_old_{what}"], {"before": before}).fetchone()
        return int(row[0]) if row else 0
    count = 0
    while forgotten := connection.execute(queries[f"forget_{what}"], {"before": before, "batch": _BATCH}).rowcount:
        count += forgotten
    return count
