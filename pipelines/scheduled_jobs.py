"""Jobs that the clock asks for: which ones an hour has.

Belongs here: what is enqueued at a tick. Does not belong here: the clock (automation.py), what the jobs do (job_handlers/).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from penguinmails.oltp.warming import warming_mailboxes
from penguinmails.queue.connections import connect
from penguinmails.queue.producer import NewJob
from penguinmails.queue.schedules import enqueue_many_at_tick
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class TickReport:
    """What a tick enqueued.

    Args:
        analytics_jobs: roll-ups.
        warmup_jobs: steps of mailboxes that are being warmed up.
        is_repetition: it had been enqueued before, wholly or in part.
    """

    tick: datetime
    analytics_jobs: int
    warmup_jobs: int
    is_repetition: bool


def enqueue_hour(stores: Stores, tick: datetime) -> TickReport:
    """Enqueues the jobs of an hour, each set once for its tick, however many schedulers there are.

    A job of the hour before that still waits is not joined by another one.

    Args:
        tick: the full hour, with time zone.

    Raises:
        ServerError: a database does not answer; what was enqueued stays, run again for the rest.
    """
    with connect(stores.queue_url) as connection:
        analytics = enqueue_many_at_tick(connection, "analytics", tick, [_roll_up()])
        warmup = enqueue_many_at_tick(connection, "warmup", tick, _warmup(stores))
    return TickReport(tick, analytics or 0, warmup or 0, is_repetition=None in (analytics, warmup))


def _roll_up() -> NewJob:
    return NewJob("analytics:daily-aggregate", {}, dedupe_key="hourly")


def _warmup(stores: Stores) -> Iterator[NewJob]:
    for mailbox in warming_mailboxes(stores):
        yield NewJob(
            "warmup:process",
            {"email_account_id": str(mailbox.email_account_id)},
            tenant_id=mailbox.tenant_id,
            dedupe_key=str(mailbox.email_account_id),
        )
