"""Telling PostgreSQL what came of jobs: finish, fail, release, in batches.

Belongs here: turning outcomes and progress into the compare-and-set statements. Does not belong here: running handlers, when
to flush (worker.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

from penguinmails.queue.backoff import retry_delay_seconds
from penguinmails.queue.connections import Connection
from penguinmails.queue.execution import Kind, Outcome
from penguinmails.queue.handlers import PROTOCOL, Progress, StartedJob


@dataclass
class Settled:
    """What PostgreSQL accepted, by job id."""

    completed: list[UUID] = field(default_factory=list)
    retried: list[UUID] = field(default_factory=list)
    buried: list[Outcome] = field(default_factory=list)
    released: list[UUID] = field(default_factory=list)
    fenced: int = 0
    """Outcomes that came too late: the job had been taken away."""


def settle(
    connection: Connection, worker_id: UUID, outcomes: Sequence[Outcome], *, crash_limit: int, random: Random
) -> Settled:
    """Reports `outcomes`; each kind is one statement and one transaction. Reporting one twice changes nothing."""
    settled = Settled()
    _finish(connection, worker_id, [each for each in outcomes if each.kind is Kind.SUCCEEDED], settled)
    settled.completed += [each.job.id for each in outcomes if each.kind is Kind.FINISHED_BY_HANDLER]
    failures = [each for each in outcomes if each.kind is Kind.FAILED]
    _fail(connection, worker_id, failures, settled, crash_limit=crash_limit, random=random)
    settled.released += release(connection, worker_id, [each.job for each in outcomes if each.kind is Kind.NOT_RUN])
    settled.fenced += sum(each.kind is Kind.LOST for each in outcomes)
    return settled


def release(connection: Connection, worker_id: UUID, jobs: Iterable[StartedJob]) -> list[UUID]:
    """Gives back jobs that were not run; returns those that still were the worker's."""
    given = list(jobs)
    if not given:
        return []
    return [row[0] for row in connection.execute(PROTOCOL["release"], _keys(worker_id, given))]


@dataclass(frozen=True)
class Held:
    """Of the jobs asked for, those that still are the worker's, and those that were cancelled."""

    owned: set[UUID]
    cancelled: set[UUID]


def still_owned(connection: Connection, worker_id: UUID, jobs: Sequence[StartedJob]) -> Held:
    """Returns which of these runs still belong to the worker."""
    rows = connection.execute(PROTOCOL["owned"], _keys(worker_id, jobs)).fetchall()
    return Held({row[0] for row in rows if row[1]}, {row[0] for row in rows if row[2]})


def note_progress(connection: Connection, worker_id: UUID, told: Sequence[tuple[StartedJob, Progress]]) -> None:
    """Writes down how far runs are, as far as they still are the worker's."""
    if told:
        said = {"shares": [each.share for _, each in told], "notes": [each.note for _, each in told]}
        connection.execute(PROTOCOL["note_progress"], _keys(worker_id, [job for job, _ in told]) | said)


def _finish(connection: Connection, worker_id: UUID, outcomes: list[Outcome], settled: Settled) -> None:
    if not outcomes:
        return
    rows = connection.execute(PROTOCOL["finish"], _keys(worker_id, [each.job for each in outcomes])).fetchall()
    settled.completed += [row[0] for row in rows]
    settled.fenced += len(outcomes) - len(rows)


def _fail(
    connection: Connection,
    worker_id: UUID,
    outcomes: list[Outcome],
    settled: Settled,
    *,
    crash_limit: int,
    random: Random,
) -> None:
    if not outcomes:
        return
    finals = [_is_final(each, crash_limit) for each in outcomes]
    report = _keys(worker_id, [each.job for each in outcomes]) | {
        "finals": finals,
        "delays": [retry_delay_seconds(each.job.attempt, random) for each in outcomes],
        "errors": [each.error for each in outcomes],
        "crashes": [each.crashes for each in outcomes],
        "waits": [each.job.waited_seconds for each in outcomes],
    }
    accepted = {row[0] for row in connection.execute(PROTOCOL["fail"], report)}
    for outcome, is_final in zip(outcomes, finals, strict=True):
        if outcome.job.id not in accepted:
            settled.fenced += 1
        elif is_final:
            settled.buried.append(outcome)
        else:
            settled.retried.append(outcome.job.id)


def _is_final(outcome: Outcome, crash_limit: int) -> bool:
    job = outcome.job
    return (
        not outcome.retryable
        or job.attempt >= job.max_attempts
        or (outcome.crashes > 0 and job.crash_count + outcome.crashes >= crash_limit)
    )


def _keys(worker_id: UUID, jobs: Sequence[StartedJob]) -> dict[str, Any]:
    return {"worker_id": worker_id, "ids": [job.id for job in jobs], "gens": [job.gen for job in jobs]}
