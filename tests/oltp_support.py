"""What the tests of the OLTP tier share: databases of their own, small mails, reading rows back."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from penguinmails.oltp import contexts, schema
from penguinmails.oltp.context_seals import Signer, signer_of
from penguinmails.oltp.mail_items import SourceItem, TableRows
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.embedded_postgres import LOGINS
from penguinmails.stack.stores import Stores, resolve

EMPTIED = (
    "email_events",
    "admin_audit_events",
    "tenants",
    "users",
    "plans",
    "vps_instances",
    "staff_roles",
    "permissions",
    "feature_flags",
    "system_config",
)
"""Emptying these empties all: the rest goes with them."""
STATE = """
    SELECT 'message', id::text, parent_message_id::text, direction, status, replied::text, bounced::text,
        email_account_id::text, lead_id::text
    FROM email_messages
    UNION ALL
    SELECT 'event', id::text, message_id::text, event_type, occurred_at::text, null, null, email_account_id::text, lead_id::text
    FROM email_events
    UNION ALL
    SELECT 'body', message_id::text, encode(sha256(raw_message), 'hex'), null, null, null, null, null, null
    FROM email_message_bodies
    UNION ALL
    SELECT 'item', source_name, item_name, outcome, reason, message_id::text, null, null, null
    FROM mail_intake
    UNION ALL
    SELECT 'lead', id::text, email, status, null, null, null, null, null FROM leads
    UNION ALL
    SELECT 'mailbox', id::text, email, null, null, null, null, null, null FROM email_accounts
"""
"""Everything that a load writes, but the times of loading."""
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TESTER = contexts.Order("test", "a test")


def clock() -> datetime:
    """The time in tests."""
    return NOW


@pytest.fixture(scope="module")
def shared_stores(
    servers: Embedded,
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stores]:
    """Stores whose OLTP database is migrated and this module's own: cloning so many partitions takes seconds."""
    template = template_database("oltp", lambda url: schema.migrate_database(url, clock=clock))
    name = f"test_oltp_{uuid.uuid4().hex[:12]}"
    url = servers.postgres_url(name, login=LOGINS["oltp"])
    app_url = servers.postgres_url(name, login="penguinmails_app")
    with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
        names = {
            "name": sql.Identifier(name),
            "template": sql.Identifier(template),
            "owner": sql.Identifier(LOGINS["oltp"]),
        }
        admin.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}").format(**names))
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {name} TO penguinmails_app").format(**names))
        stores = dataclasses.replace(
            resolve(), home=tmp_path_factory.mktemp("home"), oltp_url=url, oltp_app_url=app_url
        )
        schema.let_application_in(url, app_url)
        yield stores
        admin.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


@pytest.fixture
def stores(shared_stores: Stores) -> Stores:
    """The module's stores, emptied."""
    empty(shared_stores)
    return shared_stores


def empty(stores: Stores) -> None:
    """Deletes every row."""
    with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
        for table in EMPTIED:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@pytest.fixture
def sealed(shared_stores: Stores) -> Iterator[Signer]:
    """The module's database believes proven contexts only; yields what signs them."""
    contexts.seal(shared_stores, TESTER)
    signer = signer_of(shared_stores)
    assert signer
    yield signer
    contexts.open_(shared_stores, TESTER)


@pytest.fixture
def rows(shared_stores: Stores) -> Callable[..., list[tuple[object, ...]]]:
    """Returns a function that runs a query past row level security and returns its rows."""

    def read(query: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(shared_stores.oltp_url.get_secret_value()) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]

    return read


@dataclass(frozen=True)
class ListSource:
    """A source of items that a test wrote down."""

    mails: list[SourceItem]
    name: str = "test"
    setup: tuple[TableRows, ...] = field(default=())

    def items(self) -> Iterator[SourceItem]:
        yield from self.mails


def mail(
    number: int,
    *,
    sender: str = "ada@sender.example",
    to: str = "lead@example.com",
    body: str = "Hello",
    **headers: str,
) -> bytes:
    """A small message; further headers by name, underscores for hyphens."""
    lines = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: Message {number}",
        f"Date: Tue, 01 Sep 2026 10:{number:02d}:00 +0000",
        f"Message-ID: <{number}@sender.example>",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}\r\n").encode()


def items(*mails: bytes) -> list[SourceItem]:
    return [SourceItem(f"{number:04d}", raw) for number, raw in enumerate(mails)]
