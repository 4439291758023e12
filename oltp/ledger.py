"""Reading the ledger of mail that was taken in.

Belongs here: what an item became, and the bytes of those set aside. Does not belong here: writing it (intake.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import dict_row

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.intake_writing import QUERIES
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

_PAGE_ROWS = 5_000


@dataclass(frozen=True)
class LoadedItem:
    """An item that became a message (or shares one with an item of the same bytes)."""

    tenant_id: UUID
    source_name: str
    item_name: str
    outcome: str
    message_id: UUID
    storage_key: str | None
    sha256: str
    raw_size_bytes: int


@dataclass(frozen=True)
class SetAsideItem:
    """An item that could not be loaded."""

    tenant_id: UUID
    id: UUID
    source_name: str
    item_name: str
    reason: str
    sha256: str
    raw_size_bytes: int
    is_kept: bool
    created: datetime


def loaded_items(stores: Stores, *, source_name: str | None = None) -> Iterator[LoadedItem]:
    """Gives out every loaded item, page by page, in order of tenant and time of loading."""
    after_tenant = after_id = UUID(int=0)
    with connect(stores.oltp_url, Role.LOADER) as connection, connection.cursor(row_factory=dict_row) as cursor:
        while True:
            values = {
                "source_name": source_name,
                "after_tenant": after_tenant,
                "after_id": after_id,
                "limit": _PAGE_ROWS,
            }
            rows = cursor.execute(QUERIES["items"], values).fetchall()
            for row in rows:
                after_tenant, after_id = row["tenant_id"], row.pop("id")
                yield LoadedItem(**row)
            if len(rows) < _PAGE_ROWS:
                return


def set_aside_items(stores: Stores, *, source_name: str | None = None, limit: int = 1_000) -> list[SetAsideItem]:
    """Returns items that were set aside, at most `limit`."""
    with connect(stores.oltp_url, Role.LOADER) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["set_aside"], {"source_name": source_name, "limit": limit}).fetchall()
    return [SetAsideItem(**row) for row in rows]


def set_aside_bytes(stores: Stores, item_id: UUID) -> bytes:
    """Returns the original bytes of an item that was set aside.

    Raises:
        InputError: there is no such item, or it was too large to be kept.
    """
    with connect(stores.oltp_url, Role.LOADER) as connection:
        row = connection.execute(QUERIES["set_aside_bytes"], {"id": item_id}, binary=True).fetchone()
    if row is None or row[0] is None:
        raise InputError(
            f"item {item_id}",
            "is not kept here",
            "Take the id from 'penguinmails oltp set-aside'; too large items stay in their source.",
        )
    return bytes(row[0])
