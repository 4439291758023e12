"""A person is forgotten: no table of the tenant tells of them any more, every row and sum stays."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest
from oltp_support import ListSource, clock, items, mail, rows, shared_stores, stores
from psycopg import sql

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.erasure import PersonRows, find_person, forget_person, refuse_nobody
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.errors import InputError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
PERSON, NAME, LINK = "grace@person.example", "Grace Unusual", "https://click.example/grace-7"


def tables_that_tell(stores: Stores, words: tuple[str, ...]) -> set[str]:
    """Returns the tables, bodies aside, of which some row holds one of the words, in text or in bytes."""
    patterns = [f"%{form}%" for word in words for form in (word, word.encode().hex(), word.upper().encode().hex())]
    with psycopg.connect(stores.oltp_url.get_secret_value()) as connection:
        return {
            name
            for name in TABLES
            if name != "email_message_bodies"
            and connection.execute(
                sql.SQL("SELECT FROM {} AS one WHERE one::text ILIKE ANY(%s) LIMIT 1").format(sql.Identifier(name)),
                [patterns],
            ).fetchone()
            is not None
        }


@pytest.fixture
def tenant_id(stores: Stores, rows: Rows) -> uuid.UUID:
    mails = [
        *(mail(number, to=f"{NAME} <{PERSON}>") for number in range(5)),
        mail(6, sender=PERSON, to="ada@sender.example", In_Reply_To="<1@sender.example>"),
        mail(7, to="other@example.com"),
        b"no mail at all, but it names GRACE@PERSON.EXAMPLE",
    ]
    load_mail(stores, ListSource(items(*mails)), clock=clock)
    [(tenant,)] = rows("SELECT DISTINCT tenant_id FROM email_messages")
    assert isinstance(tenant, uuid.UUID)
    with connect(stores.oltp_url, Role.LOADER) as connection:
        connection.execute("UPDATE leads SET name = %s, company = 'Unusual' WHERE email = %s", [NAME, PERSON])
        connection.execute("UPDATE email_events SET payload = jsonb_build_object('link', %s::text)", [LINK])
    return tenant


def sums(rows: Rows) -> list[tuple[object, ...]]:
    return rows(
        "SELECT count(*), count(sent), count(replied), sum(raw_size_bytes), (SELECT count(*) FROM email_events),"
        " (SELECT count(*) FROM leads), (SELECT count(*) FROM mail_intake), count(lead_id) FROM email_messages"
    )


def test_no_table_tells_of_a_forgotten_person(stores: Stores, rows: Rows, tenant_id: uuid.UUID) -> None:
    before = sums(rows)
    words = (PERSON, NAME, "Unusual")
    assert tables_that_tell(stores, words) >= {"leads", "email_messages", "mail_intake"}
    expected = PersonRows(messages=6, leads=1, set_aside=1)
    assert find_person(stores, tenant_id, PERSON.upper()) == expected
    pages: list[int] = []
    assert forget_person(stores, tenant_id, f" {PERSON.upper()}", clock=clock, progress=pages.append) == expected
    assert sum(pages) == 6
    assert tables_that_tell(stores, words) == set()
    assert sums(rows) == before
    gone = (
        "SELECT email = 'erased-' || id || '@erased.invalid', name, company, status FROM leads WHERE email ^@ 'erased-'"
    )
    assert rows(gone) == [(True, None, None, "unsubscribed")]
    left = "SELECT DISTINCT to_email FROM email_events JOIN email_messages AS messages ON messages.id = message_id"
    assert rows(f"{left} WHERE payload IS NOT NULL") == [("other@example.com",)]
    assert rows("SELECT action, resource_type FROM admin_audit_events WHERE category = 'deletion'") == [
        ("person.erased", "lead")
    ]


def test_again_changes_nothing_and_the_mail_stays_known(stores: Stores, rows: Rows, tenant_id: uuid.UUID) -> None:
    forget_person(stores, tenant_id, PERSON, clock=clock)
    state = rows("SELECT id, xid, updated FROM email_messages ORDER BY id")
    assert forget_person(stores, tenant_id, PERSON, clock=lambda: datetime(2027, 1, 1, tzinfo=UTC)) == PersonRows(
        0, 0, 0
    )
    report = load_mail(
        stores, ListSource(items(*(mail(number, to=f"{NAME} <{PERSON}>") for number in range(5)))), clock=clock
    )
    assert report.loaded == 0
    assert rows("SELECT id, xid, updated FROM email_messages ORDER BY id") == state


def test_nobody_is_refused(stores: Stores, tenant_id: uuid.UUID) -> None:
    refuse_nobody(stores, tenant_id, PERSON)
    for tenant, address in ((uuid.uuid4(), PERSON), (tenant_id, "nobody")):
        with pytest.raises(InputError) as error:
            refuse_nobody(stores, tenant, address)
        assert PERSON not in str(error.value)


def test_another_tenants_correspondent_stays(stores: Stores, rows: Rows, tenant_id: uuid.UUID) -> None:
    assert forget_person(stores, uuid.uuid4(), PERSON, clock=clock) == PersonRows(0, 0, 0)
    assert rows("SELECT count(*) FROM leads WHERE email = %s", PERSON) == [(1,)]


@pytest.mark.parametrize("address", ["", "grace", "@person.example", "grace@", "gr ace@person.example"])
def test_what_is_no_address_is_refused_without_being_repeated(stores: Stores, address: str) -> None:
    with pytest.raises(InputError, match="address: is none") as told:
        forget_person(stores, uuid.uuid4(), address, clock=clock)
    assert not address or "person.example" not in str(told.value)
