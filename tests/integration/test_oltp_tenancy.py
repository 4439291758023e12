"""Sessions of the application: bound to a tenant, one round trip, no context left behind."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from oltp_support import TESTER, rows, sealed, shared_stores, stores

from penguinmails.oltp import contexts
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.context_seals import ContextKey, Signer
from penguinmails.oltp.refusals import RowRefused
from penguinmails.oltp.tenancy import Pool, Pooler, create_tenant, my_tenants, open_pool, tenant_session, user_session
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.errors import InputError, ServerError, SettingsError
from penguinmails.stack.stores import Stores

__all__ = ["rows", "sealed", "shared_stores", "stores"]

Rows = Callable[..., list[tuple[object, ...]]]
A, B = uuid.UUID(int=10), uuid.UUID(int=11)
ADD = "INSERT INTO leads (email) VALUES (%s)"
ALL = "SELECT email FROM leads ORDER BY email"
CONTEXT = """
    SELECT current_setting('app.current_tenant_id', true), current_setting('app.current_user_id', true), current_user::text
"""


@pytest.fixture
def tenants(stores: Stores) -> Stores:
    with connect(stores.oltp_url, Role.LOADER) as connection:
        for tenant in (A, B):
            connection.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", [tenant, f"Tenant {tenant.int}"])
            connection.execute(
                "INSERT INTO leads (tenant_id, email) VALUES (%s, %s)", [tenant, f"lead{tenant.int}@example.com"]
            )
    return stores


@pytest.fixture(params=Pooler)
def pool(tenants: Stores, request: pytest.FixtureRequest) -> Iterator[Pool]:
    with open_pool(tenants, max_connections=1, pooler=request.param) as pool:
        yield pool


def context_of(pool: Pool) -> tuple[object, ...] | None:
    with pool.connection() as connection:
        return connection.execute(CONTEXT).fetchone()


FORGOTTEN = ("", "", "penguinmails_app")


def test_a_session_sees_its_tenant_only(pool: Pool) -> None:
    with tenant_session(pool, A) as session:
        session.execute(ADD, ["new@example.com"])
        assert session.execute(ALL).fetchall() == [("lead10@example.com",), ("new@example.com",)]
    with tenant_session(pool, str(B)) as session:
        assert session.execute(ALL).fetchall() == [("lead11@example.com",)]
    assert context_of(pool) == FORGOTTEN


@pytest.mark.parametrize("tenant", [None, "", "no uuid", "' OR true --"])
def test_there_is_no_session_without_a_tenant(pool: Pool, tenant: str | None) -> None:
    with pytest.raises(InputError, match="tenant_id"), tenant_session(pool, tenant):
        pytest.fail("a session was opened")


def test_a_login_that_may_do_more_is_held_to_the_policies(tenants: Stores) -> None:
    with psycopg.connect(tenants.oltp_url.get_secret_value(), autocommit=True) as connection:
        with tenant_session(connection, A) as session:
            assert session.execute(ALL).fetchall() == [("lead10@example.com",)]
        assert connection.execute(ALL).fetchall() == [("lead10@example.com",), ("lead11@example.com",)]


def test_a_connection_in_use_is_refused(tenants: Stores) -> None:
    url = tenants.oltp_app_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection, tenant_session(connection, A):
        within = tenant_session(connection, B)
        with pytest.raises(InputError, match="transaction already"):
            within.__enter__()


def test_an_error_leaves_neither_rows_nor_context(pool: Pool, rows: Rows) -> None:
    def fail() -> None:
        with tenant_session(pool, A, B) as session:
            session.execute(ADD, ["lost@example.com"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert rows("SELECT count(*) FROM leads") == [(2,)]
    assert context_of(pool) == FORGOTTEN


def test_what_a_caller_sets_for_good_is_forgotten(pool: Pool) -> None:
    with tenant_session(pool, A) as session:
        session.execute("SELECT set_config('app.current_tenant_id', %s, false)", [str(B)])
        session.execute("SET ROLE pm_app")
    assert context_of(pool) == FORGOTTEN


def test_a_backend_killed_half_way_leaves_nothing(pool: Pool, servers: Embedded, rows: Rows) -> None:
    def be_killed() -> None:
        with tenant_session(pool, A) as session, psycopg.connect(servers.postgres.superuser_dsn()) as admin:
            session.execute(ADD, ["lost@example.com"])
            [(backend,)] = session.execute("SELECT pg_backend_pid()").fetchall()
            admin.execute("SELECT pg_terminate_backend(%s)", [backend])
            session.execute(ALL).fetchall()

    with pytest.raises(ServerError, match="OLTP database"):
        be_killed()
    assert rows("SELECT count(*) FROM leads") == [(2,)]
    assert context_of(pool) == ("", "", "penguinmails_app") or context_of(pool) == (None, None, "penguinmails_app")
    with tenant_session(pool, B) as session:
        assert session.execute(ALL).fetchall() == [("lead11@example.com",)]


KILLED_HALF_WAY = """
import dataclasses, os, signal, sys
from pydantic import SecretStr
from penguinmails.oltp.tenancy import open_pool, tenant_session
from penguinmails.stack.stores import resolve
stores = dataclasses.replace(resolve(), oltp_app_url=SecretStr(sys.stdin.readline().strip()))
with open_pool(stores) as pool, tenant_session(pool, sys.argv[1]) as session:
    session.execute("INSERT INTO leads (email) VALUES ('lost@example.com')")
    session.execute("SELECT 1").fetchall()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_half_way_leaves_nothing(tenants: Stores, rows: Rows) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_HALF_WAY, str(A)],
        input=tenants.oltp_app_url.get_secret_value(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert rows("SELECT count(*) FROM leads") == [(2,)]


def test_many_sessions_over_few_connections_never_mix(tenants: Stores) -> None:
    mixed: list[object] = []

    def work(number: int) -> None:
        tenant = A if number % 2 else B
        for _ in range(30):
            with tenant_session(pool, tenant) as session:
                seen = session.execute("SELECT DISTINCT tenant_id FROM leads").fetchall()
            if seen != [(tenant,)]:
                mixed.append(seen)

    with open_pool(tenants, max_connections=3) as pool:
        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert mixed == []


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize(
    ("pooler", "expected"),
    [
        (Pooler.NONE, 2),  # begin, context and statement; then the end of the transaction
        (Pooler.TRANSACTION, 3),  # begin and context; the statement; the end
        (Pooler.TRANSACTION_PREPARED, 3),
    ],
)
def test_round_trips_of_a_session(
    tenants: Stores, tmp_path: Path, is_signed: bool, pooler: Pooler, expected: int
) -> None:
    signer = Signer(ContextKey(bytes(32))) if is_signed else None
    trace = tmp_path / "trace"
    with (
        pooler.connect(tenants.oltp_app_url.get_secret_value()) as connection,
        trace.open("wb") as file,
    ):
        with tenant_session(connection, A, signer=signer) as session:
            session.execute(ALL).fetchall()  # seen and, where it is, prepared
        connection.pgconn.trace(file.fileno())
        with tenant_session(connection, A, signer=signer) as session:
            session.execute(ALL).fetchall()
        connection.pgconn.untrace()
    senders = re.findall(r"^(?:\S+ \S+\t)?([FB])\t", trace.read_text(), re.MULTILINE)
    trips = sum((before, now) == ("F", "B") for before, now in pairwise(senders))
    assert trips == expected


PREPARED = "SELECT count(*), count(*) FILTER (WHERE from_sql) FROM pg_prepared_statements"


@pytest.mark.parametrize(("pooler", "is_prepared"), [(Pooler.TRANSACTION, False), (Pooler.TRANSACTION_PREPARED, True)])
def test_a_pooler_is_asked_for_what_it_can_do(tenants: Stores, pooler: Pooler, is_prepared: bool) -> None:
    with open_pool(tenants, max_connections=1, pooler=pooler) as pool:
        with tenant_session(pool, A) as session:
            assert session.execute(ALL).fetchall() == [("lead10@example.com",)]
        with pool.connection() as connection:
            [(prepared, by_sql)] = connection.execute(PREPARED, prepare=False).fetchall()
    assert (prepared > 0, by_sql) == (is_prepared, 0)


def test_prepared_statements_are_never_ended_by_sql(tenants: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    url = tenants.oltp_app_url.get_secret_value()
    with Pooler.TRANSACTION_PREPARED.connect(url) as connection:
        for number in range(200):  # more than the driver keeps
            connection.execute(f"SELECT {number}")
        row = connection.execute(PREPARED, prepare=False).fetchone()
        assert row == (connection.prepared_max, 0)
    monkeypatch.setattr("psycopg.capabilities.has_send_close_prepared", lambda: False)
    with pytest.raises(SettingsError, match="libpq 17"):
        Pooler.TRANSACTION_PREPARED.connect(url)


def test_a_savepoint_undoes_its_part(pool: Pool) -> None:
    with tenant_session(pool, A) as session:
        session.execute(ADD, ["kept@example.com"])
        with pytest.raises(psycopg.errors.UniqueViolation), session.savepoint():
            session.execute(ADD, ["kept@example.com"])
        assert session.execute("SELECT count(*) FROM leads").fetchone() == (2,)
    with tenant_session(pool, A) as session:
        assert session.execute("SELECT count(*) FROM leads").fetchone() == (2,)


def test_before_a_tenant_is_chosen(pool: Pool, rows: Rows) -> None:
    user = uuid.uuid4()
    rows("INSERT INTO users (id, email) VALUES (%s, 'user@example.com') RETURNING id", user)
    with user_session(pool, user) as session:
        assert my_tenants(session) == []
        made = create_tenant(session, "Mine")
        assert session.execute(ALL).fetchall() == []
    with user_session(pool, user) as session:
        assert [(tenant.id, tenant.name, tenant.roles) for tenant in my_tenants(session)] == [(made, "Mine", ["owner"])]
    with user_session(pool, uuid.uuid4()) as session:
        assert my_tenants(session) == []


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "INSERT INTO leads (email, status) VALUES ('x@example.com', 'dreaming')",
            "leads.status: breaks the rule 'is known'",
        ),
        (
            "INSERT INTO leads (email) VALUES ('Secret.Person@example.com')",
            "leads.email: breaks the rule 'is lower case'",
        ),
        ("INSERT INTO leads (email) VALUES ('secret person')", "leads.email: breaks the rule 'is an address'"),
        ("INSERT INTO leads (email) VALUES ('secret')", "leads.email: breaks the rule 'is an address'"),
        ("INSERT INTO leads (email) VALUES ('lead10@example.com')", "leads.email: has a row of that key"),
        ("INSERT INTO leads (name) VALUES ('Secret Person')", "leads.email: is missing"),
        (f"INSERT INTO leads (tenant_id, email) VALUES ('{B}', 'x@example.com')", "leads: is not this tenant's"),
        (
            f"INSERT INTO domains (company_id, domain) VALUES ('{B}', 'x.example')",
            "domains.company_id: does not fit the rows",
        ),
        (
            "INSERT INTO email_events (message_id, event_type, occurred_at) VALUES (app.uuidv7(), 'dreamt', now())",
            "email_events.event_type: breaks the rule 'is known'",
        ),
        (
            f"INSERT INTO email_messages (company_id, email_account_id, direction) VALUES ('{B}', '{B}', 'outbound')",
            "email_messages.company_id: does not fit the rows",
        ),
        ("UPDATE leads SET id = 'Secret'", "holds a value that is no uuid"),
        ("UPDATE leads SET updated = 'Secret'", "statement: holds a value"),
        ("UPDATE leads SET name = repeat('Secret', 100)", "too long"),
    ],
)
def test_a_bad_row_is_named_without_its_values(pool: Pool, rows: Rows, statement: str, says: str) -> None:
    before = rows("SELECT email, name FROM leads ORDER BY 1")

    def write() -> None:
        with tenant_session(pool, A) as session:
            session.execute("INSERT INTO leads (email) VALUES ('first@example.com')")
            session.execute(statement)  # type: ignore[arg-type]

    with pytest.raises(RowRefused, match=says) as error:
        write()
    assert "ecret" not in str(error.value)
    assert "ecret" not in repr(error.value.__cause__)
    assert rows("SELECT email, name FROM leads ORDER BY 1") == before


