"""Figures of the content tier.

Belongs here: counting what the index knows. Does not belong here: judging it (checking.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from penguinmails.content_store.index import QUERIES, connect, typed_errors
from penguinmails.stack.stores import Stores


@dataclass(frozen=True)
class ClassStatistics:
    """What is held of one retention class."""

    retention_class: str
    packs: int
    messages: int
    shared_attachments: int
    pack_bytes: int
    dead_bytes: int


@dataclass(frozen=True)
class ContentStatistics:
    """What the content tier holds."""

    tenants: int
    messages: int
    deleted_messages: int
    erased_messages: int
    attachments: int
    shared_attachments: int
    """Large attachments stored apart, each once for a tenant, class and month."""
    raw_bytes: int
    stored_bytes: int
    """Bytes of sealed messages; packs add their directories."""
    packs: int
    pack_bytes: int
    dead_bytes: int
    building_packs: int
    condemned_packs: int
    dictionaries: int
    broken_references: int
    oldest_at: datetime | None
    newest_at: datetime | None
    classes: tuple[ClassStatistics, ...]

    @property
    def ratio(self) -> float | None:
        """Raw bytes for each byte in the object store, encryption and directories included."""
        live_bytes = self.pack_bytes - self.dead_bytes
        return self.raw_bytes / live_bytes if live_bytes > 0 else None


def content_statistics(stores: Stores) -> ContentStatistics:
    """Returns the figures.

    Raises:
        ServerError: the content database does not answer.
    """
    with typed_errors(), connect(stores) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        totals = connection.execute(QUERIES["totals"]).fetchone() or ()
        packs = connection.execute(QUERIES["pack_totals"]).fetchone() or ()
        other = connection.execute(QUERIES["other_totals"]).fetchone() or ()
        classes = connection.execute(QUERIES["class_totals"]).fetchall()
    messages, raw_bytes, stored_bytes, deleted, erased, oldest_at, newest_at = totals
    live_packs, pack_bytes, dead_bytes, building, condemned = packs
    broken, dictionaries, tenants, attachments, shared_attachments = other
    return ContentStatistics(
        tenants=tenants,
        messages=messages,
        deleted_messages=deleted,
        erased_messages=erased,
        attachments=attachments,
        shared_attachments=shared_attachments,
        raw_bytes=raw_bytes,
        stored_bytes=stored_bytes,
        packs=live_packs,
        pack_bytes=pack_bytes,
        dead_bytes=dead_bytes,
        building_packs=building,
        condemned_packs=condemned,
        dictionaries=dictionaries,
        broken_references=broken,
        oldest_at=oldest_at,
        newest_at=newest_at,
        classes=tuple(ClassStatistics(*row) for row in classes),
    )


@dataclass(frozen=True)
class DictionaryStatistics:
    """The dictionaries of one tenant."""

    tenant_id: UUID
    generations: int
    newest_at: datetime
    size_bytes: int
    newest_ratio: float
    """Raw bytes for each byte, on messages held back from training."""


def dictionary_statistics(stores: Stores, *, limit: int) -> list[DictionaryStatistics]:
    """Returns the tenants with the newest dictionaries, at most so many."""
    with typed_errors(), connect(stores) as connection:
        rows = connection.execute(QUERIES["dictionary_totals"], {"limit": limit}).fetchall()
    return [DictionaryStatistics(*row) for row in rows]
