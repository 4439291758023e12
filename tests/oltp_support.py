"""What the tests of the OLTP tier share: databases of their own, small mails, reading rows back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from penguinmails.oltp import schema
from penguinmails.oltp.mail_items import SourceItem, TableRows
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.stores import Stores, resolve

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def clock() -> datetime:
    """The time in tests."""
    return NOW


@pytest.fixture
def stores(
    servers: Embedded,
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    clone_database: Callable[[str, str], SecretStr],
    tmp_path: Path,
) -> Stores:
    """Stores whose OLTP database is migrated and this test's own."""
    template = template_database("oltp", lambda url: schema.migrate_database(url, clock=clock))
    url = clone_database("oltp", template)
    database = psycopg.conninfo.conninfo_to_dict(url.get_secret_value())["dbname"]
    app_url = servers.postgres_url(str(database), login="penguinmails_app")
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        connection.execute("GRANT pm_app TO penguinmails_app")
    return dataclasses.replace(resolve(), home=tmp_path, oltp_url=url, oltp_app_url=app_url)


@pytest.fixture
def rows(stores: Stores) -> Callable[..., list[tuple[object, ...]]]:
    """Returns a function that runs a query past row level security and returns its rows."""

    def read(query: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
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
