"""What the tests of the OLAP tier share: an operational database with a small world in it, and PostgreSQL's own answer."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from penguinmails.olap.landing import ROOT
from penguinmails.olap.marts import MARTS
from penguinmails.olap.reading import open_marts
from penguinmails.olap.selects import with_limits
from penguinmails.olap.verifying import verify
from penguinmails.oltp.schema import migrate_database
from penguinmails.stack.object_store import Bucket
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores, resolve

START = datetime(2026, 10, 1, 12, tzinfo=UTC)
_QUESTIONS = Queries(Path(__file__).parent / "olap_oracle.sql")
_VIEWS = ("messages", "firsts", "sent", "periods", "newest", "health", "costs")
_EVENT_TYPES = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained")
_RATES = {
    "delivered": "sent",
    "bounced": "sent",
    "opened": "delivered",
    "clicked": "delivered",
    "replied": "delivered",
    "unsubscribed": "delivered",
    "complained": "delivered",
}
_OF_COHORT = "count(*) FILTER (WHERE '{}' = ANY (f.became))"
_WRITTEN_OUT = {
    "{counts}": ", ".join(f"count(*) FILTER (WHERE f.event_type = '{name}')" for name in _EVENT_TYPES),
    "{counts_of_cohort}": ", ".join(map(_OF_COHORT.format, _EVENT_TYPES)),
    "{rates}": ", ".join(
        f"round((100.0 * {_OF_COHORT.format(one)}::double precision / nullif({_OF_COHORT.format(other)}, 0))::numeric, 4)"
        "::double precision"
        for one, other in _RATES.items()
    ),
}
ERASE = """
    WITH erased AS (
        UPDATE leads SET email = 'erased-' || id || '@erased.invalid', name = NULL, updated = %(now)s
        WHERE id = %(lead_id)s
        RETURNING id
    )
    UPDATE email_messages SET updated = %(now)s FROM erased WHERE lead_id = erased.id
"""
"""What oltp/erasure.sql does to the rows that marts are made from."""


def named(name: str) -> uuid.UUID:
    """Returns the same id for the same name, with the layout of version 7 in the month of START."""
    digest = hashlib.sha256(name.encode()).digest()
    time = int(START.timestamp() * 1000).to_bytes(6)
    return uuid.UUID(bytes=time + bytes([0x70 | digest[0] & 15, digest[1], 0x80 | digest[2] & 63]) + digest[3:10])


@dataclass
class World:
    """The operational database of a test. Names stand for ids: `named("t1")` is the id of tenant t1."""

    url: SecretStr
    tenants: Sequence[str] = ("t1", "t2")
    campaigns: Sequence[str] = ("c1", "c2")
    mailboxes: Sequence[str] = ("m1", "m2")
    leads: Sequence[str] = ("l1", "l2", "l3")
    steps: Sequence[str] = ("s1", "s2")
    connections: list[psycopg.Connection[Any]] = field(default_factory=list)

    def connect(self) -> psycopg.Connection[Any]:
        """Returns a connection that may write any tenant's rows; closed with the world."""
        connection = psycopg.connect(self.url.get_secret_value(), options="-c role=pm_loader")
        self.connections.append(connection)
        return connection

    def close(self) -> None:
        for connection in self.connections:
            connection.close()

    def create(self) -> None:
        """Makes tenants with one workspace each, and in it mailboxes, leads and campaigns with their steps."""
        with self.connect() as connection:
            for tenant in self.tenants:
                insert(connection, "tenants", id=named(tenant), name=tenant)
                of = {"tenant_id": named(tenant)}
                insert(connection, "companies", **of, id=named(f"{tenant}.company"), name=tenant)
                domain = named(f"{tenant}.domain")
                insert(
                    connection,
                    "domains",
                    **of,
                    id=domain,
                    company_id=named(f"{tenant}.company"),
                    domain=f"{tenant}.example",
                )
                for mailbox in self.mailboxes:
                    insert(
                        connection,
                        "email_accounts",
                        **of,
                        id=named(f"{tenant}.{mailbox}"),
                        domain_id=domain,
                        email=f"{mailbox}@{tenant}.example",
                    )
                for lead in self.leads:
                    insert(connection, "leads", **of, id=named(f"{tenant}.{lead}"), email=f"{lead}@{tenant}.test")
                template = named(f"{tenant}.template")
                insert(connection, "templates", **of, id=template, name="template")
                for campaign in self.campaigns:
                    insert(
                        connection,
                        "campaigns",
                        **of,
                        id=named(f"{tenant}.{campaign}"),
                        name=campaign,
                        status="sending",
                        company_id=named(f"{tenant}.company"),
                    )
                    for order, step in enumerate(self.steps, start=1):
                        insert(
                            connection,
                            "campaign_sequence_steps",
                            **of,
                            id=named(f"{tenant}.{campaign}.{step}"),
                            campaign_id=named(f"{tenant}.{campaign}"),
                            step_order=order,
                            step_type="email",
                            template_id=template,
                            email_account_id=named(f"{tenant}.{self.mailboxes[0]}"),
                        )

    def message(
        self,
        name: str,
        *,
        tenant: str = "t1",
        campaign: str | None = "c1",
        step: str = "s1",
        mailbox: str = "m1",
        lead: str | None = "l1",
        direction: str = "outbound",
        message_type: str = "email",
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        """Adds a message; commits unless a connection is given."""
        self._write(
            connection,
            "email_messages",
            tenant_id=named(tenant),
            id=named(f"{tenant}.{name}"),
            company_id=named(f"{tenant}.company"),
            email_account_id=named(f"{tenant}.{mailbox}"),
            campaign_id=campaign and named(f"{tenant}.{campaign}"),
            campaign_sequence_step_id=campaign and named(f"{tenant}.{campaign}.{step}"),
            lead_id=lead and named(f"{tenant}.{lead}"),
            direction=direction,
            message_type=message_type,
        )

    def event(
        self,
        message: str,
        event_type: str,
        hours: float = 0,
        *,
        tenant: str = "t1",
        event_id: uuid.UUID | None = None,
        ingested_hours: float | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        """Adds an event `hours` after START; commits unless a connection is given."""
        self._write(
            connection,
            "email_events",
            tenant_id=named(tenant),
            id=event_id or uuid.uuid4(),
            message_id=named(f"{tenant}.{message}"),
            event_type=event_type,
            occurred_at=START + timedelta(hours=hours),
            ingested_at=START + timedelta(hours=hours if ingested_hours is None else ingested_hours),
        )

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Runs and commits one statement as its login's own role, the owner of everything."""
        with psycopg.connect(self.url.get_secret_value()) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def _write(self, connection: psycopg.Connection[Any] | None, table: str, **values: object) -> None:
        if connection is not None:
            insert(connection, table, **values)
            return
        with psycopg.connect(self.url.get_secret_value(), options="-c role=pm_loader") as own:
            insert(own, table, **values)


def insert(connection: psycopg.Connection[Any], table: str, **values: object) -> None:
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        ),
        list(values.values()),
    )


