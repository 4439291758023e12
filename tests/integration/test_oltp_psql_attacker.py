"""An attacker with psql, the application's login and the source, in a session of one tenant: nothing of another is learnt.

Whoever may name a tenant may open a session of it, so a tenant's id must not be learnt either: not from estimates, not from
error messages, not from what a neighbour left in a pooled session of the server.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from oltp_support import TESTER, rows, sealed, shared_stores
from psycopg import sql

from penguinmails.oltp import contexts
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.context_seals import ContextKey, Signer
from penguinmails.oltp.seeding import seed
from penguinmails.oltp.tables import TABLES, PersonalData
from penguinmails.oltp.tenancy import Pool, open_pool, tenant_session
from penguinmails.stack.stores import Stores

__all__ = ["rows", "sealed", "shared_stores"]

Rows = Callable[..., list[tuple[object, ...]]]
Connection = psycopg.Connection[tuple[object, ...]]
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedFunction,  # of a later version
    psycopg.errors.FeatureNotSupported,  # COPY under row level security, an extension that is not installed
)


@pytest.fixture(scope="module")
def seeded(shared_stores: Stores) -> Stores:
    seed(shared_stores, scale="demo")
    with connect(shared_stores.oltp_url, Role.OWNER) as connection:
        connection.execute("ANALYZE")
    return shared_stores


@pytest.fixture(scope="module")
def tenants(seeded: Stores) -> list[uuid.UUID]:
    with connect(seeded.oltp_url, Role.LOADER) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM tenants ORDER BY id")]


@pytest.fixture
def mallory(seeded: Stores, tenants: list[uuid.UUID]) -> Iterator[Connection]:
    """A psql session of the first tenant, with its context set for good."""
    with psycopg.connect(seeded.oltp_app_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("SELECT set_config('app.current_tenant_id', %s, false)", [str(tenants[0])])
        yield connection


def expected(mallory: Connection, table: str, column: str, condition: str) -> tuple[object, object]:
    """What EXPLAIN expects, with a join that makes small differences large."""
    asked = (
        f"EXPLAIN (FORMAT JSON) SELECT FROM {table} AS own, generate_series(1, 1000000) WHERE own.{column} {condition}"
    )
    row = mallory.execute(asked).fetchone()  # type: ignore[call-overload]
    assert row is not None
    plan = row[0][0]["Plan"]  # type: ignore[index]
    return plan["Plan Rows"], plan["Total Cost"]


def ids_between(mallory: Connection, table: str, column: str, low: int, high: int) -> set[uuid.UUID]:
    """Halves a range of ids for as long as the planner expects another number of rows below its ends."""

    def below(number: int) -> tuple[object, object]:
        return expected(mallory, table, column, f"< '{uuid.UUID(int=number)}'")

    found = set()
    todo = [(low, high, below(low), below(high))]
    while todo and len(found) < 4:
        first, last, expected_first, expected_last = todo.pop()
        if expected_first == expected_last:
            continue
        if last - first == 1:
            found |= {uuid.UUID(int=first), uuid.UUID(int=last)}
            continue
        middle = (first + last) // 2
        between = below(middle)
        todo += [(first, middle, expected_first, between), (middle, last, between, expected_last)]
    return found


def test_estimates_tell_no_id(mallory: Connection, seeded: Stores, tenants: list[uuid.UUID]) -> None:
    assert ids_between(mallory, "leads", "tenant_id", 0, (1 << 128) - 1) == set()
    assert ids_between(mallory, "email_events", "tenant_id", 0, (1 << 128) - 1) == set()
    with connect(seeded.oltp_url, Role.OWNER) as owner:  # the attack itself works where values are sampled
        owner.execute("ALTER TABLE leads ALTER COLUMN tenant_id SET STATISTICS 100")
        owner.execute("ANALYZE leads")
        try:
            assert ids_between(mallory, "leads", "tenant_id", 0, (1 << 128) - 1) & set(tenants[1:])
        finally:
            owner.execute("CALL app.hide_values_from_planner('leads')")
            owner.execute("SELECT app.forget_samples('leads')")


def test_estimates_are_the_same_for_values_that_others_have(mallory: Connection, rows: Rows) -> None:
    told = []
    for table in TABLES.values():
        if table.isolation == "platform":
            continue
        for column in table.columns:
            if (
                column.personal is PersonalData.NONE
                or not column.type.startswith(("text", "varchar"))
                or "[" in column.type
            ):
                continue
            common = rows(
                f"SELECT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL "
                "GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
            )
            if common:
                value = sql.Literal(common[0][0]).as_string(mallory)
                for operator in ("=", "<", "^@"):
                    real = expected(mallory, table.name, column.name, f"{operator} {value}")
                    if real != expected(mallory, table.name, column.name, f"{operator} 'nobody has this'"):
                        told.append(f"{table.name}.{column.name} {operator}")
    assert told == []


def test_no_catalogue_shows_samples(mallory: Connection) -> None:
    names = list(TABLES)
    for view, column in (("pg_stats", "tablename"), ("pg_stats_ext", "tablename"), ("pg_stats_ext_exprs", "tablename")):
        asked = sql.SQL("SELECT count(*) FROM {} WHERE {} LIKE ANY (%s)").format(*map(sql.Identifier, (view, column)))
        assert mallory.execute(asked, [[f"{name}%" for name in names]]).fetchone() == (0,), view
    for table in ("pg_statistic", "pg_statistic_ext_data", "pg_authid", "pg_largeobject", "pg_user_mapping"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            mallory.execute(f"SELECT * FROM pg_catalog.{table} LIMIT 1")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE pm_loader",
        "SET ROLE pm_owner",
        "SET SESSION AUTHORIZATION postgres",
        "SET session_replication_role = replica",
        "SET lc_messages = 'C'",
        "LOAD 'auto_explain'",
        "CREATE SCHEMA shadow",
        "CREATE TABLE leads_too (x int)",
        "CREATE VIEW everybody AS SELECT * FROM leads",
        "CREATE STATISTICS spying (mcv) ON email, status FROM leads",
        "CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)",
        "CREATE FUNCTION public.spy(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'",
        "CREATE EXTENSION dblink",
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "ALTER FUNCTION app.current_tenant_id() SET search_path = public",
        "ALTER TABLE leads OWNER TO pm_app",
        "ALTER TABLE leads ALTER COLUMN email SET STATISTICS 100",
        "GRANT pm_reader TO pm_app",
        "COPY leads TO '/leads'",
        "COPY leads TO PROGRAM 'cat'",
        "COPY leads FROM STDIN",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT app.columns_hidden_from_planner()",
        "CALL app.hide_values_from_planner()",
        "CALL app.ensure_partitions('2031-01-01', '2031-02-01')",
        "SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', 'leads', 'attname', 'email', 'inherited', false)",
        "UPDATE users SET email = 'someone@else.example'",
        "INSERT INTO users (email) VALUES ('someone@else.example')",
        "SELECT app.tenant_of_subscription('sub_x')",
        "SELECT count(*) FROM app.context_keys",
        "EXPLAIN SELECT FROM app.context_keys WHERE inner_block < '\\x80'",
        "COPY app.context_keys TO STDOUT",
        "INSERT INTO app.context_keys SELECT FROM app.context_keys",
        "UPDATE app.context_keys SET accepted_until = NULL",
        "CREATE OR REPLACE FUNCTION app.context_is_proven() RETURNS boolean LANGUAGE sql RETURN true",
        "ALTER FUNCTION app.seal_is_valid() RESET search_path",
        "UPDATE email_messages SET content_storage_key = 'key of another'",
        "UPDATE email_messages SET xid = '1'",
        "INSERT INTO email_messages (direction, content_storage_key) VALUES ('outbound', 'key of another')",
    ],
)
def test_what_a_holder_of_the_login_may_not_do(mallory: Connection, statement: str) -> None:
    with pytest.raises(REFUSED):
        mallory.execute(statement)  # type: ignore[call-overload]


def test_whole_catalogue_exports_hold_own_rows_only(mallory: Connection, tenants: list[uuid.UUID]) -> None:
    for asked in (
        "SELECT schema_to_xml('public', true, true, '')::text",
        "SELECT database_to_xml(true, true, '')::text",
        "SELECT query_to_xml('SELECT * FROM leads', true, true, '')::text",
        "SELECT string_agg(leads::text, ' ') FROM leads",
        "SELECT json_agg(tenants)::text FROM tenants",
    ):
        try:
            row = mallory.execute(asked).fetchone()  # type: ignore[call-overload]
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
            continue  # a server without XML
        assert row is not None
        told = str(row[0])
        assert str(tenants[0]) in told
        assert not [tenant for tenant in tenants[1:] if str(tenant) in told]


def test_settings_that_are_planted_do_not_reach_a_session(mallory: Connection, tenants: list[uuid.UUID]) -> None:
    mallory.execute("SELECT set_config('app.current_tenant_id', %s, false)", [str(tenants[1])])
    mallory.execute("SET search_path = pg_temp, public")
    with tenant_session(mallory, tenants[2]) as session:
        assert session.execute("SELECT DISTINCT tenant_id FROM leads").fetchall() == [(tenants[2],)]


@pytest.fixture
def pool(seeded: Stores) -> Iterator[Pool]:
    with open_pool(seeded, max_connections=1) as pool:
        yield pool


def test_a_held_cursor_does_not_reach_the_next_session(pool: Pool, tenants: list[uuid.UUID]) -> None:
    with tenant_session(pool, tenants[1]) as session:
        session.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT email FROM leads")
    with pytest.raises(psycopg.errors.InvalidCursorName), tenant_session(pool, tenants[0]) as session:
        session.execute("FETCH ALL FROM kept").fetchall()


def test_a_statement_prepared_under_the_drivers_name_is_never_run(pool: Pool, tenants: list[uuid.UUID]) -> None:
    for _ in range(10):  # so that the driver prepares what opens a session
        with tenant_session(pool, tenants[0]) as session:
            session.execute("SELECT 1").fetchall()
    with tenant_session(pool, tenants[0]) as session:
        names = session.execute("SELECT name, statement FROM pg_prepared_statements").fetchall()
        [enter] = [
            name
            for name, statement in names
            if "app.current_tenant_id" in statement and "expect_tenant" not in statement
        ]
        session.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(enter)))
        trap = sql.SQL("""
            PREPARE {} (text, text, text) AS SELECT set_config('role', 'pm_app', true),
                set_config('app.current_tenant_id', {}, true), set_config('app.current_user_id', $1 || $2 || $3, true)
        """)
        session.execute(trap.format(sql.Identifier(enter), sql.Literal(str(tenants[0]))))
    for _ in range(3):
        with tenant_session(pool, tenants[1]) as session:
            assert session.execute("SELECT DISTINCT tenant_id FROM leads").fetchall() == [(tenants[1],)]


def test_nothing_else_stays_in_a_pooled_session(pool: Pool, tenants: list[uuid.UUID], rows: Rows) -> None:
    with tenant_session(pool, tenants[1]) as session:
        session.execute("SELECT pg_advisory_lock(4711)")
        session.execute("LISTEN gossip")
        session.execute("SET statement_timeout = 1")
        session.execute("SET default_transaction_read_only = on")
    with tenant_session(pool, tenants[0]) as session:
        found = session.execute("""
            SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
                (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE name <> ''),
                current_setting('statement_timeout'), current_setting('default_transaction_read_only')
        """).fetchone()
    assert found == (0, 0, 0, "0", "off")


def test_what_others_run_shows_no_value(mallory: Connection, seeded: Stores, tenants: list[uuid.UUID]) -> None:
    running, done = threading.Event(), threading.Event()
    secret = "secret.person@example.com"
    signer = Signer(ContextKey(bytes(32)))

    def victim() -> None:
        with (
            connect(seeded.oltp_app_url) as connection,
            tenant_session(connection, tenants[1], signer=signer) as session,
        ):
            session.execute("SELECT id FROM leads WHERE email = %s", [secret]).fetchall()
            running.set()
            done.wait(30)

    thread = threading.Thread(target=victim)
    thread.start()
    try:
        assert running.wait(30)
        told = str(mallory.execute("SELECT array_agg(activity::text) FROM pg_stat_activity AS activity").fetchone())
    finally:
        done.set()
        thread.join()
    assert "FROM leads WHERE email = $1" in told
    assert secret not in told
    assert str(tenants[1]) not in told
    assert signer.key.key_id not in told


def test_error_messages_tell_nothing_of_others(mallory: Connection, rows: Rows, tenants: list[uuid.UUID]) -> None:
    [(company, lead, email)] = rows(
        "SELECT companies.id, leads.id, leads.email FROM companies JOIN leads USING (tenant_id) WHERE tenant_id = %s LIMIT 1",
        tenants[1],
    )
    own_company = mallory.execute("SELECT id FROM companies LIMIT 1").fetchone()
    assert own_company
    # The same answer whether another tenant has it or nobody has.
    for there, nowhere, statement in (
        (company, uuid.uuid4(), "INSERT INTO domains (company_id, domain) VALUES (%s, 'probe.example')"),
        (lead, uuid.uuid4(), "DELETE FROM leads WHERE id = %s"),
        (email, "nobody@nowhere.example", "INSERT INTO leads (email) VALUES (%s) ON CONFLICT DO NOTHING"),
        (email, "nobody@nowhere.example", "INSERT INTO leads (email) VALUES (%s)"),
        (lead, uuid.uuid4(), "INSERT INTO leads (id, email) VALUES (%s, 'fresh@probe.example')"),
    ):
        answers = []
        for value in (there, nowhere):
            try:
                with mallory.transaction(force_rollback=True):
                    answers.append((mallory.execute(statement, [value]).rowcount, ""))  # type: ignore[call-overload]
            except psycopg.Error as error:
                answers.append((-1, f"{error.sqlstate} {error.diag.message_primary} {error.diag.constraint_name}"))
        assert answers[0] == answers[1], statement


def test_two_tenants_that_claim_one_subscription_get_nothing_of_it(
    mallory: Connection, seeded: Stores, rows: Rows, tenants: list[uuid.UUID]
) -> None:
    [(stripe, plan)] = rows(
        "SELECT stripe_subscription_id, plan_id FROM subscriptions WHERE tenant_id = %s LIMIT 1", tenants[1]
    )
    ask = "SELECT app.tenant_of_subscription(%s)"
    with connect(seeded.oltp_url, Role.PLATFORM) as platform:
        assert platform.execute(ask, [stripe]).fetchone() == (tenants[1],)
        mallory.execute(
            "INSERT INTO subscriptions (plan_id, status, stripe_subscription_id, created) "
            "VALUES (%s, 'canceled', %s, '2000-01-01')",
            [plan, stripe],
        )
        try:
            assert platform.execute(ask, [stripe]).fetchone() == (None,)
        finally:
            mallory.execute("DELETE FROM subscriptions WHERE stripe_subscription_id = %s", [stripe])


NAME_ANOTHER = "SELECT set_config('app.current_tenant_id', %s, false)"
LEADS = "SELECT count(*) FROM leads"


def test_open_whoever_knows_an_id_is_that_tenant(mallory: Connection, tenants: list[uuid.UUID]) -> None:
    mallory.execute(NAME_ANOTHER, [str(tenants[1])])
    assert mallory.execute(LEADS).fetchone() != (0,)


def test_sealed_an_id_alone_opens_nothing(mallory: Connection, tenants: list[uuid.UUID], sealed: Signer) -> None:
    mallory.execute(NAME_ANOTHER, [str(tenants[1])])
    assert mallory.execute(LEADS).fetchone() == (0,)
    mallory.execute(NAME_ANOTHER, [str(tenants[0])])
    mallory.execute("SELECT set_config('app.current_user_id', '', false)")
    mallory.execute("SELECT set_config('app.context_seal', %s, false)", [sealed.seal(str(tenants[0]), "")])
    assert mallory.execute(LEADS).fetchone() != (0,)
    # With a seal of its own it goes on trying to be another: before, within and after a statement.
    name_another = "set_config('app.current_tenant_id', %(other)s::text, false)"
    of_another = "tenant_id = %(other)s::text::uuid"
    for statement in (
        f"{LEADS} WHERE {name_another} <> ''",
        f"WITH other AS MATERIALIZED (SELECT {name_another}) SELECT count(*) FROM other, leads WHERE leads.{of_another}",
        f"SELECT count(id) FROM (SELECT {name_another}) AS other, LATERAL (SELECT id FROM leads WHERE {of_another}) AS own",
        f"UPDATE leads SET name = 'mine' WHERE {of_another}",
        f"UPDATE leads SET tenant_id = {name_another}::uuid",
        f"INSERT INTO leads (tenant_id, email) VALUES (%(other)s::text::uuid, {name_another})",
    ):
        mallory.execute(NAME_ANOTHER, [str(tenants[0])])
        try:
            found = mallory.execute(statement, {"other": str(tenants[1])})  # type: ignore[call-overload]
        except psycopg.errors.InsufficientPrivilege:
            continue
        mine = statement.startswith(LEADS)
        assert (found.fetchone() != (0,)) == mine if found.description else found.rowcount == 0, statement
    mallory.execute(NAME_ANOTHER, [str(tenants[1])])
    assert mallory.execute(LEADS).fetchone() == (0,)


def test_sealed_no_user_and_no_tenant_is_found_out(
    mallory: Connection, rows: Rows, tenants: list[uuid.UUID], sealed: Signer
) -> None:
    [(user,)] = rows("SELECT user_id FROM tenant_users WHERE tenant_id = %s LIMIT 1", tenants[1])
    mallory.execute("SELECT set_config('app.current_user_id', %s, false)", [str(user)])
    assert mallory.execute("SELECT * FROM app.my_tenants()").fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        mallory.execute("SELECT app.create_tenant('mine')")
    for tenant in (tenants[1], uuid.uuid4()):
        mallory.execute(NAME_ANOTHER, [str(tenant)])
        with pytest.raises(psycopg.errors.NoDataFound):
            mallory.execute("SELECT app.expect_tenant()")
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        mallory.execute("SELECT app.expect_proof()")


def test_plans_of_before_do_not_outlive_the_sealing(
    mallory: Connection, seeded: Stores, tenants: list[uuid.UUID]
) -> None:
    mallory.execute(NAME_ANOTHER, [str(tenants[1])])
    mallory.execute("SET plan_cache_mode = force_generic_plan")
    mallory.execute("PREPARE before AS SELECT count(*) FROM leads")
    mallory.execute("EXECUTE before")
    mallory.execute("BEGIN")
    mallory.execute("DECLARE kept CURSOR FOR SELECT email FROM leads")
    try:
        # Its transaction began before: whoever seals is told that it goes on.
        assert contexts.seal(seeded, TESTER, wait=timedelta()).older_transactions == (mallory.info.backend_pid,)
        mallory.execute("ROLLBACK")
        again = contexts.seal(seeded, TESTER)
        assert (again.changed, again.older_transactions) == (False, ())
        assert mallory.execute("EXECUTE before").fetchone() == (0,)
        mallory.execute("BEGIN")
        mallory.execute("DECLARE kept CURSOR FOR SELECT email FROM leads")
        assert mallory.execute("FETCH ALL FROM kept").fetchall() == []
        mallory.execute("ROLLBACK")
    finally:
        contexts.open_(seeded, TESTER)


def test_what_a_session_may_set_does_not_weaken_the_proof(
    mallory: Connection, seeded: Stores, tenants: list[uuid.UUID], sealed: Signer
) -> None:
    told: list[str] = []
    mallory.add_notice_handler(lambda notice: told.append(f"{notice.message_primary} {notice.message_detail}"))
    for function in ("sha256(bytea) RETURNS bytea", "convert_to(text, name) RETURNS bytea"):
        mallory.execute(f"CREATE FUNCTION pg_temp.{function} LANGUAGE sql RETURN ''::bytea")  # type: ignore[call-overload]
    mallory.execute("CREATE TEMPORARY TABLE context_keys (key_id text, inner_block bytea, outer_block bytea)")
    for setting in (
        "search_path = pg_temp, pg_catalog, app, public",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "row_security = off",
        "plan_cache_mode = force_custom_plan",
        "client_min_messages = log",
        "debug_print_parse = on",
        "debug_print_rewritten = on",
        "debug_print_plan = on",
        "bytea_output = 'escape'",
        "DateStyle = 'German'",
        "TimeZone = 'Pacific/Kiritimati'",
    ):
        mallory.execute(f"SET {setting}")  # type: ignore[call-overload]
    forged = Signer(ContextKey(bytes(32))).seal(str(tenants[1]), "")
    for seal in (forged, f"1.{sealed.key.key_id}.{forged[20:]}", sealed.seal(str(tenants[0]), "")):
        mallory.execute("SELECT set_config('app.context_seal', %s, false)", [seal])
        mallory.execute("RESET app.current_user_id")
        mallory.execute(NAME_ANOTHER, [str(tenants[1])])
        assert mallory.execute("SELECT app.seal_is_valid()").fetchone() == (False,)
    # The plans that it has printed show the values that it gave, and not the secret, which is read from a row.
    printed = " ".join(" ".join(told).split())
    assert as_in_plans(forged[2:18].encode()) in printed
    for block in sealed.key.blocks():
        assert block.hex() not in printed
        assert as_in_plans(block[:8]) not in printed


def as_in_plans(value: bytes) -> str:
    """How debug_print_plan writes a value: signed bytes."""
    return " ".join(str(byte - 256 if byte > 127 else byte) for byte in value)
