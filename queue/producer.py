"""Enqueueing: one INSERT in the caller's transaction, or COPY for many.

The job's row is its own outbox: it exists exactly when the caller's transaction commits, and no process has to be told.
Redis is never written here.

Belongs here: checking and inserting jobs. Does not belong here: moving them on (relay.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import uuid_utils
from pydantic import BaseModel

from penguinmails.queue.errors import JobRefused, UnknownQueue
from penguinmails.queue.payloads import encode_payload
from penguinmails.queue.queues import HIGH_PRIORITY_ATTEMPTS, HIGHEST_PRIORITY, LOWEST_PRIORITY, Band
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "sql" / "producer.sql")
MAX_DEDUPE_KEY_CHARACTERS = 200
BULK_BATCH = 5_000
_MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class NewJob:
    """A job to enqueue.

    Args:
        queue_name: one of `job_queues`.
        payload: ids and small configuration (payloads.py has the rules).
        priority: 0 (soonest) to 1000; None takes the queue's default.
        run_at: not before this moment (with time zone); None is now.
        tenant_id: whose job it is: fairness, limits and figures go by it.
        dedupe_key: while a job of the queue with this key is live, another one is not made.
        max_attempts: how often it is tried; None takes the queue's default, at least 5 in the high band.
        id: its id; None makes one (time-ordered). The same id is never enqueued twice, however the first one ended.
    """

    queue_name: str
    payload: Mapping[str, Any] | BaseModel
    priority: int | None = None
    run_at: datetime | None = None
    tenant_id: UUID | None = None
    dedupe_key: str | None = None
    max_attempts: int | None = None
    id: UUID | None = None


@dataclass(frozen=True)
class Enqueued:
    """What became of it: `is_new` is False when a live job with the key (or any with the id) was there already."""

    id: UUID
    is_new: bool


def enqueue(
    connection: psycopg.Connection[Any],
    queue_name: str,
    payload: Mapping[str, Any] | BaseModel,
    *,
    priority: int | None = None,
    run_at: datetime | None = None,
    tenant_id: UUID | None = None,
    dedupe_key: str | None = None,
    max_attempts: int | None = None,
    job_id: UUID | None = None,
) -> Enqueued:
    """Enqueues one job in the transaction of `connection`, which stays the caller's to commit. See `NewJob`.

    Raises:
        UnknownQueue: there is no such queue.
        PayloadRefused: the payload is too large, not JSON, or holds what looks like a body or a secret.
        JobRefused: another argument is out of range.
    """
    job = NewJob(queue_name, payload, priority, run_at, tenant_id, dedupe_key, max_attempts, job_id)
    values = insert_values(job)
    while True:
        inserted = connection.execute(QUERIES["insert_job"], values).fetchone()
        if inserted is not None:
            return Enqueued(values["id"], is_new=True)
        reason = connection.execute(QUERIES["existing_job"], values).fetchone()
        found = existing(queue_name, reason)
        if found is not None:
            return found
        # The job with the key ended between the two statements: its key is free now.


def enqueue_many(
    connection: psycopg.Connection[Any],
    jobs: Iterable[NewJob],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Enqueues any number of jobs by COPY in one transaction of `connection`; returns how many are new.

    Memory stays bounded however many come. Nothing is enqueued when one of them is refused.

    Raises:
        UnknownQueue, PayloadRefused, JobRefused: see `enqueue`; the transaction is left for the caller to roll back.
    """
    rest = iter(jobs)
    new = 0
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(QUERIES["make_bulk_table"])
        defaults = {row[0]: (row[1], row[2]) for row in cursor.execute(QUERIES["queue_defaults"])}
        while batch := list(islice(rest, BULK_BATCH)):
            with cursor.copy(QUERIES["copy_bulk"]) as copy:
                for row in bulk_rows(batch, defaults):
                    copy.write_row(row)
            cursor.execute(QUERIES["insert_bulk"])
            new += cursor.rowcount
            progress(len(batch))
    return new


def insert_values(job: NewJob) -> dict[str, Any]:
    """Returns the checked parameters of the statement `insert_job`."""
    _check(job)
    return {
        "id": job.id or new_job_id(),
        "queue_name": job.queue_name,
        "payload": encode_payload(job.payload),
        "priority": job.priority,
        "run_at": job.run_at,
        "tenant_id": job.tenant_id,
        "dedupe_key": job.dedupe_key,
        "max_attempts": job.max_attempts,
        "high_until": Band.HIGH.priorities[1],
        "high_attempts": HIGH_PRIORITY_ATTEMPTS,
    }


def existing(queue_name: str, reason: tuple[Any, ...] | None) -> Enqueued | None:
    """Returns the job that stood in the way of an insert, None when it no longer does.

    Raises:
        UnknownQueue: the queue was what stood in the way.
    """
    queue_is_known, existing_id = reason or (False, None)
    if not queue_is_known:
        raise _unknown(queue_name)
    return None if existing_id is None else Enqueued(existing_id, is_new=False)


def new_job_id() -> UUID:
    """Returns a time-ordered id (RFC 9562, version 7)."""
    return UUID(int=uuid_utils.uuid7().int)


def bulk_rows(jobs: list[NewJob], defaults: Mapping[str, tuple[int, int]]) -> Iterator[tuple[Any, ...]]:
    """Yields the checked rows of the bulk table; `defaults` are priority and attempts of each queue."""
    for job in jobs:
        _check(job)
        if job.queue_name not in defaults:
            raise _unknown(job.queue_name)
        default_priority, max_attempts = defaults[job.queue_name]
        priority = default_priority if job.priority is None else job.priority
        if priority <= Band.HIGH.priorities[1]:
            max_attempts = max(max_attempts, HIGH_PRIORITY_ATTEMPTS)
        yield (
            job.id or new_job_id(),
            job.queue_name,
            priority,
            encode_payload(job.payload),
            job.max_attempts or max_attempts,
            job.run_at,
            job.dedupe_key,
            job.tenant_id,
        )


def _check(job: NewJob) -> None:
    if job.priority is not None and not HIGHEST_PRIORITY <= job.priority <= LOWEST_PRIORITY:
        raise JobRefused("priority", f"is not within {HIGHEST_PRIORITY} to {LOWEST_PRIORITY}", "Lower runs sooner.")
    if job.run_at is not None and job.run_at.tzinfo is None:
        raise JobRefused("run_at", "has no time zone", "Use a datetime with one, for example in UTC.")
    if job.max_attempts is not None and not 1 <= job.max_attempts <= _MOST_ATTEMPTS:
        raise JobRefused("max_attempts", f"is not within 1 to {_MOST_ATTEMPTS}", "Leave it out for the queue's own.")
    key = job.dedupe_key
    if key is not None and (not key or len(key) > MAX_DEDUPE_KEY_CHARACTERS or "\x00" in key):
        raise JobRefused(
            "dedupe_key", f"is empty or longer than {MAX_DEDUPE_KEY_CHARACTERS} characters", "Use a short text."
        )


def _unknown(queue_name: str) -> UnknownQueue:
    return UnknownQueue(
        f"queue {queue_name[:100]!r}", "is not in job_queues", "Correct the name, or declare it in queue/queues.py."
    )
