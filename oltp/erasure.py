"""Forgetting one person a tenant corresponded with: the address, the names and the particulars go, rows and sums stay.

Belongs here: leads, messages' metadata, particulars of events, bytes that were set aside. Does not belong here: bodies
(content tier), facts about the lead (OLAP tier), users of the platform, whose account is closed by the application.

This is the last step of an erasure: the address is what the other tiers find the person's messages by. It may be killed at
any point and run again: each page is a transaction, and what was forgotten is found no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from penguinmails.oltp.connections import Connection, Role, connect, settled
from penguinmails.stack.addresses import normal_address
from penguinmails.stack.errors import InputError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "erasure.sql")
_PAGE = 1_000


@dataclass(frozen=True)
class PersonRows:
    """Rows that tell who a person is.

    Args:
        messages: messages from or to the address.
        leads: 1 when the person is a lead of the tenant, else 0.
        set_aside: items that could not be loaded and whose bytes hold the address.
    """

    messages: int
    leads: int
    set_aside: int


def refuse_nobody(stores: Stores, tenant_id: UUID, address: str) -> None:
    """Refuses what is no address and a tenant that there is not, before any tier records something for them.

    Raises:
        InputError: that is no address, or there is no such tenant.
        ServerError: the database cannot be reached.
    """
    values = _values(tenant_id, address)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        if connection.execute(_QUERIES["tenant_is_there"], values).fetchone() is None:
            raise InputError("tenant", "is not in the table tenants", "Give the id of one that is.")


def find_person(stores: Stores, tenant_id: UUID, address: str) -> PersonRows:
    """Counts what forget_person() would change; changes nothing.

    Raises:
        InputError: that is no address.
        ServerError: the database cannot be reached.
    """
    values = _values(tenant_id, address)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        return PersonRows(
            messages=_count(connection, "count_messages", values),
            leads=_count(connection, "count_leads", values),
            set_aside=_count(connection, "count_set_aside", values),
        )


def forget_person(
    stores: Stores,
    tenant_id: UUID,
    address: str,
    *,
    clock: Callable[[], datetime],
    progress: Callable[[int], None] = lambda _: None,
) -> PersonRows:
    """Takes out of every row what tells who the person with an address is; returns how many rows were changed.

    Args:
        stores: where the OLTP database is.
        tenant_id: whose correspondent the person was; other tenants' rows stay.
        address: any case.
        clock: gives the present time.
        progress: called with the number of messages of each page.

    Raises:
        InputError: that is no address; nothing was changed.
        ServerError: the database was lost; whole pages stay changed. Run it again.
    """
    values = _values(tenant_id, address) | {"now": clock(), "limit": _PAGE}
    with connect(stores.oltp_url, Role.LOADER) as connection:

        def change(query: str) -> int:
            return settled(connection, lambda: connection.execute(_QUERIES[query], values).rowcount)

        messages = 0
        while changed := change("forget_messages"):
            messages += changed
            progress(changed)
        return PersonRows(messages=messages, set_aside=change("forget_set_aside"), leads=change("forget_lead"))


def _values(tenant_id: UUID, address: str) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "address": normal_address(address)}


def _count(connection: Connection, query: str, values: dict[str, Any]) -> int:
    row = connection.execute(_QUERIES[query], values).fetchone()
    return int(row[0]) if row else 0
