"""Bringing the OLTP database to the shape of the declarations.

Belongs here: migrating, granting the application's login its role, writing comments from the declarations, and the check
that the live database equals them. Does not belong here: what the tables are (tables.py and migrations/).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.contract import WHEN_SEALED, declared_contract, live_contract
from penguinmails.oltp.partitions import ensure_partitions
from penguinmails.oltp.tables import TABLES, Section, Table
from penguinmails.stack import migrations
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.errors import ServerError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_GRANT_ATTEMPTS = 5
_NILES = {table.name for table in TABLES.values() if table.section is Section.MULTI_TENANT_CORE}
_NILES_OWN = {"default", "storage"}
"""Nile may have made these tables: then defaults and storage are its own, and it may have further rules and indexes."""
MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = migrations.Schema("OLTP tier", MIGRATIONS, lambda stores: stores.oltp_url, "penguinmails oltp migrate")
_QUERIES = Queries(Path(__file__).parent / "schema.sql")


@dataclass(frozen=True)
class Difference:
    """Something the live database has otherwise than the declarations say."""

    table: str
    column: str
    problem: str


def migrate(stores: Stores, *, clock: Clock = utc_now) -> list[str]:
    """Brings the database to the present schema and returns the revisions applied; running it again changes nothing.

    Also grants the application's login the role pm_app, writes the comments of the declarations and makes partitions ahead.

    Raises:
        ServerError: the database cannot be reached, is locked, or the application's login cannot be granted its role.
    """
    applied = migrate_database(stores.oltp_url, clock=clock)
    let_application_in(stores.oltp_url, stores.oltp_app_url)
    return applied


def migrate_database(url: SecretStr, *, clock: Clock = utc_now) -> list[str]:
    """Does what migrate() does, without the application's login."""
    applied = migrations.migrate(url, MIGRATIONS)
    # One at a time: the locks that comments take on all tables and those of a new partition would cross.
    with connect(url, Role.OWNER) as connection, connection.transaction():
        connection.execute(_QUERIES["one_at_a_time"])
        _validate_rules(connection)
        connection.execute(_QUERIES["hide_values_from_planner"])
        _write_comments(connection)
        ensure_partitions(connection, now=clock())
    return applied


def differences(connection: Connection) -> list[Difference]:
    """Compares the live database with the declarations; an empty list says they are equal."""
    with connection.cursor(row_factory=dict_row) as cursor:
        live_tables = {row["table_name"]: row for row in cursor.execute(_QUERIES["live_tables"])}
        live_columns: dict[str, list[dict[str, object]]] = {}
        for row in cursor.execute(_QUERIES["live_columns"]):
            live_columns.setdefault(row["table_name"], []).append(row)
        found = [
            Difference(
                row["partition_name"], "", "lacks forced row level security, or has grants or policies of its own"
            )
            for row in cursor.execute(_QUERIES["unprotected_partitions"])
        ]
    for name in sorted(TABLES.keys() | live_tables.keys()):
        if name not in live_tables:
            found.append(Difference(name, "", "is declared and missing in the database"))
        elif name not in TABLES:
            found.append(Difference(name, "", "is in the database and not declared"))
        else:
            found.extend(_differences_of_table(TABLES[name], live_tables[name]))
            found.extend(_differences_of_columns(TABLES[name], live_columns.get(name, [])))
    return found + _differences_of_contract(connection, live_tables.keys())


def _differences_of_contract(connection: Connection, live_tables: Set[str]) -> list[Difference]:
    live = set(live_contract(connection))
    declared = set(declared_contract(sealed=any(clause.kind == WHEN_SEALED for clause in live)))
    named = {(clause.thing, clause.kind, clause.name) for clause in declared}
    found = [
        Difference(clause.thing, clause.name, f"{clause.kind} is not as declared")
        for clause in sorted(declared - live)
        if clause.thing in live_tables | {"app"} and not (clause.thing in _NILES and clause.kind in _NILES_OWN)
    ]
    return found + [
        Difference(clause.thing, clause.name, f"{clause.kind} is not declared")
        for clause in sorted(live - declared)
        if (clause.thing, clause.kind, clause.name) not in named
        and clause.thing in TABLES.keys() | {"app"}
        and not (clause.thing in _NILES and clause.kind in _NILES_OWN | {"rule", "index"})
    ]


