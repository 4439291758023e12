"""Enqueueing by the clock: one job a tick, however many schedulers run and however often they repeat themselves.

Belongs here: the tick as a key. Does not belong here: a clock or a calendar (Dagster's schedules, or cron).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel

from penguinmails.queue.errors import JobRefused
from penguinmails.queue.producer import Enqueued, enqueue, new_job_id
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
    if tick.tzinfo is None or not schedule_name.strip() or len(schedule_name) > 200:
        raise JobRefused("tick", "has no time zone, or its schedule no usable name", "Give both.")
    job_id = new_job_id()
    with connection.transaction():
        values = {"schedule_name": schedule_name, "tick": tick, "job_id": job_id}
        if connection.execute(QUERIES["claim_tick"], values).fetchone() is not None:
            return enqueue(connection, queue_name, payload, priority=priority, job_id=job_id)
        row = connection.execute(QUERIES["job_of_tick"], values).fetchone()
    return Enqueued(row[0] if row else job_id, is_new=False)
