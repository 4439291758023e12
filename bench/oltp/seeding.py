"""Seeding against raw COPY of the same rows into the same empty tables, over as many connections.

    python bench/oltp/seeding.py --yes [--scale medium] [--rounds 3]

Empties the OLTP database it is pointed at: only ever run it on one that is for playing (--yes says that you know). Rows are
seeded, copied out in binary form, removed, and copied in again from memory, table by table; rounds alternate and the median
counts. Both sides do the same work: the time ends with the last commit and holds no VACUUM (`settling_seconds` says what that
takes afterwards). It is done over one connection each, where rows are made before they are copied, and over as many as
seeding uses: there raw COPY copies a share of the tenants over each, after the tables that have no tenant. Prints one JSON
document. The figure to quote is that of `documented`: starting the processes weighs in `medium`, which is over in seconds. On 2
quiet cores: `medium` (175,000 rows) a minute, `documented` (6.4 M rows, 1.5 GB of memory) some ten minutes with --rounds 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from psycopg import sql

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.seeding import SCALES, seed
from penguinmails.oltp.seeding_processes import usual_processes
from penguinmails.oltp.table_model import Table
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.stores import Stores, resolve

Rows = dict[str, bytes]
"""Rows of each table as COPY has them."""


def empty(connection: Connection) -> None:
    """Removes every row at once."""
    names = sql.SQL(", ").join(map(sql.Identifier, TABLES))
    connection.execute("SET ROLE pm_owner")
    connection.execute(sql.SQL("TRUNCATE {}").format(names))
    connection.execute("SET ROLE pm_loader")


def columns_of(table: Table) -> sql.Composed:
    """All columns but xid, which is of the transaction."""
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns if column.name != "xid")


def copied_out(connection: Connection, shares: int) -> list[Rows]:
    """First the rows that belong to no tenant, then those of each share of the tenants."""
    tenants = [row[0] for row in connection.execute("SELECT id FROM tenants ORDER BY id")]
    return [
        _read(connection, [table for table in TABLES.values() if table.tenant_key is None], []),
        *(
            _read(connection, [table for table in TABLES.values() if table.tenant_key], tenants[number::shares])
            for number in range(shares)
        ),
    ]


def _read(connection: Connection, tables: list[Table], tenants: list[UUID]) -> Rows:
    found = {}
    for table in tables:
        chosen: sql.Composable = sql.SQL("")
        if table.tenant_key:
            ids = sql.SQL(", ").join(map(sql.Literal, tenants))
            chosen = sql.SQL(" WHERE {} IN ({})").format(sql.Identifier(table.tenant_key), ids)
        statement = sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT BINARY)").format(
            columns_of(table), sql.Identifier(table.name), chosen
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            found[table.name] = b"".join(bytes(part) for part in copy)
    return found


def copy_in(stores: Stores, rows: Rows) -> None:
    """Copies everything in one transaction."""
    with connect(stores.oltp_url, Role.LOADER) as connection, connection.transaction():
        for name, data in rows.items():
            statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
                sql.Identifier(name), columns_of(TABLES[name])
            )
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(data)


def raw_copy_seconds(stores: Stores, shares: list[Rows]) -> float:
    """Seconds that raw COPY of everything takes, each share over a connection of its own."""
    began = time.perf_counter()
    copy_in(stores, shares[0])
    with ThreadPoolExecutor(len(shares) - 1) as beside:
        for done in [beside.submit(copy_in, stores, share) for share in shares[1:]]:
            done.result()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SCALES), default="medium")
    parser.add_argument("--rounds", type=int, default=3, help="seedings and copies, in turns")
    parser.add_argument("--yes", action="store_true", help="empty the database")
    arguments = parser.parse_args()
    if not arguments.yes:
        parser.error("this empties the OLTP database; say --yes if it is for playing")
    stores = resolve()
    seeded, copied, settled = defaultdict(list), defaultdict(list), defaultdict(list)
    several = sorted({1, usual_processes()})
    with connect(stores.oltp_url, Role.LOADER) as connection:
        for _ in range(arguments.rounds):
            for connections in several:
                empty(connection)
                report = seed(stores, scale=arguments.scale, processes=connections)
                seeded[connections].append(report.seconds)
                settled[connections].append(report.settling_seconds)
                shares = copied_out(connection, connections)
                empty(connection)
                copied[connections].append(raw_copy_seconds(stores, shares))
    count = sum(report.rows.values())
    found = {}
    for connections in several:
        seeding_seconds = statistics.median(seeded[connections])
        raw_seconds = statistics.median(copied[connections])
        found[f"over {connections} connections" if connections > 1 else "over one connection"] = {
            "seeding_seconds": [round(each, 2) for each in seeded[connections]],
            "raw_copy_seconds": [round(each, 2) for each in copied[connections]],
            "settling_seconds": [round(each, 2) for each in settled[connections]],
            "seeding_rows_per_second": round(count / seeding_seconds),
            "raw_copy_rows_per_second": round(count / raw_seconds),
            "share_of_raw_copy": round(raw_seconds / seeding_seconds, 2),
        }
    print(json.dumps({"scale": arguments.scale, "rows": count, **found, "aim_share": 0.6}, indent=1))


if __name__ == "__main__":
    main()
