"""Every table, partition, function and sequence that the catalogue holds is attacked as the application's login."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import oltp_attacks as attacks
import psycopg
import pytest
from oltp_attacks import CONTEXTS, Connection, Party, Target, attempt
from oltp_support import sealed, shared_stores
from psycopg import sql

from penguinmails.oltp.connections import Role, take_role
from penguinmails.oltp.context_seals import Signer
from penguinmails.oltp.tables import TABLES, Isolation
from penguinmails.stack.embedded import Embedded
from penguinmails.stack.stores import Stores

__all__ = ["sealed", "shared_stores"]

NOTHING = {"0 rows", "InsufficientPrivilege", "InvalidTextRepresentation"}
REFUSED = {"InsufficientPrivilege", "InvalidTextRepresentation"}
CATALOGUES = {"plans", "feature_flags"}
"""Platform tables that everybody may read and nobody but the platform write."""


@dataclass(frozen=True)
class Field:
    """Two tenants' rows, a session past row security, and one of the application."""

    targets: list[Target]
    ours: Party
    theirs: Party
    loader: Connection
    app: Connection

    @property
    def owned(self) -> list[Target]:
        return [target for target in self.targets if target.owner_column]


@pytest.fixture(scope="module")
def field(shared_stores: Stores) -> Iterator[Field]:
    with (
        psycopg.connect(shared_stores.oltp_url.get_secret_value(), autocommit=True) as loader,
        psycopg.connect(shared_stores.oltp_app_url.get_secret_value(), autocommit=True) as app,
    ):
        take_role(loader, Role.LOADER)
        yield Field(*attacks.make_parties(loader), loader, app)


def test_the_catalogue_holds_what_is_declared(field: Field) -> None:
    assert {target.name for target in field.targets} == set(TABLES)
    by_isolation = {target.name: bool(target.owner_column) for target in field.targets}
    assert by_isolation == {name: table.isolation is not Isolation.PLATFORM for name, table in TABLES.items()}
    assert {target.name: target.tenant_column for target in field.targets} == {
        name: table.tenant_key for name, table in TABLES.items()
    }


def find_leaks(field: Field) -> tuple[int, list[str]]:
    """Reads and writes our rows in every context but ours; returns how often it tried, and what it could do."""
    leaks = []
    tried = 0
    us, them = (
        (str(field.ours.tenant_id), str(field.ours.user_id)),
        (str(field.theirs.tenant_id), str(field.theirs.user_id)),
    )
    strangers = {"other": them} | {name: (value, value) for name, value in CONTEXTS.items()}
    for target in field.owned:
        row = field.ours.rows[target.name]
        for command, statement, values in attacks.statements(target, row):
            if command == "select" and attempt(field.app, *us, statement, values) != "1 rows":
                leaks.append(f"{target.name}: its own tenant cannot read it, so the attack proves nothing")
            for context, (tenant, user) in strangers.items():
                tried += 1
                outcome = attempt(field.app, tenant, user, statement, values)
                visible_to_them = command == "select all" and context == "other" and outcome == "1 rows"
                if outcome not in NOTHING and not visible_to_them:
                    leaks.append(f"{target.name}: {command} in context {context} gave {outcome}")
    return tried, leaks


def test_every_command_on_every_table_in_every_context(field: Field) -> None:
    tried, leaks = find_leaks(field)
    assert leaks == []
    assert tried == len(field.owned) * 5 * 4


def test_a_sealed_database_believes_no_proof_but_the_right_one(field: Field, sealed: Signer) -> None:
    leaks = []
    us, them = (
        (str(field.ours.tenant_id), str(field.ours.user_id)),
        (str(field.theirs.tenant_id), str(field.theirs.user_id)),
    )
    own_seal = sealed.seal(*us)
    forged = attacks.forgeries(sealed.key, us, them)
    for target in field.owned:
        row = attacks.new_row(target, field.ours, 5)
        by_command = {
            command: (text, values)
            for command, text, values in attacks.statements(target, row | field.ours.rows[target.name])
        }
        seen = attempt(field.app, *us, *by_command["select"], seal=own_seal)
        if seen != "1 rows":
            leaks.append(f"{target.name}: its own tenant cannot read it: {seen}")
        for name, seal in forged.items():
            outcome = attempt(field.app, *us, *by_command["select all"], seal=seal)
            if outcome != "0 rows":
                leaks.append(f"{target.name}: select with a seal that is {name} gave {outcome}")
        for name in ("no seal", "another tenant's", "another user's of the tenant", "ended"):
            outcomes = {
                "delete": attempt(field.app, *us, *by_command["delete"], seal=forged[name]),
                "insert": attempt(field.app, *us, attacks.insert_statement(target, row), row, seal=forged[name]),
            }
            leaks += [
                f"{target.name}: {command} with a seal that is {name} gave {outcome}"
                for command, outcome in outcomes.items()
                if outcome not in ({"0 rows"} if command == "delete" else set()) | {"InsufficientPrivilege"}
            ]
    assert leaks == []


