"""Enqueueing by the clock: one job a tick, however many schedulers run and however often they repeat themselves.

Belongs here: the tick as a key. Does not belong here: a clock or a calendar (Dagster's schedules, or cron).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

from penguinmails.queue.errors import JobRefused
from penguinmails.queue.producer import Enqueued, NewJob, enqueue, enqueue_many, new_job_id
from penguinmails.stack.sql import Queries

QUERIES = Queries(Path(__file__).parent / "sql" / "schedules.sql")


def enqueue_tick(
    connection: psycopg.Connection[Any],
    schedule_name: str,
    tick: datetime,
    queue_name: str,
    payload: Mapping[str, Any] | BaseModel,
    *,
    priority: int | None = None,
) -> Enqueued:
    """Enqueues the job of one tick of a schedule unless that was done before; the same tick gives the same job for ever.

    Args:
        tick: the moment the schedule means (with time zone), not the present.

    Raises:
        JobRefused: the tick has no time zone or the schedule no name.
        UnknownQueue, PayloadRefused: see `enqueue`.
    """
    job_id = new_job_id()
    with connection.transaction():
        if _claim(connection, schedule_name, tick, job_id):
            return enqueue(connection, queue_name, payload, priority=priority, job_id=job_id)
        values = {"schedule_name": schedule_name, "tick": tick}
        row = connection.execute(QUERIES["job_of_tick"], values).fetchone()
    return Enqueued(row[0] if row else job_id, is_new=False)


def enqueue_many_at_tick(
    connection: psycopg.Connection[Any], schedule_name: str, tick: datetime, jobs: Iterable[NewJob]
) -> int | None:
    """Enqueues all jobs of one tick of a schedule, or none; returns how many are new.

    Args:
        tick: the moment the schedule means (with time zone), not the present.

    Returns:
        None when the tick was had before; `jobs` is not looked at then.

    Raises:
        JobRefused, UnknownQueue, PayloadRefused: see `enqueue_tick`; the tick may be had again.
    """
    with connection.transaction():
        if not _claim(connection, schedule_name, tick, new_job_id()):
            return None
        return enqueue_many(connection, jobs)


def _claim(connection: psycopg.Connection[Any], schedule_name: str, tick: datetime, job_id: UUID) -> bool:
    if tick.tzinfo is None or not schedule_name.strip() or len(schedule_name) > 200:
        raise JobRefused("tick", "has no time zone, or its schedule no usable name", "Give both.")
    values = {"schedule_name": schedule_name, "tick": tick, "job_id": job_id}
    return connection.execute(QUERIES["claim_tick"], values).fetchone() is not None
