"""The live schema is what is declared, and migrating is safe to repeat, to race and to read beforehand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from oltp_support import clock, rows, shared_stores
from psycopg import sql
from pydantic import SecretStr

from penguinmails.oltp import schema
from penguinmails.oltp.checking import check_isolation
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.contexts import State, set_state
from penguinmails.oltp.doctor import examine
from penguinmails.oltp.schema import MIGRATIONS, differences
from penguinmails.oltp.tables import TABLES, PersonalData
from penguinmails.stack import embedded
from penguinmails.stack.embedded_postgres import LOGINS
from penguinmails.stack.migrations import sql_of_all
from penguinmails.stack.stores import Stores

__all__ = ["rows", "shared_stores"]

Rows = Callable[..., list[tuple[object, ...]]]
DRIFTS = {
    "ALTER TABLE leads ADD COLUMN shoe_size int": ("leads", "shoe_size"),
    "ALTER TABLE leads ALTER COLUMN name TYPE text": ("leads", "name"),
    "ALTER TABLE leads ALTER COLUMN company SET NOT NULL": ("leads", "company"),
    "COMMENT ON COLUMN leads.name IS 'something else'": ("leads", "name"),
    "ALTER TABLE leads NO FORCE ROW LEVEL SECURITY": ("leads", ""),
    "CREATE TABLE stray (x int)": ("stray", ""),
    "DROP TABLE template_dictionaries": ("template_dictionaries", ""),
    "ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_plan_id_fkey, DROP CONSTRAINT subscriptions_pending_plan_id_fkey": (
        "subscriptions",
        "",
    ),
    "ALTER TABLE email_events_2026_09 DISABLE ROW LEVEL SECURITY": ("email_events_2026_09", ""),
    "GRANT SELECT ON email_events_2026_09 TO pm_app": ("email_events_2026_09", ""),
    "ALTER POLICY own_tenant ON email_events_2026_09 USING (true)": ("email_events_2026_09", ""),
    "ALTER TABLE leads ALTER COLUMN status DROP DEFAULT": ("leads", "status"),
    "ALTER TABLE leads DROP CONSTRAINT leads_status_is_known": ("leads", "leads_status_is_known"),
    "ALTER TABLE leads ADD CONSTRAINT other CHECK (name <> '')": ("leads", "other"),
    "DROP INDEX leads_list_index": ("leads", "leads_list_index"),
    "CREATE INDEX other ON leads (name)": ("leads", "other"),
    "ALTER POLICY own_tenant ON leads USING (true)": ("leads", "own_tenant"),
    "CREATE POLICY other ON leads FOR SELECT TO pm_app USING (true)": ("leads", "other"),
    "GRANT SELECT ON system_config TO pm_app": ("system_config", "pm_app"),
    "GRANT SELECT ON leads TO PUBLIC": ("leads", "everybody"),
    "GRANT UPDATE (email) ON users TO pm_app": ("users", "pm_app"),
    "ALTER TABLE email_messages DISABLE TRIGGER note_transaction": ("email_messages", "note_transaction"),
    "ALTER FUNCTION app.current_tenant_id() SET search_path = public": ("app", "app.current_tenant_id()"),
    "CREATE OR REPLACE FUNCTION app.context_is_proven() RETURNS boolean LANGUAGE sql STABLE RETURN NOT false": (
        "app",
        "app.context_is_proven()",
    ),
    "GRANT SELECT (inner_block) ON app.context_keys TO pm_staff": ("app", "app.context_keys"),
    "GRANT EXECUTE ON FUNCTION app.forget_samples(text) TO pm_app": ("app", "app.forget_samples(text)"),
    "CREATE FUNCTION app.other() RETURNS int LANGUAGE sql RETURN 1": ("app", "app.other()"),
}


def test_the_migrated_database_equals_the_declarations(shared_stores: Stores) -> None:
    with connect(shared_stores.oltp_url) as connection:
        assert differences(connection) == [], (
            "after a new migration: python -m penguinmails.oltp.contract > oltp/contract.txt"
        )
    assert schema.migrate(shared_stores, clock=clock) == []
    assert [finding.name for finding in examine(shared_stores) if not finding.ok] == []
    with connect(shared_stores.oltp_url, Role.OWNER) as connection, connection.transaction(force_rollback=True):
        set_state(connection, State.SEALED)
        assert differences(connection) == []
        set_state(connection, State.OPEN)
        assert differences(connection) == []


@pytest.mark.parametrize("drift", DRIFTS)
def test_every_kind_of_drift_is_seen(shared_stores: Stores, drift: str) -> None:
    with connect(shared_stores.oltp_url, Role.OWNER) as connection, connection.transaction(force_rollback=True):
        connection.execute(drift)  # type: ignore[call-overload]
        assert DRIFTS[drift] in {(found.table, found.column) for found in differences(connection)}


def test_declarations_are_complete() -> None:
    for table in TABLES.values():
        assert table.meaning.endswith("."), table.name
        assert set(table.primary_key) <= {column.name for column in table.columns}
        for column in table.columns:
            assert column.meaning.strip(), f"{table.name}.{column.name}"
            if column.name.endswith(("_bytes", "_count", "_hours", "_gb", "_percentage")):
                assert column.unit, f"{table.name}.{column.name} has no unit"
    assert not {name for table in TABLES.values() for name in table.references} - set(TABLES)


def test_every_foreign_key_has_its_index(shared_stores: Stores, rows: Rows) -> None:
    without = rows("""
        SELECT keys.conrelid::regclass::text, keys.conname
        FROM pg_constraint AS keys
        JOIN pg_class AS tables ON tables.oid = keys.conrelid
        WHERE keys.contype = 'f' AND tables.relnamespace = 'public'::regnamespace AND NOT tables.relispartition
          AND NOT EXISTS (
            SELECT FROM pg_index AS indexes
            WHERE indexes.indrelid = keys.conrelid
              AND (indexes.indkey::int2[])[0:cardinality(keys.conkey) - 1] @> keys.conkey
          )
    """)
    assert without == []


MIGRATE = """
import json, sys
from datetime import datetime
from pydantic import SecretStr
from penguinmails.oltp import schema
url = SecretStr(sys.stdin.readline().strip())
print(json.dumps(schema.migrate_database(url, clock=lambda: datetime.fromisoformat(sys.argv[1]))))
"""


def migrate_in_a_process(url: SecretStr) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE, clock().isoformat()],
        input=url.get_secret_value(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_two_databases_of_a_new_server_migrate_at_once() -> None:
    home = Path(tempfile.mkdtemp(prefix="penguinmails-test-"))
    servers = embedded.ensure(home, postgres=True, valkey=False, s3=False)
    try:
        names = ["first", "second"]
        with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
            for name in names:
                names_of = sql.Identifier(name), sql.Identifier(LOGINS["oltp"])
                admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names_of))
        urls = [servers.postgres_url(name, login=LOGINS["oltp"]) for name in names]
        with ThreadPoolExecutor(3) as pool:
            applied = list(pool.map(migrate_in_a_process, [*urls, urls[0]]))
        revisions = sorted(path.stem[:4] for path in MIGRATIONS.glob("*.sql"))
        assert sorted(applied) == [[], revisions, revisions]
        for url in urls:
            with connect(url) as connection:
                assert differences(connection) == []
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)


NILES_TABLES = """
    CREATE TABLE users (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), created timestamptz NOT NULL DEFAULT now(),
        updated timestamptz NOT NULL DEFAULT now(), deleted timestamptz, name text, family_name text, given_name text,
        email text, picture text, email_verified timestamptz
    );
    CREATE UNIQUE INDEX users_email_key ON users (email) WHERE deleted IS NULL;
    CREATE TABLE tenants (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, created timestamptz NOT NULL DEFAULT now(),
        updated timestamptz NOT NULL DEFAULT now(), deleted timestamptz, compute_id uuid
    );
    CREATE TABLE tenant_users (
        tenant_id uuid NOT NULL, user_id uuid NOT NULL, created timestamptz NOT NULL DEFAULT now(),
        updated timestamptz NOT NULL DEFAULT now(), deleted timestamptz, roles text[] DEFAULT '{}', email text,
        PRIMARY KEY (tenant_id, user_id)
    );
    INSERT INTO users (email) VALUES ('kept@example.com');
    INSERT INTO tenants (name) VALUES ('Kept');
    INSERT INTO tenant_users (tenant_id, user_id, roles) SELECT tenants.id, users.id, NULL FROM tenants, users;