def stores_of(url: SecretStr, bucket: Bucket, home: Path) -> Stores:
    """Returns stores that lead to this test's own database, bucket and folder."""
    return dataclasses.replace(resolve(), home=home, oltp_url=url, bucket=bucket.address)


def empty_landing(stores: Stores) -> None:
    bucket = stores.open_bucket()
    bucket.delete([entry.key for entry in bucket.list(ROOT)])


def postgresql_answers(world: World, *questions: str) -> list[set[tuple[Any, ...]]]:
    """Returns PostgreSQL's own answers to questions of olap_oracle.sql."""
    with psycopg.connect(world.url.get_secret_value(), options="-c timezone=UTC") as connection:
        for view in _VIEWS:
            connection.execute(_question(view))
        return [{tuple(row) for row in connection.execute(_question(question))} for question in questions]


def _question(name: str) -> bytes:
    text: str = _QUESTIONS[name]
    for place, written_out in _WRITTEN_OUT.items():
        text = text.replace(place, written_out)
    return with_limits(text).encode()


def assert_marts_are_exact(stores: Stores, world: World) -> None:
    """Every column of every mart and the quarantine, as published, equal PostgreSQL's own answer, and no row stands twice."""
    known = {mart.name: mart.column_names for mart in MARTS} | {
        "quarantine_summary": ("tenant_id", "day", "reason", "events")
    }
    answers = postgresql_answers(world, *known)
    with open_marts(stores) as connection:
        as_of = connection.execute("SELECT as_of FROM _meta").fetchall()
        for (mart, columns), answer in zip(known.items(), answers, strict=True):
            names = ", ".join(name for name in columns if name != "updated")
            found = connection.execute(f"SELECT {names} FROM {mart}").fetchall()
            assert set(found) == answer, mart
            assert len(set(found)) == len(found), mart
            if "updated" in columns and found:
                assert connection.execute(f"SELECT DISTINCT updated FROM {mart}").fetchall() == as_of, mart


def assert_equal_to_recomputation(stores: Stores) -> None:
    """The facts equal facts made from scratch out of the landing zone, row for row."""
    assert all(table.missing == table.unexpected == 0 for table in verify(stores))


@pytest.fixture(scope="session", name="oltp_template")
def oltp_template_fixture(template_database: Callable[[str, Callable[[SecretStr], object]], str]) -> str:
    return template_database("oltp", migrate_database)


@pytest.fixture(name="world")
def world_fixture(oltp_template: str, clone_database: Callable[[str, str], SecretStr]) -> Any:
    """An operational database with two tenants."""
    made = World(clone_database("oltp", oltp_template))
    made.create()
    yield made
    made.close()


@pytest.fixture(name="stores")
def stores_fixture(world: World, bucket: Bucket, tmp_path: Path) -> Stores:
    return stores_of(world.url, bucket, tmp_path)
