"""Mail that waits in the product's own tables, as the OLTP tier's intake leaves it: a tenant with a mailbox, messages, bodies.

Belongs here: making that state fast. Does not belong here: the mail (corpora.py), handing it over.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid5

import psycopg

from penguinmails.oltp import schema
from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.copying import copy_rows
from penguinmails.stack.stores import Stores

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_CHUNK = 500
_SENDER = "robin@sender.example"
_VACUUMED = ("email_messages", "email_message_bodies")


def migrate(stores: Stores) -> None:
    """Brings the OLTP database to its schema."""
    schema.migrate(stores, clock=lambda: NOW)


def put(stores: Stores, name: str, mail: Iterable[tuple[str, bytes]], direction: str) -> tuple[UUID, int, int]:
    """Writes messages as waiting, a few at a time; returns the tenant, how many messages and how many bytes."""
    tenant_id = uuid5(UUID(int=0), name)
    messages = raw_bytes = 0
    ids, mail = _message_ids(tenant_id), iter(mail)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        _make_tenant(connection, tenant_id, name)
        while chunk := list(itertools.islice(mail, _CHUNK)):
            with connection.transaction():
                _copy(connection, tenant_id, direction, list(zip(ids, chunk, strict=False)))
            messages, raw_bytes = messages + len(chunk), raw_bytes + sum(len(raw) for _, raw in chunk)
    # As autovacuum would have done by the time a backlog is worth its name.
    with psycopg.connect(stores.oltp_url.get_secret_value(), autocommit=True) as owner:
        for table in _VACUUMED:
            owner.execute(f"VACUUM (ANALYZE) {table}")
    return tenant_id, messages, raw_bytes


def _make_tenant(connection: Connection, tenant_id: UUID, name: str) -> None:
    """Everything has the tenant's own id: there is one of each."""
    domain = f"{tenant_id.hex[:12]}.example"
    copy_rows(connection, "tenants", ("id", "name"), [(tenant_id, name)])
    copy_rows(
        connection,
        "companies",
        ("tenant_id", "id", "name", "workspace_name"),
        [(tenant_id, tenant_id, name, tenant_id.hex)],
    )
    copy_rows(
        connection,
        "domains",
        ("tenant_id", "id", "company_id", "domain"),
        [(tenant_id, tenant_id, tenant_id, domain)],
    )
    copy_rows(
        connection,
        "email_accounts",
        ("tenant_id", "id", "domain_id", "email"),
        [(tenant_id, tenant_id, tenant_id, f"robin@{domain}")],
    )


def _copy(connection: Connection, tenant_id: UUID, direction: str, mail: list[tuple[UUID, tuple[str, bytes]]]) -> None:
    inbound = direction == "inbound"
    copy_rows(
        connection,
        "email_messages",
        (
            *("tenant_id", "id", "company_id", "email_account_id", "direction", "message_id_header"),
            *("from_email", "to_email", "status", "raw_size_bytes", "created", "updated"),
        ),
        [
            (
                *(tenant_id, message_id, tenant_id, tenant_id, direction, f"<{message_id.hex}@sender.example>"),
                *((correspondent.lower(), _SENDER) if inbound else (_SENDER, correspondent.lower())),
                *("received" if inbound else "sent", len(raw), NOW, NOW),
            )
            for message_id, (correspondent, raw) in mail
        ],
    )
    copy_rows(
        connection,
        "email_message_bodies",
        ("tenant_id", "message_id", "raw_message", "created"),
        [(tenant_id, message_id, raw, NOW) for message_id, (_, raw) in mail],
    )


def _message_ids(tenant_id: UUID) -> Iterator[UUID]:
    """Ids as the database gives them (UUIDv7, one every millisecond), the same each time."""
    dice, start = random.Random(tenant_id.int), int(NOW.timestamp() * 1000)
    for number in itertools.count(start):
        yield UUID(int=number << 80 | 0x7 << 76 | dice.getrandbits(12) << 64 | 0x2 << 62 | dice.getrandbits(62))