"""


def test_tables_that_nile_made_are_kept_and_isolated(servers: embedded.Embedded) -> None:
    name, login = "test_oltp_nile", LOGINS["oltp"]
    url = servers.postgres_url(name, login=login)
    with psycopg.connect(servers.postgres.superuser_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(login)))
        try:
            with psycopg.connect(url.get_secret_value(), autocommit=True) as nile:
                nile.execute(NILES_TABLES)
            schema.migrate_database(url, clock=clock)
            with connect(url) as connection:
                assert differences(connection) == []
                assert check_isolation(connection).ok
                kept = "SELECT tenants.name, users.email FROM tenants, users, tenant_users WHERE roles = '{}'"
                assert connection.execute(kept).fetchall() == [("Kept", "kept@example.com")]
            with connect(url) as connection, pytest.raises(psycopg.errors.CheckViolation):
                connection.execute("UPDATE users SET email = 'Upper@example.com'")
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_the_planner_samples_nothing_that_says_who(shared_stores: Stores, rows: Rows) -> None:
    assert rows("SELECT table_name, column_name FROM app.columns_hidden_from_planner() WHERE NOT is_hidden") == []
    hidden = {name for (name,) in rows("SELECT DISTINCT column_name FROM app.columns_hidden_from_planner()")}
    personal = {
        column.name for table in TABLES.values() for column in table.columns if column.personal is not PersonalData.NONE
    }
    ids = {column.name for table in TABLES.values() for column in table.columns if column.type == "uuid"}
    assert personal | ids | {"stripe_subscription_id", "domain", "vault_key_path"} <= hidden
    assert not hidden & {"status", "event_type", "direction", "created", "occurred_at"}


def test_a_new_partition_and_a_new_table_hide_their_values(shared_stores: Stores) -> None:
    ask = "SELECT count(*) FROM app.columns_hidden_from_planner() WHERE NOT is_hidden"
    with connect(shared_stores.oltp_url, Role.OWNER) as connection, connection.transaction(force_rollback=True):
        connection.execute("CALL app.ensure_partitions('2031-01-01', '2031-01-01')")
        assert connection.execute(ask).fetchone() == (0,)
        connection.execute("CREATE TABLE fresh (id uuid, note text, at timestamptz)")
        assert connection.execute(ask).fetchone() == (2,)
        assert not check_isolation(connection).ok
        connection.execute("CALL app.hide_values_from_planner()")
        assert connection.execute(ask).fetchone() == (0,)


def test_the_sql_can_be_read_before_it_is_run() -> None:
    text = sql_of_all(MIGRATIONS)
    assert all(f"CREATE TABLE {name} (" in text or f"CREATE TABLE IF NOT EXISTS {name} (" in text for name in TABLES)
    assert "lock_timeout" in text


def test_ids_of_servers_before_version_18(shared_stores: Stores, rows: Rows) -> None:
    text = (MIGRATIONS / "0001_roles_and_functions.sql").read_text()
    older = re.search(r"ELSE\s+(CREATE FUNCTION app\.uuidv7\(\).*?\)::uuid;)\s+END IF;", text, re.DOTALL)
    assert older
    made = []
    with connect(shared_stores.oltp_url, Role.OWNER) as connection, connection.transaction(force_rollback=True):
        connection.execute(older[1].replace("app.uuidv7", "app.uuidv7_older"))  # type: ignore[call-overload]
        for _ in range(50):
            [(uuid, age)] = connection.execute(
                "SELECT made, clock_timestamp() - app.uuidv7_time(made) FROM app.uuidv7_older() AS made"
            ).fetchall()
            made.append(uuid)
            assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
            assert 0 <= age.total_seconds() < 5
    assert len(set(made)) == 50
