"""Retention: what is past its time goes, and soft deletions whose time of undoing is over.

A plan says what would go and how much; applying it asks every predicate again inside the deleting transaction, a bounded
number of messages at a time, so it can be stopped and run again. Keys are dropped here; bytes go by compaction.

Belongs here: policies, plan, apply. Does not belong here: erasure at somebody's request (erasure.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

_PAGES = {
    Reason.RETENTION: "page_past_retention",
    Reason.DELETED: "page_of_deleted",
    Reason.EXPIRED_ATTACHMENT: "page_of_expired_attachments",
}


@dataclass(frozen=True)
class Policy:
    """How long a tenant keeps a class of mail where that is not the default."""

    tenant_id: UUID
    retention_class: str
    keep_days: int
    attachment_keep_days: int | None
    """Of large attachments, which are stored apart; None: as long as a message uses them."""
    changed_at: datetime


@dataclass(frozen=True)
class Label:
    """A time of their own for single messages of a tenant; stronger than the policy of their class."""

    tenant_id: UUID
    label: str
    keep_days: int
    changed_at: datetime
    messages: int


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
class DueAttachments:
    """Attachments stored apart that are past a time of their own; their messages stay."""

    tenant_id: UUID
    retention_class: str
    ingest_month: date
    attachments: int
    stored_bytes: int
    held: int


@dataclass(frozen=True)
class RetentionPlan:
    """What applying now would make unreadable."""

    months: tuple[DueMonth, ...]
    purges: tuple[DuePurge, ...]
    expired_attachments: tuple[DueAttachments, ...]

    @property
    def attachments(self) -> int:
        """Attachments that would go while their messages stay."""
        return sum(item.attachments - item.held for item in self.expired_attachments)

    @property
    def messages(self) -> int:
        """Messages that would go; one that is due twice counts twice."""
        past = sum(item.messages - item.held for item in self.months)
        return past + sum(item.messages - item.held for item in self.purges)


def set_policy(
    stores: Stores,
    tenant_id: UUID,
    retention_class: str,
    keep_days: int,
    *,
    attachment_keep_days: int | None = None,
    clock: Callable[[], datetime],
) -> None:
    """Lets a tenant keep a class of mail for so many days from intake. Rewrites no pack.

    Args:
        attachment_keep_days: of large attachments; None: as long as a message uses them.

    Raises:
        InputError: there is no such class, or the days make no sense.
    """
    if retention_class not in RETENTION_CLASSES:
        raise InputError(
            f"retention class {retention_class}", "does not exist", f"One of: {', '.join(RETENTION_CLASSES)}."
        )
    for days in (keep_days, attachment_keep_days):
        _must_be_days(days)
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "retention_class": retention_class,
        "keep_days": keep_days,
        "attachment_keep_days": attachment_keep_days,
    }
    with typed_errors(), connect(stores) as connection:
        with connection.transaction():
            lock_tenant(connection, tenant_id)
            connection.execute(QUERIES["set_policy"], {**values, "now": clock()})
        _align_expiry(connection, "packs_of_class", values)


def set_label(stores: Stores, tenant_id: UUID, label: str, keep_days: int, *, clock: Callable[[], datetime]) -> None:
    """Makes a label, or changes for how many days from intake it keeps its messages.

    Raises:
        InputError: the label is empty or too long, or the days make no sense.
    """
    if not 1 <= len(label.strip()) <= 50 or label != label.strip():
        raise InputError("label", "is empty, longer than 50 characters or has spaces around it", "Name it shortly.")
    _must_be_days(keep_days)
    values: dict[str, Any] = {"tenant_id": tenant_id, "label": label, "keep_days": keep_days}
    with typed_errors(), connect(stores) as connection:
        with connection.transaction():
            lock_tenant(connection, tenant_id)
            connection.execute(QUERIES["set_label"], {**values, "now": clock()})
        _align_expiry(connection, "packs_of_label", values)


def label_messages(stores: Stores, tenant_id: UUID, label: str | None, storage_keys: Sequence[str]) -> list[str]:
    """Puts a label on messages, or with None takes theirs away; returns those that are there.

    Raises:
        InputError: the tenant has no such label.
    """
    values: dict[str, Any] = {"tenant_id": tenant_id, "label": label}
    labelled = list[str]()
    with typed_errors(), connect(stores) as connection:
        if label is not None and connection.execute(QUERIES["label_days"], values).fetchone() is None:
            raise InputError(f"label {label}", "does not exist", "Make it with 'penguinmails content retention label'.")
        for start in range(0, len(storage_keys), PAGE):
            page = {**values, "storage_keys": list(storage_keys[start : start + PAGE])}
            with connection.transaction():
                lock_tenant(connection, tenant_id)
                labelled += [name for (name,) in connection.execute(QUERIES["label_messages"], page).fetchall()]
            _align_expiry(connection, "packs_of_messages", page)
    return labelled


def labels(stores: Stores) -> list[Label]:
    """Returns every label with how many messages have it."""
    with typed_errors(), connect(stores) as connection:
        return [Label(*row) for row in connection.execute(QUERIES["labels"]).fetchall()]


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
        attachments = connection.execute(QUERIES["plan_attachments"], {"now": now}).fetchall()
    return RetentionPlan(
        tuple(DueMonth(*row) for row in months),
        tuple(DuePurge(*row) for row in purges),
        tuple(DueAttachments(*row) for row in attachments),
    )


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
    work |= {(item.tenant_id, Reason.EXPIRED_ATTACHMENT) for item in plan.expired_attachments}
    with typed_errors(), connect(stores) as connection:
        for tenant_id, reason in sorted(work):
            left = None if most_messages is None else most_messages - done.messages - done.attachments
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
    query = _PAGES[reason]
    values = {"tenant_id": tenant_id, "now": now, "deleted_before": now - UNDELETE_WITHIN, **class_defaults()}
    after, done = "", Destroyed()
    while most_messages is None or done.messages + done.attachments < most_messages:
        limit = PAGE if most_messages is None else min(PAGE, most_messages - done.messages - done.attachments)
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
        progress(gone.messages + gone.attachments)
        at_step(RetentionStep.PAGE_DESTROYED)
    return done


def _must_be_days(days: int | None) -> None:
    if days is not None and not 1 <= days <= 36_500:
        raise InputError(f"{days} days", "cannot be kept", "Give 1 to 36,500 days.")


def _align_expiry(connection: Connection, packs: str, values: dict[str, Any]) -> None:
    """The date in each row only shows when it is due; policies and labels are what decides."""
    for (pack_id,) in connection.execute(QUERIES[packs], values).fetchall():
        connection.execute(QUERIES["align_expiry"], {"pack_id": pack_id, **class_defaults()})
