"""Making messages unreadable: soft deletion, its undoing, and the one statement that drops data keys.

Belongs here: what every kind of deletion shares; the tenant's lock, the predicates asked again under it. Does not belong
here: who decides that something goes (retention.py, erasure.py), removing the bytes (compaction.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from penguinmails.content_store.index import Connection, connect, typed_errors
from penguinmails.content_store.retention_classes import RETENTION_CLASSES
from penguinmails.content_store.sealing import Form
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

QUERIES = Queries(Path(__file__).parent / "deletion.sql")
UNDELETE_WITHIN = timedelta(days=30)
"""How long a soft deletion can be undone."""
PAGE = 2_000
"""Messages destroyed in one transaction."""


class Reason(StrEnum):
    """Why a message's key is dropped."""

    RETENTION = "retention"
    DELETED = "deleted"
    ERASURE = "erasure"
    EXPIRED_ATTACHMENT = "expired_attachment"


@dataclass(frozen=True)
class Destroyed:
    """What was made unreadable."""

    messages: int = 0
    raw_bytes: int = 0
    attachments: int = 0
    """Large attachments stored apart that went with the last message that used them, or before."""

    def __add__(self, other: Destroyed) -> Destroyed:
        return Destroyed(
            self.messages + other.messages,
            self.raw_bytes + other.raw_bytes,
            self.attachments + other.attachments,
        )


@dataclass(frozen=True)
class DeletionPlan:
    """What a deletion or an erasure would reach; nothing was changed."""

    named: int | None
    """Messages that were named; None of a whole tenant."""
    stored: int
    held: int
    """Of the stored ones, messages under a legal hold: they stay."""
    waiting: int = 0
    """Messages that still have a body in the OLTP tier, stored ones within their grace included."""


def plan_deletion(stores: Stores, tenant_id: UUID, storage_keys: Sequence[str] | None) -> DeletionPlan:
    """Returns what deleting these messages, or with None the tenant's, would reach in the content tier."""
    totals = (0, 0)
    with typed_errors(), connect(stores) as connection:
        if storage_keys is None:
            totals = connection.execute(QUERIES["plan_of_tenant"], {"tenant_id": tenant_id}).fetchone() or totals
        for start in range(0, len(storage_keys or ()), PAGE):
            values = {"tenant_id": tenant_id, "storage_keys": list((storage_keys or ())[start : start + PAGE])}
            stored, held = connection.execute(QUERIES["plan_of_named"], values).fetchone() or (0, 0)
            totals = (totals[0] + stored, totals[1] + held)
    return DeletionPlan(None if storage_keys is None else len(storage_keys), *totals)


def soft_delete(
    stores: Stores, tenant_id: UUID, storage_keys: Sequence[str], *, clock: Callable[[], datetime]
) -> list[str]:
    """Makes messages unreadable; `undelete` undoes it for UNDELETE_WITHIN. Returns those that were deleted now.

    Messages under a legal hold, already gone or another tenant's are left alone.
    """
    return _change(stores, tenant_id, "soft_delete", storage_keys, now=clock())


def undelete(
    stores: Stores, tenant_id: UUID, storage_keys: Sequence[str], *, clock: Callable[[], datetime]
) -> list[str]:
    """Makes soft-deleted messages readable again, as long as their keys have not been dropped; returns those that are."""
    return _change(stores, tenant_id, "undelete", storage_keys, now=clock())


def destroy(
    connection: Connection, tenant_id: UUID, storage_keys: Sequence[str], *, reason: Reason, now: datetime
) -> Destroyed:
    """Drops the data keys of those messages for which `reason` holds and no legal hold does.

    Call it inside a transaction that has the tenant's lock. Effective at commit; cannot be undone.
    """
    rows = connection.execute(
        QUERIES["destroy"],
        {
            "tenant_id": tenant_id,
            "storage_keys": list(storage_keys),
            "reason": reason,
            "now": now,
            "deleted_before": now - UNDELETE_WITHIN,
            **class_defaults(),
        },
    ).fetchall()
    of_messages = [raw_size_bytes for raw_size_bytes, form in rows if form != Form.ATTACHMENT]
    return Destroyed(len(of_messages), sum(of_messages), len(rows) - len(of_messages))


def lock_tenant(connection: Connection, tenant_id: UUID) -> None:
    """Waits until nobody else changes what is there of this tenant; held to the end of the transaction."""
    connection.execute(QUERIES["lock_tenant"], {"tenant_id": tenant_id})


def class_defaults() -> dict[str, Any]:
    """Returns the default times of the retention classes as parameters of queries."""
    return {
        "classes": list(RETENTION_CLASSES),
        "default_keep_days": [item.keep_days for item in RETENTION_CLASSES.values()],
    }


def _change(stores: Stores, tenant_id: UUID, query: str, storage_keys: Sequence[str], *, now: datetime) -> list[str]:
    changed: list[str] = []
    with typed_errors(), connect(stores) as connection:
        for start in range(0, len(storage_keys), PAGE):
            values = {"tenant_id": tenant_id, "storage_keys": list(storage_keys[start : start + PAGE]), "now": now}
            with connection.transaction():
                lock_tenant(connection, tenant_id)
                changed += [name for (name,) in connection.execute(QUERIES[query], values).fetchall()]
    return changed
