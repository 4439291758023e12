"""Looking at single jobs: show one, and say why it is not running.

Belongs here: reading and explaining. Does not belong here: changing anything (operations.py), figures of the whole (probe.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from penguinmails.queue.connections import connect
from penguinmails.queue.errors import FastLaneUnavailable, JobRefused
from penguinmails.queue.fast_lane import FastLane, Ticket
from penguinmails.queue.operations import QUERIES
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class JobReport:
    """One job with its attempts."""

    job: dict[str, Any]
    attempts: list[dict[str, Any]]


@dataclass(frozen=True)
class Explanation:
    """Why a job is where it is.

    Args:
        reasons: what holds it up, the most likely first; says what to do where there is something.
    """

    id: UUID
    status: str
    reasons: list[str]


def show(stores: Stores, job_id: UUID) -> JobReport:
    """Returns all of one job.

    Raises:
        JobRefused: there is no such job (any more: finished ones leave for the archive).
    """
    with connect(stores.queue_url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        job = cursor.execute(QUERIES["job"], {"id": job_id}).fetchone()
        if job is None:
            raise _unknown(job_id)
        return JobReport(job, cursor.execute(QUERIES["logs_of_job"], {"id": job_id}).fetchall())


def why(stores: Stores, job_id: UUID) -> Explanation:
    """Says why a job is not running (or that it is).

    Raises:
        JobRefused: there is no such job.
    """
    with connect(stores.queue_url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        facts = cursor.execute(QUERIES["why"], {"id": job_id}).fetchone()
    if facts is None:
        raise _unknown(job_id)
    facts["in_redis"] = _is_in_redis(stores, facts) if facts["status"] == "migrated_to_redis" else None
    return Explanation(job_id, facts["status"], explain(facts))


def explain(facts: dict[str, Any]) -> list[str]:
    """Returns the reasons that `facts` (a row of the statement `why`, and `in_redis`) give."""
    match facts["status"]:
        case "completed":
            return ["It is completed."]
        case "cancelled":
            return ["It was cancelled; enqueue it anew if it is wanted after all."]
        case "failed":
            attempts = f"{facts['attempt_count']} of {facts['max_attempts']} attempts"
            remedy = f"Mend the cause, then: penguinmails queue replay --id {facts['id']}"
            return [f"It is a dead letter after {attempts}: {facts['last_error_message']}. {remedy}"]
        case "running":
            return _running(facts)
        case _:
            return _waiting(facts)


def _running(facts: dict[str, Any]) -> list[str]:
    if not facts["owner_lives"]:
        remedy = (
            "the reaper takes it back within seconds" if facts["reapers"] else "start one: penguinmails queue reaper"
        )
        return [f"The process that ran it is dead; {remedy}."]
    return [f"It runs, for {facts['running_seconds']:.1f} of at most {facts['timeout_seconds']} seconds."]


def _waiting(facts: dict[str, Any]) -> list[str]:
    reasons = []
    if not facts["is_active"]:
        reasons.append(f"Its queue is paused: penguinmails queue resume {facts['queue_name']}")
    if facts["seconds_to_run_at"] > 0:
        waits = f"after attempt {facts['attempt_count']} failed" if facts["attempt_count"] else "as it was enqueued"
        reasons.append(f"It is not to run before {facts['run_at']:%Y-%m-%d %H:%M:%S} UTC ({waits}).")
    if not facts["workers"]:
        reasons.append("No living worker serves its queue: penguinmails queue worker")
    if facts["status"] == "migrated_to_redis":
        reasons += _handed_over(facts)
    elif facts["seconds_to_run_at"] <= 0:
        reasons += _ready(facts)
    return reasons


def _handed_over(facts: dict[str, Any]) -> list[str]:
    if facts["in_redis"] is None:
        return ["It was handed over to Redis, which does not answer now; it comes back when its hand-off runs out."]
    if facts["in_redis"]:
        return [
            "It is in Redis and waits for a free slot."
            if facts["free_slots"] <= 0
            else "It is in Redis, about to start."
        ]
    when = max(0.0, facts["lease_seconds"])
    remedy = "" if facts["reapers"] else " once a reaper runs (penguinmails queue reaper)"
    return [f"It was handed over and is not in Redis any more; it is made ready again in {when:.0f} seconds{remedy}."]


def _ready(facts: dict[str, Any]) -> list[str]:
    reasons = []
    if not facts["relays"]:
        reasons.append("No relay runs, so nothing reaches Redis: penguinmails queue relay")
    if facts["jobs_ahead"]:
        reasons.append(f"{facts['jobs_ahead']:,} jobs of its queue are ahead of it.")
    return reasons or ["Nothing holds it up: it is about to be handed over."]


def _is_in_redis(stores: Stores, facts: dict[str, Any]) -> bool | None:
    fast_lane = FastLane.open(stores)
    try:
        return Ticket(facts["id"], facts["gen"]) in fast_lane.tickets_in_lanes([facts["queue_name"]])
    except FastLaneUnavailable:
        return None
    finally:
        fast_lane.close()


def _unknown(job_id: UUID) -> JobRefused:
    return JobRefused(f"job {job_id}", "is not in the queue", "Finished jobs leave it: look in the archive.")
