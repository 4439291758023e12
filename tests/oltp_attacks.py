"""Rows of two tenants in every table, made from the catalogue, and the contexts that attack them.

A table that a migration adds is found here by itself. When its CHECK constraints need particular values, give them in
PARTICULAR; until then the attack tests fail and say so.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from penguinmails.oltp.context_seals import ContextKey

Row = dict[str, Any]
Connection = psycopg.Connection[Any]

PARTICULAR: dict[str, Row] = {
    "campaign_sequence_steps": {"step_type": "email"},
    "email_messages": {"direction": "outbound"},
    "email_events": {"event_type": "sent"},
    "mail_intake": {"outcome": "loaded", "message_id": uuid.UUID(int=1)},
    "admin_audit_events": {"category": "export"},
    "subscriptions": {"status": "canceled"},
    "tenant_config": {"theme_primary_color": "#102030"},
}
"""Values that CHECK constraints ask for."""

CONTEXTS: dict[str, str | None] = {"none": None, "empty": "", "malformed": "no uuid"}
"""Contexts that must see nothing, beside the other tenant's."""

_TABLES = """
    SELECT tables.relname AS name, tables.oid
    FROM pg_class AS tables
    WHERE tables.relnamespace = 'public'::regnamespace AND tables.relkind IN ('r', 'p')
      AND NOT tables.relispartition AND tables.relname <> 'schema_version'
"""
_COLUMNS = """
    SELECT attname AS name, format_type(atttypid, NULL) AS type, attnotnull AS required,
        atthasdef OR attidentity <> '' AS has_default
    FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""
_FOREIGN_KEYS = """
    SELECT keys.conname AS name, parents.relname AS parent,
        ARRAY(SELECT attname::text FROM unnest(keys.conkey) WITH ORDINALITY AS part (number, place)
              JOIN pg_attribute ON attrelid = keys.conrelid AND attnum = number ORDER BY place) AS columns,
        ARRAY(SELECT attname::text FROM unnest(keys.confkey) WITH ORDINALITY AS part (number, place)
              JOIN pg_attribute ON attrelid = keys.confrelid AND attnum = number ORDER BY place) AS parent_columns
    FROM pg_constraint AS keys
    JOIN pg_class AS parents ON parents.oid = keys.confrelid
    WHERE keys.conrelid = %s AND keys.contype = 'f' AND NOT parents.relispartition
"""
_KEY = """
    SELECT attname::text FROM pg_index
    CROSS JOIN LATERAL unnest(indkey) AS part (number)
    JOIN pg_attribute ON attrelid = indrelid AND attnum = number
    WHERE indrelid = %s AND indisprimary
"""


@dataclass(frozen=True)
class ForeignKey:
    name: str
    parent: str
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One table as the catalogue has it."""

    name: str
    columns: tuple[Row, ...]
    foreign_keys: tuple[ForeignKey, ...]
    primary_key: tuple[str, ...]

    @property
    def tenant_column(self) -> str | None:
        if any(column["name"] == "tenant_id" for column in self.columns):
            return "tenant_id"
        return "id" if self.name == "tenants" else None

    @property
    def owner_column(self) -> str | None:
        """The column that says whose a row is: a tenant's or a user's."""
        own = {"users": "id", "user_preferences": "user_id"}
        return self.tenant_column or own.get(self.name)

    def key(self, row: Row) -> Row:
        return {name: row[name] for name in self.primary_key}


@dataclass(frozen=True)
class Party:
    """One tenant, its user, and its row in every table."""

    tenant_id: uuid.UUID
    user_id: uuid.UUID
    rows: dict[str, Row]


def targets(connection: Connection) -> list[Target]:
    """Every table, parents before children."""
    found = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for table in cursor.execute(_TABLES).fetchall():
            keys = cursor.execute(_FOREIGN_KEYS, [table["oid"]]).fetchall()
            found[table["name"]] = Target(
                table["name"],
                tuple(cursor.execute(_COLUMNS, [table["oid"]]).fetchall()),
                tuple(
                    ForeignKey(key["name"], key["parent"], tuple(key["columns"]), tuple(key["parent_columns"]))
                    for key in keys
                ),
                tuple(row["attname"] for row in cursor.execute(_KEY, [table["oid"]]).fetchall()),
            )
    ordered: list[Target] = []
    while found:
        free = [
            target
            for target in found.values()
            if not {key.parent for key in target.foreign_keys} & (found.keys() - {target.name})
        ]
        assert free, f"foreign keys go round: {sorted(found)}"
        ordered += [found.pop(target.name) for target in sorted(free, key=lambda target: target.name)]
    return ordered


def new_row(target: Target, party: Party, number: int) -> Row:
    """A row of the party's own that every constraint accepts."""
    row: Row = {}
    for column in target.columns:
        if column["required"] and not column["has_default"]:
            seed = f"{target.name}{number}"
            is_address = column["name"].endswith("email")
            row[column["name"]] = f"{seed}@example.com" if is_address else _value(column["type"], seed)
    for key in target.foreign_keys:
        for column_name, parent_column in zip(key.columns, key.parent_columns, strict=True):
            row[column_name] = party.rows[key.parent][parent_column]
    if target.owner_column:
        row[target.owner_column] = party.tenant_id if target.tenant_column else party.user_id
    return row | PARTICULAR.get(target.name, {})


