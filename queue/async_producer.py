"""The producer for asyncio: the same rules and statements as producer.py on an AsyncConnection.

Belongs here: awaiting. Does not belong here: any rule of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

from penguinmails.queue.producer import BULK_BATCH, QUERIES, Enqueued, NewJob, bulk_rows, existing, insert_values


async def enqueue(
    connection: psycopg.AsyncConnection[Any],
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
    """Enqueues one job in the transaction of `connection`; see `producer.enqueue` for arguments and errors."""
    job = NewJob(queue_name, payload, priority, run_at, tenant_id, dedupe_key, max_attempts, job_id)
    values = insert_values(job)
    while True:
        inserted = await (await connection.execute(QUERIES["insert_job"], values)).fetchone()
        if inserted is not None:
            return Enqueued(values["id"], is_new=True)
        found = existing(queue_name, await (await connection.execute(QUERIES["existing_job"], values)).fetchone())
        if found is not None:
            return found


async def enqueue_many(connection: psycopg.AsyncConnection[Any], jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> int:
    """Enqueues any number of jobs by COPY in one transaction; returns how many are new. See `producer.enqueue_many`."""
    new = 0
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(QUERIES["make_bulk_table"])
        await cursor.execute(QUERIES["queue_defaults"])
        defaults = {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
        batch: list[NewJob] = []
        async for job in _as_async(jobs):
            batch.append(job)
            if len(batch) >= BULK_BATCH:
                new += await _insert(cursor, batch, defaults)
                batch = []
        if batch:
            new += await _insert(cursor, batch, defaults)
    return new


async def _insert(
    cursor: psycopg.AsyncCursor[Any], batch: list[NewJob], defaults: Mapping[str, tuple[int, int]]
) -> int:
    async with cursor.copy(QUERIES["copy_bulk"]) as copy:
        for row in bulk_rows(batch, defaults):
            await copy.write_row(row)
    await cursor.execute(QUERIES["insert_bulk"])
    return cursor.rowcount


async def _as_async(jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> AsyncIterable[NewJob]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