def _differences_of_table(table: Table, live: dict[str, object]) -> list[Difference]:
    wanted = {
        "primary_key": list(table.primary_key),
        "referenced_tables": list(table.references),
        "partitioned_by": table.partitioned_by,
        "forced_row_security": True,
        "comment": table.meaning,
    }
    return [
        Difference(table.name, "", f"{what.replace('_', ' ')} is not as declared")
        for what, value in wanted.items()
        if live[what] != value
    ]


def _differences_of_columns(table: Table, live: list[dict[str, object]]) -> list[Difference]:
    if [row["column_name"] for row in live] != [column.name for column in table.columns]:
        declared, present = {column.name for column in table.columns}, {str(row["column_name"]) for row in live}
        names = ", ".join(sorted(declared ^ present)) or "their order"
        return [Difference(table.name, names, "columns are not as declared")]
    found = []
    for column, row in zip(table.columns, live, strict=True):
        if row["column_type"] != column.type:
            found.append(Difference(table.name, column.name, f"type is {row['column_type']}, declared {column.type}"))
        if row["required"] != column.required:
            found.append(Difference(table.name, column.name, "NOT NULL is not as declared"))
        if row["comment"] != column.comment:
            found.append(Difference(table.name, column.name, "comment is not as declared"))
    return found


def _validate_rules(connection: Connection) -> None:
    """Looks at the rows that were there before a rule: in a transaction of its own, so that adding it held nobody up.

    Raises:
        ServerError: some rows break the rule.
    """
    for table, rule in connection.execute(_QUERIES["rules_not_yet_valid"]).fetchall():
        statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
        try:
            connection.execute(statement.format(sql.Identifier(table), sql.Identifier(rule)))
        except psycopg.errors.CheckViolation:
            sentence = str(rule).removeprefix(f"{table}_").replace("_", " ")
            raise ServerError(
                f"table {table}", f"has rows that break the rule '{sentence}'", "Mend them, then migrate again."
            ) from None


def _write_comments(connection: Connection) -> None:
    """Writes the comments that differ; none is written when all are right."""
    with connection.cursor(row_factory=dict_row) as cursor:
        tables = {row["table_name"]: row["comment"] for row in cursor.execute(_QUERIES["live_tables"])}
        columns = {
            (row["table_name"], row["column_name"]): row["comment"] for row in cursor.execute(_QUERIES["live_columns"])
        }
    with connection.transaction():
        for table in TABLES.values():
            if tables[table.name] != table.meaning:
                statement = sql.SQL("COMMENT ON TABLE {} IS {}")
                connection.execute(statement.format(sql.Identifier(table.name), sql.Literal(table.meaning)))
            for column in table.columns:
                if columns[table.name, column.name] != column.comment:
                    statement = sql.SQL("COMMENT ON COLUMN {}.{} IS {}")
                    names = sql.Identifier(table.name), sql.Identifier(column.name)
                    connection.execute(statement.format(*names, sql.Literal(column.comment)))


def let_application_in(url: SecretStr, app_url: SecretStr) -> None:
    """Grants the application's login the role pm_app, if it has not got it.

    Raises:
        ServerError: the migrating login may not grant it.
    """
    login = psycopg.conninfo.conninfo_to_dict(app_url.get_secret_value()).get("user")
    if login is None:
        return
    with connect(url) as connection:
        for attempt in range(_GRANT_ATTEMPTS):
            row = connection.execute(_QUERIES["login_of_application_is_member"], {"login": login}).fetchone()
            if row is not None and row[0]:
                return
            try:
                connection.execute(sql.SQL("GRANT pm_app TO {}").format(sql.Identifier(str(login))))
            except (psycopg.errors.InternalError, psycopg.errors.UniqueViolation):
                # Roles are the whole server's: another database granted the same at this moment (two errors: by version).
                if attempt + 1 == _GRANT_ATTEMPTS:
                    raise
            except psycopg.errors.InsufficientPrivilege:
                raise ServerError(
                    "login of the application",
                    "may not be granted the role pm_app",
                    "Grant pm_app to it as administrator.",
                ) from None
