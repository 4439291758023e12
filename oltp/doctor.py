"""What `penguinmails doctor` asks the OLTP tier.

Belongs here: questions with their remedies. Does not belong here: mending anything.
"""

from __future__ import annotations

from datetime import date

import psycopg

from penguinmails.oltp.clock import utc_now
from penguinmails.oltp.connections import Connection, connect
from penguinmails.oltp.partitions import months_after, newest_month, partitions, rows_in_default_partitions
from penguinmails.oltp.schema import differences
from penguinmails.stack.errors import PlatformError
from penguinmails.stack.findings import Finding
from penguinmails.stack.stores import Stores

OLDEST_SERVER = 150000
"""PostgreSQL 15: ON DELETE SET NULL (column) came with it."""
_MIGRATE = "Run 'penguinmails oltp migrate'."


def examine(stores: Stores) -> list[Finding]:
    """Looks at server, schema, partitions and the application's login."""
    try:
        with connect(stores.oltp_url) as connection:
            return [
                _version(connection),
                _schema(connection),
                _partitions_ahead(connection, utc_now().date()),
                _default_partitions(connection),
                _application_login(stores),
            ]
    except PlatformError as error:
        return [Finding("OLTP database", ok=False, detail=error.problem, remedy=error.remedy)]


def _version(connection: Connection) -> Finding:
    version = connection.info.server_version
    ok = version >= OLDEST_SERVER
    return Finding("OLTP server", ok, f"PostgreSQL {version // 10000}", "" if ok else "Use PostgreSQL 15 or newer.")


def _schema(connection: Connection) -> Finding:
    found = differences(connection)
    if not found:
        return Finding("OLTP schema", ok=True, detail="equals the declarations")
    first = f"{found[0].table}{'.' if found[0].column else ''}{found[0].column}: {found[0].problem}"
    return Finding("OLTP schema", ok=False, detail=f"{len(found)} differences; first {first}", remedy=_MIGRATE)


def _partitions_ahead(connection: Connection, today: date) -> Finding:
    newest = newest_month(connection)
    ok = newest is not None and newest >= months_after(today, 1)
    detail = f"made until {newest:%Y-%m}" if newest else "none"
    return Finding("OLTP partitions ahead", ok, detail, "" if ok else "Run 'penguinmails oltp partitions --make'.")


def _default_partitions(connection: Connection) -> Finding:
    if not partitions(connection):
        return Finding("OLTP default partitions", ok=False, detail="there are no partitions", remedy=_MIGRATE)
    rows = rows_in_default_partitions(connection)
    filled = ", ".join(f"{table} ({count})" for table, count in rows.items() if count)
    remedy = "Make the months of these rows, then move the rows: see docs/oltp.md, Partitions." if filled else ""
    return Finding("OLTP default partitions", not filled, f"rows in {filled}" if filled else "empty", remedy)


def _application_login(stores: Stores) -> Finding:
    name = "OLTP application login"
    with connect(stores.oltp_app_url) as connection:
        try:
            row = connection.execute("SELECT count(*) FROM leads").fetchone()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
            return Finding(name, ok=False, detail="may not read", remedy=_MIGRATE)
    blind = row is not None and row[0] == 0
    remedy = "" if blind else "Set PENGUINMAILS_OLTP_APP_URL to a login without BYPASSRLS and without ownership."
    return Finding(name, blind, "sees nothing without a tenant" if blind else "sees rows without a tenant", remedy)
