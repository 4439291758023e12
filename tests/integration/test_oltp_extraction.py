"""What extraction by transaction relies on: every change of a message can be found, whoever made it, and nobody can hide one."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from oltp_attacks import Connection, Party, make_parties
from oltp_support import shared_stores

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.refusals import RowRefused
from penguinmails.oltp.tenancy import tenant_session
from penguinmails.stack.stores import Stores

__all__ = ["shared_stores"]

CHANGED_SINCE = "SELECT count(*) FROM email_messages WHERE id = %s AND NOT pg_visible_in_snapshot(xid, %s::pg_snapshot)"
SNAPSHOT = "SELECT pg_current_snapshot()::text"


@pytest.fixture(scope="module")
def loader(shared_stores: Stores) -> Iterator[Connection]:
    with connect(shared_stores.oltp_url, Role.LOADER) as connection:
        yield connection


@pytest.fixture(scope="module")
def party(loader: Connection) -> Party:
    return make_parties(loader)[1]


@pytest.fixture
def app(shared_stores: Stores) -> Iterator[Connection]:
    with psycopg.connect(shared_stores.oltp_app_url.get_secret_value(), autocommit=True) as connection:
        yield connection


def one(connection: Connection, query: str, *values: object) -> object:
    row = connection.execute(query, values).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def newest_message(loader: Connection, party: Party) -> UUID:
    found = one(loader, "SELECT id FROM email_messages WHERE tenant_id = %s ORDER BY id DESC LIMIT 1", party.tenant_id)
    assert isinstance(found, UUID)
    return found


def test_an_ordinary_update_of_the_application_is_found(loader: Connection, app: Connection, party: Party) -> None:
    message, before = newest_message(loader, party), one(loader, SNAPSHOT)
    assert one(loader, CHANGED_SINCE, message, before) == 0
    with tenant_session(app, party.tenant_id) as session:
        session.execute("UPDATE email_messages SET status = 'delivered' WHERE id = %s", [message])
    assert one(loader, CHANGED_SINCE, message, before) == 1


def test_an_old_transaction_cannot_be_named(loader: Connection, app: Connection, party: Party) -> None:
    message, before = newest_message(loader, party), one(loader, SNAPSHOT)
    with pytest.raises(RowRefused), tenant_session(app, party.tenant_id) as session:
        session.execute("UPDATE email_messages SET status = 'sent', xid = '3' WHERE id = %s", [message])
    loader.execute("UPDATE email_messages SET status = 'sent', xid = '3' WHERE id = %s", [message])
    assert one(loader, CHANGED_SINCE, message, before) == 1, "the trigger says which transaction, whoever names another"
    for table in ("email_messages", "email_events", "admin_audit_events"):
        with pytest.raises(RowRefused), tenant_session(app, party.tenant_id) as session:
            session.execute(f"INSERT INTO {table} (id, xid) VALUES (app.uuidv7(), '3')")  # type: ignore[call-overload]


def test_a_change_that_a_foreign_key_makes_is_found(loader: Connection, party: Party) -> None:
    message = newest_message(loader, party)
    lead = one(
        loader,
        "INSERT INTO leads (tenant_id, email) VALUES (%s, 'leaving@lead.example') RETURNING id",
        party.tenant_id,
    )
    loader.execute("UPDATE email_messages SET lead_id = %s WHERE id = %s", [lead, message])
    before = one(loader, SNAPSHOT)
    loader.execute("DELETE FROM leads WHERE id = %s", [lead])
    assert one(loader, CHANGED_SINCE, message, before) == 1