@pytest.mark.parametrize(
    "hole",
    [
        "ALTER TABLE leads DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY hole ON leads FOR SELECT TO pm_app USING (true)",
        "CREATE POLICY hole ON leads FOR SELECT TO pm_app USING (app.current_tenant_id() IS NULL)",
    ],
)
def test_the_attack_finds_a_hole(field: Field, shared_stores: Stores, hole: str) -> None:
    with psycopg.connect(shared_stores.oltp_url.get_secret_value(), autocommit=True) as owner:
        owner.execute(hole)  # type: ignore[call-overload]
        try:
            assert any(leak.startswith("leads: select") for leak in find_leaks(field)[1])
        finally:
            owner.execute("ALTER TABLE leads ENABLE ROW LEVEL SECURITY")
            owner.execute("DROP POLICY IF EXISTS hole ON leads")


def test_no_row_can_be_written_for_somebody_else(field: Field) -> None:
    leaks = []
    us, them = (
        (str(field.ours.tenant_id), str(field.ours.user_id)),
        (str(field.theirs.tenant_id), str(field.theirs.user_id)),
    )
    strangers = {"other": them} | {name: (value, value) for name, value in CONTEXTS.items()}
    for target in field.owned:
        row = attacks.new_row(target, field.ours, 3)
        statement = attacks.insert_statement(target, row)
        for context, (tenant, user) in strangers.items():
            outcome = attempt(field.app, tenant, user, statement, row)
            if outcome not in REFUSED:
                leaks.append(f"{target.name}: insert in context {context} gave {outcome}")
        # An own row must not be given away either.
        key = target.key(field.ours.rows[target.name])
        other = field.theirs.tenant_id if target.tenant_column else field.theirs.user_id
        gift = sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(
            sql.Identifier(target.name),
            sql.Identifier(target.owner_column or ""),
            sql.Literal(other),
            attacks.where(key),
        )
        outcome = attempt(field.app, *us, gift, key)
        if outcome not in REFUSED:
            leaks.append(f"{target.name}: giving an own row away gave {outcome}")
    assert leaks == []


def test_no_foreign_key_reaches_another_tenant(field: Field) -> None:
    leaks = []
    tried = 0
    tenants_own = {target.name for target in field.targets if target.tenant_column} - {"tenants"}
    them = str(field.theirs.tenant_id), str(field.theirs.user_id)
    for target in field.targets:
        for key in target.foreign_keys:
            if key.parent not in tenants_own:
                continue
            if "tenant_id" not in key.columns or "tenant_id" not in key.parent_columns:
                leaks.append(f"{target.name}.{key.name}: does not hold the tenant")
                continue
            row = attacks.new_row(target, field.theirs, 4)
            stolen = {
                column: field.ours.rows[key.parent][parent_column]
                for column, parent_column in zip(key.columns, key.parent_columns, strict=True)
                if column != "tenant_id"
            }
            for target_key in target.primary_key:  # junctions whose key is the reference itself
                if target_key not in row:
                    row[target_key] = field.theirs.rows[target.name][target_key]
            row |= stolen
            statement = attacks.insert_statement(target, row)
            fresh = row | {name: uuid.uuid4() for name in ("id",) if isinstance(row.get("id"), uuid.UUID)}
            if isinstance(row.get("id"), int):
                fresh["id"] = 1_000_000 + tried
            change = sql.SQL("UPDATE {} SET {} WHERE {}").format(
                sql.Identifier(target.name),
                sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
                    for name, value in stolen.items()
                ),
                attacks.where(target.key(field.theirs.rows[target.name])),
            )
            own_key = target.key(field.theirs.rows[target.name])
            for who, connection, context in (("app", field.app, them), ("loader", field.loader, (None, None))):
                tried += 1
                outcomes = (
                    attempt(connection, *context, statement, fresh),
                    attempt(connection, *context, change, own_key),
                )
                if any(outcome not in {"ForeignKeyViolation", "InsufficientPrivilege"} for outcome in outcomes):
                    leaks.append(f"{target.name}.{key.name} as {who}: {outcomes}")
                if who == "loader" and "ForeignKeyViolation" not in outcomes:
                    leaks.append(f"{target.name}.{key.name}: the attack never reached the key: {outcomes}")
    assert leaks == []
    assert tried > 40


