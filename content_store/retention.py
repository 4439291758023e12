"""Retention: what is past its time goes, and soft deletions whose time of undoing is over.

A plan says what would go and how much; applying it asks every predicate again inside the deleting transaction, a bounded
number of messages at a time, so it can be stopped and run again. Keys are dropped here; bytes go by compaction.

Belongs here: policies, plan, apply. Does not belong here: erasure at somebody's request (erasure.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from penguinmails.content_store.deletion import (
    PAGE,
    QUERIES,
    UNDELETE_WITHIN,
    Destroyed,
    Reason,
    class_defaults,
    destroy,
    lock_tenant,
)
from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.content_store.ports import Progress, no_progress
from penguinmails.content_store.retention_classes import RETENTION_CLASSES
from penguinmails.content_store.steps import AtStep, RetentionStep, no_step
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class Policy:
    """How long a tenant keeps a class of mail where that is not the default."""

    tenant_id: UUID
    retention_class: str
    keep_days: int
    changed_at: datetime


@dataclass(frozen=True)
class DueMonth:
    """What is past its time of one tenant, class and month of intake."""

    tenant_id: UUID
    retention_class: str
    ingest_month: date
    messages: int
    raw_bytes: int
    stored_bytes: int
    held: int
    """Of these, messages under a legal hold: they stay."""


@dataclass(frozen=True)
class DuePurge:
    """Soft deletions of one tenant that can no longer be undone."""

    tenant_id: UUID
    messages: int
    raw_bytes: int
    stored_bytes: int
    held: int


@dataclass(frozen=True)
class RetentionPlan:
    """What applying now would make unreadable."""

    months: tuple[DueMonth, ...]
    purges: tuple[DuePurge, ...]

    @property
    def messages(self) -> int:
        """Messages that would go; one that is due twice counts twice."""
        past = sum(item.messages - item.held for item in self.months)
        return past + sum(item.messages - item.held for item in self.purges)


def set_policy(
    stores: Stores, tenant_id: UUID, retention_class: str, keep_days: int, *, clock: Callable[[], datetime]
) -> None:
    """Lets a tenant keep a class of mail for so many days from intake. Rewrites no pack.

    Raises:
        InputError: there is no such class, or the days make no sense.
    """
    if retention_class not in RETENTION_CLASSES:
        raise InputError(
            f"retention class {retention_class}", "does not exist", f"One of: {', '.join(RETENTION_CLASSES)}."
        )
    if not 1 <= keep_days <= 36_500:
        raise InputError(f"{keep_days} days", "cannot be kept", "Give 1 to 36,500 days.")
    values: dict[str, Any] = {"tenant_id": tenant_id, "retention_class": retention_class, "keep_days": keep_days}
    with typed_errors(), connect(stores) as connection:
        with connection.transaction():
            lock_tenant(connection, tenant_id)
            connection.execute(QUERIES["set_policy"], {**values, "now": clock()})
        # The policy above is what decides; the date in each row only shows it.
        for (pack_id,) in connection.execute(QUERIES["packs_of_class"], values).fetchall():
            connection.execute(QUERIES["align_expiry"], {"pack_id": pack_id, "keep_days": keep_days})


def policies(stores: Stores) -> list[Policy]:
    """Returns every policy that is not the default."""
    with typed_errors(), connect(stores) as connection:
        return [Policy(*row) for row in connection.execute(QUERIES["policies"]).fetchall()]


def plan_retention(stores: Stores, *, clock: Callable[[], datetime]) -> RetentionPlan:
    """Returns what is due; changes nothing."""
    now = clock()
    with typed_errors(), connect(stores) as connection:
        months = connection.execute(QUERIES["plan_retention"], {"now": now, **class_defaults()}).fetchall()
        purges = connection.execute(QUERIES["plan_purge"], {"deleted_before": now - UNDELETE_WITHIN}).fetchall()
    return RetentionPlan(tuple(DueMonth(*row) for row in months), tuple(DuePurge(*row) for row in purges))


def apply_retention(
    stores: Stores,
    *,
    clock: Callable[[], datetime],
    most_messages: int | None = None,
    progress: Progress = no_progress,
    at_step: AtStep = no_step,
) -> Destroyed:
    """Makes unreadable what is due, at most so many messages; run it again for the rest.

    Args:
        at_step: told each step that is now durable.
    """
    plan, done = plan_retention(stores, clock=clock), Destroyed()
    work = {(item.tenant_id, Reason.RETENTION) for item in plan.months}
    work |= {(item.tenant_id, Reason.DELETED) for item in plan.purges}
    with typed_errors(), connect(stores) as connection:
        for tenant_id, reason in sorted(work):
            left = None if most_messages is None else most_messages - done.messages
            done += _apply(connection, tenant_id, reason, clock(), left, progress, at_step)
    return done


def _apply(
    connection: Connection,
    tenant_id: UUID,
    reason: Reason,
    now: datetime,
    most_messages: int | None,
    progress: Progress,
    at_step: AtStep,
) -> Destroyed:
    query = {Reason.RETENTION: "page_past_retention", Reason.DELETED: "page_of_deleted"}[reason]
    values = {"tenant_id": tenant_id, "now": now, "deleted_before": now - UNDELETE_WITHIN, **class_defaults()}
    after, done = "", Destroyed()
    while most_messages is None or done.messages < most_messages:
        limit = PAGE if most_messages is None else min(PAGE, most_messages - done.messages)
        page = [
            name
            for (name,) in connection.execute(QUERIES[query], {**values, "after": after, "limit": limit}).fetchall()
        ]
        if not page:
            break
        with connection.transaction():
            lock_tenant(connection, tenant_id)
            gone = destroy(connection, tenant_id, page, reason=reason, now=now)
        done, after = done + gone, page[-1]
        progress(gone.messages)
        at_step(RetentionStep.PAGE_DESTROYED)
    return done