def test_an_unknown_tenant_is_told(pool: Pool, rows: Rows) -> None:
    for statement in (
        "INSERT INTO leads (email) VALUES ('x@example.com')",
        # Logs have no foreign key to tenants.
        "INSERT INTO email_events (message_id, event_type, occurred_at) VALUES (app.uuidv7(), 'sent', now())",
        "INSERT INTO admin_audit_events (action, category) VALUES ('x', 'export')",
        "SELECT count(*) FROM leads",
    ):
        with (
            pytest.raises(InputError, match="tenant_id: names no tenant"),
            tenant_session(pool, uuid.uuid4()) as session,
        ):
            session.execute(statement)  # type: ignore[arg-type]
    assert rows("SELECT (SELECT count(*) FROM email_events), (SELECT count(*) FROM admin_audit_events)") == [(0, 0)]


def own_leads(
    pool_or_connection: Pool | psycopg.Connection[tuple[object, ...]], signer: Signer | None = None
) -> object:
    with tenant_session(pool_or_connection, A, signer=signer) as session:
        return session.execute(ALL).fetchall()


def test_sealed_a_session_signs_itself_and_one_that_cannot_is_told(tenants: Stores, sealed: Signer) -> None:
    with open_pool(tenants, max_connections=1) as pool:
        assert own_leads(pool) == [("lead10@example.com",)]
        with user_session(pool, uuid.uuid4()) as session:
            assert my_tenants(session) == []
        assert context_of(pool) == FORGOTTEN
        assert "1." not in str(pool.signer)
    with psycopg.connect(tenants.oltp_app_url.get_secret_value(), autocommit=True) as connection:
        assert own_leads(connection, sealed) == [("lead10@example.com",)]
        hours_ago = Signer(sealed.key, clock=lambda: datetime.now(UTC) - timedelta(hours=2))
        for wrong in (None, Signer(ContextKey(bytes(32))), hours_ago):
            with pytest.raises(SettingsError, match="PENGUINMAILS_CONTEXT_KEY") as error:
                own_leads(connection, wrong)
            assert str(A) not in str(error.value)
        with pytest.raises(SettingsError, match="PENGUINMAILS_CONTEXT_KEY"), user_session(connection, A) as session:
            my_tenants(session)