def test_platform_tables_are_closed_or_read_only(field: Field) -> None:
    us = str(field.ours.tenant_id), str(field.ours.user_id)
    leaks = []
    for target in field.targets:
        if target.owner_column:
            continue
        for command, statement, values in attacks.statements(target, field.ours.rows[target.name]):
            outcome = attempt(field.app, *us, statement, values)
            may = target.name in CATALOGUES and command.startswith("select")
            if (outcome.endswith("rows") and outcome != "0 rows") != may:
                leaks.append(f"{target.name}: {command} gave {outcome}")
    assert leaks == []


def test_partitions_cannot_be_reached_past_their_table(field: Field) -> None:
    us = str(field.ours.tenant_id), str(field.ours.user_id)
    names = [
        name
        for (name,) in field.loader.execute(
            "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
    ]
    assert len(names) > 30
    for name in names:
        table = sql.Identifier(name)
        for statement in (
            "SELECT * FROM {}",
            "DELETE FROM {}",
            "UPDATE {} SET id = id",
            "TRUNCATE {}",
            "LOCK TABLE {}",
        ):
            assert attempt(field.app, *us, sql.SQL(statement).format(table)) == "InsufficientPrivilege"  # type: ignore[arg-type]


def test_copy_and_truncate(field: Field) -> None:
    them = str(field.theirs.tenant_id), str(field.theirs.user_id)
    marks = {
        target.name: str(field.ours.rows[target.name][target.owner_column or ""]).encode() for target in field.owned
    }
    for target in field.owned:
        table = sql.Identifier(target.name)
        seen = b""
        try:
            with field.app.transaction(force_rollback=True):
                attacks.set_context(field.app, *them)
                with field.app.cursor() as cursor, cursor.copy(sql.SQL("COPY {} TO STDOUT").format(table)) as copy:
                    seen = b"".join(bytes(part) for part in copy)
        except psycopg.Error:
            pass
        assert marks[target.name] not in seen
        assert attempt(field.app, *them, sql.SQL("TRUNCATE {} CASCADE").format(table)) == "InsufficientPrivilege"
        copy_in = sql.SQL("COPY {} FROM STDIN").format(table)
        assert attempt(field.app, *them, copy_in) in {"FeatureNotSupported", "InsufficientPrivilege"}


def test_functions_and_sequences(field: Field) -> None:
    may_run = {
        name
        for (name,) in field.app.execute("""
            SELECT proname FROM pg_proc
            WHERE pronamespace IN ('app'::regnamespace, 'public'::regnamespace)
              AND has_function_privilege('pm_app', oid, 'EXECUTE')
        """)
    }
    assert may_run == {
        "current_tenant_id", "uuidv7_time", "current_user_id", "uuidv7", "uuidv7_lower_bound", "my_tenants", "create_tenant",
        "expect_tenant", "context_is_proven", "seal_is_valid", "expect_proof", "named_tenant_id",
    }  # fmt: skip
    for user, seen in ((field.ours, [field.ours]), (field.theirs, [field.theirs]), (None, [])):
        with field.app.transaction(force_rollback=True):
            attacks.set_context(field.app, None, str(user.user_id) if user else None)
            found = [row[0] for row in field.app.execute("SELECT id FROM app.my_tenants()")]
        assert found == [party.tenant_id for party in seen]
    assert attempt(field.app, None, None, "SELECT app.create_tenant('mine')") == "InsufficientPrivilege"
    asked = "SELECT schemaname || '.' || sequencename FROM pg_sequences"
    sequences = [name for (name,) in field.loader.execute(asked)]
    assert sequences
    for name in sequences:
        for statement in ("SELECT nextval({})", "SELECT setval({}, 1)", "SELECT currval({})"):
            outcome = attempt(field.app, None, None, sql.SQL(statement).format(sql.Literal(name)))  # type: ignore[arg-type]
            assert outcome == "InsufficientPrivilege"


def test_a_user_who_makes_a_tenant_owns_it(field: Field) -> None:
    with field.app.transaction(force_rollback=True):
        attacks.set_context(field.app, None, str(field.ours.user_id))
        [(made,)] = field.app.execute("SELECT app.create_tenant('Second')").fetchall()
        mine = field.app.execute("SELECT id, roles FROM app.my_tenants()").fetchall()
        assert (made, ["owner"]) in mine
        attacks.set_context(field.app, str(made), None)
        assert field.app.execute("SELECT name FROM tenants").fetchall() == [("Second",)]


def test_views_run_with_the_rights_of_their_reader(field: Field) -> None:
    views = field.loader.execute("""
        SELECT relname FROM pg_class
        WHERE relnamespace IN ('public'::regnamespace, 'app'::regnamespace)
          AND (relkind = 'm' OR (relkind = 'v' AND NOT coalesce(reloptions @> ARRAY['security_invoker=true'], false)))
    """).fetchall()
    assert views == []


def test_the_application_cannot_become_somebody_else(field: Field) -> None:
    them = str(field.theirs.tenant_id), str(field.theirs.user_id)
    for role in Role:
        if role is not Role.APP:
            outcome = attempt(field.app, None, None, sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            assert outcome == "InsufficientPrivilege", role
    field.app.execute("SET row_security = off")
    assert attempt(field.app, *them, "SELECT * FROM leads") == "InsufficientPrivilege"
    field.app.execute("RESET row_security")
    for statement in (
        "CREATE TABLE public.mine (x int)",
        "CREATE FUNCTION app.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE leads NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY own_tenant ON leads",
        "SELECT * FROM schema_version",
        "SELECT * FROM app.context_keys",
        "SELECT * FROM app.context_changes",
        "CREATE TRIGGER t BEFORE INSERT ON leads EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE leads DISABLE ROW LEVEL SECURITY",
    ):
        assert attempt(field.app, *them, statement) in {"InsufficientPrivilege", "InvalidTableDefinition"}, statement
    assert field.app.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'leads'").fetchone() == (0,)


def test_the_migrated_database_has_no_room_for_own_functions(shared_stores: Stores, servers: Embedded) -> None:
    with psycopg.connect(servers.postgres.superuser_dsn()) as admin:
        [(allowed,)] = admin.execute("SELECT has_database_privilege('pm_app', 'template_oltp', 'TEMPORARY')").fetchall()
    assert not allowed


def test_a_function_that_talks_sees_no_row_before_the_policy(field: Field) -> None:
    heard: list[str] = []
    field.app.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    with field.app.transaction(force_rollback=True):
        field.app.execute("""
            CREATE FUNCTION pg_temp.talk(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
            AS $$ BEGIN RAISE NOTICE 'heard %', value; RETURN true; END $$
        """)
        attacks.set_context(field.app, str(field.theirs.tenant_id), None)
        field.app.execute("SELECT * FROM leads WHERE pg_temp.talk(email)")
    assert heard == [f"heard {field.theirs.rows['leads']['email']}"]


def test_statistics_tell_nothing_to_functions_that_talk(field: Field) -> None:
    them = str(field.theirs.tenant_id), str(field.theirs.user_id)
    ours = field.ours.rows["leads"]["email"]
    # A division by zero or a cast that fails would tell of rows that the policy hides, were it evaluated before the policy.
    for statement in (
        "SELECT 1 / (CASE WHEN email = %(email)s THEN 0 ELSE 1 END) FROM leads",
        "SELECT 1 FROM leads WHERE 1 / (CASE WHEN email = %(email)s THEN 0 ELSE 1 END) = 1",
        "SELECT 1 FROM leads WHERE (CASE WHEN email = %(email)s THEN 'x' ELSE '1' END)::int = 1",
    ):
        assert attempt(field.app, *them, statement, {"email": ours}).endswith("rows")
