"""What operators do to jobs and queues: replay, retry, cancel, pause, resume.

Every operation is bounded, shows what it would do unless told to do it, and leaves an audit row in the same transaction.

Belongs here: changes people ask for. Does not belong here: looking (inspection.py), the protocol's own changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg.rows import dict_row

from penguinmails.queue.connections import Connection, connect
from penguinmails.queue.errors import FastLaneUnavailable, JobRefused, UnknownQueue
from penguinmails.queue.fast_lane import FastLane
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

QUERIES = Queries(Path(__file__).parent / "sql" / "operations.sql")
MOST_AT_ONCE = 10_000
_EXAMPLES = 10
LIVE = ("queued", "retry_scheduled", "migrated_to_redis", "running")


@dataclass(frozen=True)
class JobFilter:
    """Which jobs; what is None does not matter.

    Args:
        payload: fits jobs whose payload contains it.
        error: fits jobs whose last error contains it.
    """

    ids: tuple[UUID, ...] | None = None
    queue_name: str | None = None
    statuses: tuple[str, ...] | None = None
    tenant_id: UUID | None = None
    payload: dict[str, Any] | None = None
    error: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """Returns the filter as parameters of the statement `matching_jobs`."""
        return asdict(self) | {
            "ids": None if self.ids is None else list(self.ids),
            "statuses": None if self.statuses is None else list(self.statuses),
            "payload": None if self.payload is None else orjson.dumps(self.payload).decode(),
        }


@dataclass(frozen=True)
class Order:
    """Who wants it, why, and how far it may go.

    Args:
        at_most: jobs changed by this one order.
        dry_run: only count what fits.
    """

    actor: str
    reason: str
    at_most: int = 100
    dry_run: bool = True

    def __post_init__(self) -> None:
        if not self.actor.strip() or not self.reason.strip():
            raise JobRefused("order", "names no actor or no reason", "Say who wants it and why; both are kept.")
        if not 1 <= self.at_most <= MOST_AT_ONCE:
            raise JobRefused("at_most", f"is not within 1 to {MOST_AT_ONCE:,}", "Repeat the order for more.")


@dataclass(frozen=True)
class OrderReport:
    """What an order did, or would do.

    Args:
        examples: when it was only planned, the first jobs it would take.
    """

    action: str
    matched: int
    changed: int
    dry_run: bool
    examples: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Switched:
    """What pausing or resuming a queue did.

    Args:
        changed: False when it was so already.
        taken_back: jobs that were in Redis and wait in PostgreSQL again.
    """

    queue_name: str
    is_active: bool
    changed: bool
    taken_back: int


def replay(stores: Stores, jobs: JobFilter, order: Order, *, stagger_seconds: float = 0.0) -> OrderReport:
    """Lets dead letters start over with all their attempts.

    Args:
        stagger_seconds: time between two of them, so that a great number does not come at once.
    """
    report, ids = _change(stores, "replay", jobs, ("failed",), order, {"stagger_seconds": stagger_seconds})
    _forget_letters(stores, ids)
    return report


def retry_now(stores: Stores, jobs: JobFilter, order: Order) -> OrderReport:
    """Lets jobs that wait for a later time run now."""
    return _change(stores, "retry_now", jobs, ("queued", "retry_scheduled"), order)[0]


def cancel(stores: Stores, jobs: JobFilter, order: Order) -> OrderReport:
    """Takes live jobs out for good; the handler of one that runs is ended within about a second."""
    return _change(stores, "cancel", jobs, LIVE, order)[0]


def pause(stores: Stores, queue_name: str, *, actor: str, reason: str) -> Switched:
    """Stops a queue: nothing of it starts any more, not even what is in Redis already; what runs may end."""
    return _set_active(stores, queue_name, Order(actor, reason, dry_run=False), is_active=False)


def resume(stores: Stores, queue_name: str, *, actor: str, reason: str) -> Switched:
    """Lets a paused queue go on."""
    return _set_active(stores, queue_name, Order(actor, reason, dry_run=False), is_active=True)


def matching(
    connection: Connection, jobs: JobFilter, at_most: int, *, only_later: bool = False
) -> list[dict[str, Any]]:
    """Returns the jobs that fit, the oldest first; on request only those whose time is still to come.

    Raises:
        UnknownQueue: the filter names a queue that there is not.
    """
    if jobs.queue_name is not None:
        _require_queue(connection, jobs.queue_name)
    parameters = jobs.parameters() | {"most": at_most, "only_later": only_later}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES["matching_jobs"], parameters).fetchall()


def audit(
    connection: Connection, action: str, about: Mapping[str, Any], *, actor: str, reason: str, changed: int
) -> None:
    """Leaves who did what to which jobs and why, in the transaction of the change.

    Args:
        about: the filter or what else says which jobs; what is None is left out.
    """
    document = {name: value for name, value in about.items() if value is not None}
    connection.execute(
        QUERIES["audit"],
        {
            "actor": actor,
            "action": action,
            "job_filter": orjson.dumps(document).decode(),
            "reason": reason,
            "jobs_changed": changed,
        },
    )


def audited(connection: Connection, at_most: int) -> list[dict[str, Any]]:
    """Returns the newest rows of the audit."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES["audited"], {"most": at_most}).fetchall()