def test_a_transaction_keeps_the_context_that_it_began_with(tenants: Stores, sealed: Signer) -> None:
    brief = Signer(sealed.key, validity=timedelta(seconds=1))
    with psycopg.connect(tenants.oltp_app_url.get_secret_value(), autocommit=True) as connection:
        with tenant_session(connection, A, signer=brief) as session:
            contexts.rotate(tenants, TESTER, keep_old=timedelta(seconds=1))
            session.execute("SELECT pg_sleep(1.1)")
            assert session.execute(ALL).fetchall() == [("lead10@example.com",)]
        with pytest.raises(SettingsError):
            own_leads(connection, sealed)  # its key has ended


def test_rotating_the_key_ends_no_session_in_the_meantime(tenants: Stores, sealed: Signer) -> None:
    with open_pool(tenants, max_connections=1) as before:
        contexts.rotate(tenants, TESTER)
        assert own_leads(before) == [("lead10@example.com",)]
        with open_pool(tenants, max_connections=1) as after:
            assert own_leads(after) == [("lead10@example.com",)]
            assert after.signer != before.signer
            contexts.rotate(tenants, TESTER, keep_old=timedelta())
            for pool in (before, after):
                with pytest.raises(SettingsError):
                    own_leads(pool)


def test_sealing_and_opening_is_seen_by_sessions_that_are_there(tenants: Stores, pool: Pool) -> None:
    pool.signer = None  # as on a machine without the key
    own_leads(pool)
    contexts.seal(tenants, TESTER)
    try:
        with pytest.raises(SettingsError, match="is not set"):
            own_leads(pool)
    finally:
        contexts.open_(tenants, TESTER)
    assert own_leads(pool) == [("lead10@example.com",)]
