"""Seeding against raw COPY of the same rows into the same tables.

    python bench/oltp/seeding.py [--scale tiny]

Empties the OLTP database it is pointed at: only ever run it on one that is for playing (--yes says that you know). Rows are
seeded, copied out in binary form, deleted, and copied in again from memory, table by table. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import time

from psycopg import sql

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.seeding import SCALES, seed
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.stores import resolve

EMPTIED = ("email_events", "admin_audit_events", "tenants", "users", "plans", "vps_instances", "staff_roles", "permissions",
           "feature_flags", "system_config")  # fmt: skip


def empty(connection: Connection) -> None:
    for table in EMPTIED:
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


def copied_out(connection: Connection) -> dict[str, bytes]:
    """Every table's rows as COPY has them; xid stays out because it is of the transaction."""
    found = {}
    for table in TABLES.values():
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns if column.name != "xid")
        statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT BINARY)")
        with connection.cursor() as cursor, cursor.copy(statement.format(columns, sql.Identifier(table.name))) as copy:
            found[table.name] = b"".join(bytes(part) for part in copy)
    return found


def copied_in(connection: Connection, rows: dict[str, bytes]) -> float:
    """Seconds that raw COPY of everything takes, in one transaction."""
    began = time.perf_counter()
    with connection.transaction():
        for table in TABLES.values():
            columns = sql.SQL(", ").join(
                sql.Identifier(column.name) for column in table.columns if column.name != "xid"
            )
            statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table.name), columns)
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(rows[table.name])
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=list(SCALES), default="tiny")
    parser.add_argument("--yes", action="store_true", help="empty the database")
    arguments = parser.parse_args()
    if not arguments.yes:
        parser.error("this empties the OLTP database; say --yes if it is for playing")
    stores = resolve()
    with connect(stores.oltp_url, Role.LOADER) as connection:
        empty(connection)
        report = seed(stores, scale=arguments.scale)
        rows = copied_out(connection)
        empty(connection)
        raw_seconds = copied_in(connection, rows)
    count = sum(report.rows.values())
    print(
        json.dumps(
            {
                "scale": arguments.scale,
                "rows": count,
                "seeding_rows_per_second": round(count / report.seconds),
                "raw_copy_rows_per_second": round(count / raw_seconds),
                "share_of_raw_copy": round(raw_seconds / report.seconds, 2),
                "aim_share": 0.6,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