def _change(
    stores: Stores,
    action: str,
    jobs: JobFilter,
    statuses: Sequence[str],
    order: Order,
    parameters: dict[str, Any] | None = None,
) -> tuple[OrderReport, list[UUID]]:
    """Changes what fits; every statement looks at the status once more, so that nothing that moved on is touched."""
    wanted = JobFilter(**{**vars(jobs), "statuses": _common(jobs.statuses, statuses)})
    with connect(stores.queue_url) as connection, connection.transaction():
        found = matching(connection, wanted, order.at_most, only_later=action == "retry_now")
        ids = [row["id"] for row in found]
        if order.dry_run or not ids:
            return OrderReport(action, len(ids), 0, order.dry_run, tuple(found[:_EXAMPLES])), []
        if action == "replay":
            connection.execute(QUERIES["allow_replay"])
        try:
            changed = [row[0] for row in connection.execute(QUERIES[action], {"ids": ids, **(parameters or {})})]
        except psycopg.errors.UniqueViolation:
            raise JobRefused("replay", "met a job with the same key that came just now", "Repeat the order.") from None
        audit(connection, action, asdict(wanted), actor=order.actor, reason=order.reason, changed=len(changed))
        return OrderReport(action, len(ids), len(changed), dry_run=False), changed


def _set_active(stores: Stores, queue_name: str, order: Order, *, is_active: bool) -> Switched:
    with connect(stores.queue_url) as connection, connection.transaction():
        _require_queue(connection, queue_name)
        switch = {"queue_name": queue_name, "is_active": is_active}
        changed = connection.execute(QUERIES["set_active"], switch).fetchone() is not None
        taken_back = 0
        if not is_active:
            taken_back = connection.execute(QUERIES["take_back_hand_offs"], {"queue_name": queue_name}).rowcount
        action = "resume" if is_active else "pause"
        about = {"queue_name": queue_name}
        audit(connection, action, about, actor=order.actor, reason=order.reason, changed=taken_back)
    return Switched(queue_name, is_active, changed, taken_back)


def _require_queue(connection: Connection, queue_name: str) -> None:
    if connection.execute(QUERIES["queue_exists"], {"queue_name": queue_name}).fetchone() is None:
        raise UnknownQueue(f"queue {queue_name[:100]!r}", "is not in job_queues", "Correct the name.")


def _common(wanted: tuple[str, ...] | None, possible: Sequence[str]) -> tuple[str, ...]:
    return tuple(possible) if wanted is None else tuple(each for each in wanted if each in possible)


def _forget_letters(stores: Stores, job_ids: list[UUID]) -> None:
    fast_lane = FastLane.open(stores)
    try:
        fast_lane.exhume(job_ids)
    except FastLaneUnavailable:
        return  # a mirror only; its entries age out
    finally:
        fast_lane.close()
