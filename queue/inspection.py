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
from penguinmails.queue.fast_lane import FastLane, Place, Ticket
from penguinmails.queue.operations import QUERIES
from penguinmails.queue.queues import band_of
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
    facts["place"] = _place_in_redis(stores, facts) if facts["status"] == "migrated_to_redis" else None
    return Explanation(job_id, facts["status"], explain(facts))


def explain(facts: dict[str, Any]) -> list[str]:
    """Returns the reasons that `facts` (a row of the statement `why`, and its `place` in Redis) give."""
    match facts["status"]:
        case "completed":
            return ["It is completed."]
        case "cancelled":
            return ["It was cancelled; enqueue it anew if it is wanted after all."]
        case "failed":
            attempts = f"{facts['attempt_count']} of {facts['max_attempts']} attempts"
            remedy = f"Mend the cause, then: penguinmails queue replay --id {facts['id']} --reason …"
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
        return [f"The process that ran it (worker {facts['worker_id']}) is dead; {remedy}."]
    attempt = f"attempt {facts['attempt_count']} of {facts['max_attempts']}"
    times = f"for {facts['running_seconds']:.1f} of at most {facts['timeout_seconds']} seconds"
    return [f"It runs on worker {facts['worker_id']}, {attempt}, {times}{_progress(facts)}."]


def _progress(facts: dict[str, Any]) -> str:
    if facts["progress"] is None:
        return ""
    note = f" ({facts['progress_note']})" if facts["progress_note"] else ""
    return f", {facts['progress'] * 100:.0f} % done{note}"


def _waiting(facts: dict[str, Any]) -> list[str]:
    reasons = []
    if not facts["is_active"]:
        reasons.append(f"Its queue is paused: penguinmails queue resume {facts['queue_name']} --reason …")
    if facts["seconds_to_run_at"] > 0:
        waits = f"after attempt {facts['attempt_count']} failed" if facts["attempt_count"] else "as it was enqueued"
        error = f": {facts['last_error_message']}" if facts["last_error_message"] else ""
        when = f"{facts['run_at']:%Y-%m-%d %H:%M:%S} UTC, in {facts['seconds_to_run_at']:,.0f} seconds"
        reasons.append(f"It is not to run before {when} ({waits}{error}).")
    if not facts["workers"]:
        reasons.append("No living worker serves its queue: penguinmails queue worker")
    if facts["status"] == "migrated_to_redis":
        reasons += _handed_over(facts)
    elif facts["seconds_to_run_at"] <= 0:
        reasons += _ready(facts)
    return reasons


def _handed_over(facts: dict[str, Any]) -> list[str]:
    since = f"for {max(0.0, facts['seconds_since_update']):,.1f} seconds"
    place: Place | None = facts["place"]
    if place is None:
        return ["It was handed over to Redis, which does not answer now; it comes back when its hand-off runs out."]
    if place.worker_id is not None:
        return [f"Worker {place.worker_id} has reserved it in Redis and is about to start it."]
    if place.messages_ahead is not None:
        ahead = f"{place.messages_ahead:,} messages of its band are ahead of it"
        slots = "no slot is free" if facts["free_slots"] <= 0 else "it is about to start"
        return [f"It is in Redis, {since}; {ahead}, {slots}."]
    when = max(0.0, facts["lease_seconds"])
    remedy = "" if facts["reapers"] else " once a reaper runs (penguinmails queue reaper)"
    return [f"It was handed over and is not in Redis any more; it is made ready again in {when:.0f} seconds{remedy}."]


def _ready(facts: dict[str, Any]) -> list[str]:
    reasons = []
    if not facts["relays"]:
        reasons.append("No relay runs, so nothing reaches Redis: penguinmails queue relay")
    if facts["tokens"] is not None and facts["tokens"] < 1 + facts["of_its_tenant"]:
        seconds = (1 + facts["of_its_tenant"] - facts["tokens"]) / facts["jobs_per_second"]
        reasons.append(
            f"Its tenant may start {facts['jobs_per_second']:g} jobs a second on this queue: its turn comes in about "
            f"{seconds:,.0f} seconds."
        )
    if facts["jobs_ahead"]:
        of_its_tenant = f" ({facts['of_its_tenant']:,} of its own tenant's; tenants take turns)"
        reasons.append(f"{facts['jobs_ahead']:,} jobs of its queue are ahead of it{of_its_tenant}.")
    return reasons or ["Nothing holds it up: it is about to be handed over."]


def _place_in_redis(stores: Stores, facts: dict[str, Any]) -> Place | None:
    """Returns where in Redis the job is, None when Redis does not answer."""
    fast_lane = FastLane.open(stores)
    try:
        return fast_lane.place_of(
            Ticket(facts["id"], facts["gen"]), facts["queue_name"], band_of(facts["priority"]), facts["living_workers"]
        )
    except FastLaneUnavailable:
        return None
    finally:
        fast_lane.close()


def _unknown(job_id: UUID) -> JobRefused:
    return JobRefused(
        f"job {job_id}",
        "is not in the queue",
        "Check its id; what ended more than a day ago (dead letters: a week) is in the archive, see docs/queue.md.",
    )