def insert_statement(target: Target, row: Row) -> sql.Composed:
    if not row:
        return sql.SQL("INSERT INTO {} DEFAULT VALUES").format(sql.Identifier(target.name))
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(target.name),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )


def insert(connection: Connection, target: Target, row: Row) -> Row:
    statement = insert_statement(target, row) + sql.SQL(" RETURNING *")
    with connection.cursor(row_factory=dict_row) as cursor:
        written = cursor.execute(statement, row).fetchone()
    assert written is not None
    return written


def make_parties(connection: Connection) -> tuple[list[Target], Party, Party]:
    """Fills every table with a row of each of two tenants; platform tables with one row each that both may name."""
    ordered = targets(connection)
    parties = (Party(uuid.uuid4(), uuid.uuid4(), {}), Party(uuid.uuid4(), uuid.uuid4(), {}))
    for target in ordered:
        for number, party in enumerate(parties):
            party.rows[target.name] = insert(connection, target, new_row(target, party, number + 1))
    return ordered, *parties


def set_context(connection: Connection, tenant: str | None, user: str | None, seal: str | None = None) -> None:
    """Sets what is given, as the application does; None leaves the setting as a new session has it."""
    given = {"app.current_tenant_id": tenant, "app.current_user_id": user, "app.context_seal": seal}
    settings = [part for name, value in given.items() if value is not None for part in (name, value)]
    if settings:
        calls = ", ".join(["set_config(%s, %s, true)"] * (len(settings) // 2))
        connection.execute(f"SELECT {calls}", settings)  # type: ignore[arg-type]


def attempt(
    connection: Connection,
    tenant: str | None,
    user: str | None,
    statement: Any,
    values: Any = None,
    *,
    seal: str | None = None,
) -> str:
    """Runs one statement in a transaction that is rolled back; returns 'n rows' or the error's class."""
    try:
        with connection.transaction(force_rollback=True):
            set_context(connection, tenant, user, seal)
            return f"{connection.execute(statement, values).rowcount} rows"
    except psycopg.Error as error:
        return type(error).__name__


def forgeries(key: ContextKey, us: tuple[str, str], them: tuple[str, str]) -> dict[str, str]:
    """What somebody who is not us may present to be us: seals that others were given, that have ended, or that are made up."""
    now = int(time.time())
    later, ours, ended = now + 600, key.seal(*us, now + 600), key.seal(*us, now - 1)
    return {
        "no seal": "",
        "no such form": "1' OR true --",
        "another tenant's": key.seal(*them, later),
        "another user's of the tenant": key.seal(us[0], them[1], later),
        "of the tenant without user": key.seal(us[0], "", later),
        "of the user without tenant": key.seal("", us[1], later),
        "tenant and user exchanged": key.seal(us[1], us[0], later),
        "ended": ended,
        "ended, with a later end written in": ended.replace(ended.split(".")[2], str(later)),
        "of a key that is not accepted": ContextKey(bytes(32)).seal(*us, later),
        "of another key under the id of an accepted one": f"1.{key.key_id}.{ContextKey(bytes(32)).seal(*us, later)[20:]}",
        "one digit other": ours[:-1] + ("0" if ours[-1] != "0" else "1"),
        "cut off": ours[:-1],
        "with more behind it": ours + "0",
        "in capitals": ours.upper(),
        "with other separators": ours.replace(".", ":"),
    }


def where(row: Row) -> sql.Composable:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in row)


def _value(type_name: str, seed: str) -> Any:
    values: dict[str, Any] = {
        "uuid": uuid.uuid4(),
        "text": seed,
        "character varying": seed,
        "integer": int(seed[-1]),
        "bigint": 1,
        "numeric": 1,
        "boolean": True,
        "bytea": b"x",
        "inet": f"192.0.2.{seed[-1]}",
        "jsonb": Jsonb({}),
        "timestamp with time zone": datetime(2026, 9, 1, tzinfo=UTC),
    }
    return values[type_name]


def statements(target: Target, row: Row) -> Iterator[tuple[str, Any, Row]]:
    """Select, update and delete of one row by its key."""
    table, key = sql.Identifier(target.name), target.key(row)
    some = sql.Identifier(target.columns[-1]["name"])
    yield "select", sql.SQL("SELECT * FROM {} WHERE {}").format(table, where(key)), key
    yield "update", sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(table, some, some, where(key)), key
    yield "delete", sql.SQL("DELETE FROM {} WHERE {}").format(table, where(key)), key
    yield "lock", sql.SQL("SELECT * FROM {} WHERE {} FOR UPDATE").format(table, where(key)), key
    yield "select all", sql.SQL("SELECT * FROM {}").format(table), {}
