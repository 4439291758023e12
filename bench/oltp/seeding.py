"""Seeding against raw COPY of the same rows into the same empty tables, on one connection each.

    python bench/oltp/seeding.py --yes [--scale medium] [--rounds 3]

Empties the OLTP database it is pointed at: only ever run it on one that is for playing (--yes says that you know). Rows are
seeded, copied out in binary form, removed, and copied in again from memory, table by table; rounds alternate and the median
counts. `client_cpu_share` is what the seeding process itself computed of the time: making rows and writing them out. Prints
one JSON document. On 2 quiet cores: `medium` (175,000 rows) half a minute, `documented` (6.3 M rows, 1 GB of memory) some five
minutes with --rounds 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from psycopg import sql

from penguinmails.oltp.connections import Connection, Role, connect
from penguinmails.oltp.seeding import SCALES, seed
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.stores import resolve


def empty(connection: Connection) -> None:
    """Removes every row at once."""
    names = sql.SQL(", ").join(map(sql.Identifier, TABLES))
    connection.execute("SET ROLE pm_owner")
    connection.execute(sql.SQL("TRUNCATE {}").format(names))
    connection.execute("SET ROLE pm_loader")


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SCALES), default="medium")
    parser.add_argument("--rounds", type=int, default=3, help="seedings and copies, in turns")
    parser.add_argument("--yes", action="store_true", help="empty the database")
    arguments = parser.parse_args()
    if not arguments.yes:
        parser.error("this empties the OLTP database; say --yes if it is for playing")
    stores = resolve()
    seeded, copied, computed = [], [], []
    with connect(stores.oltp_url, Role.LOADER) as connection:
        for _ in range(arguments.rounds):
            empty(connection)
            cpu_before = time.process_time()
            report = seed(stores, scale=arguments.scale)
            computed.append(time.process_time() - cpu_before)
            seeded.append(report.seconds)
            rows = copied_out(connection)
            empty(connection)
            copied.append(copied_in(connection, rows))
    count = sum(report.rows.values())
    seeding_seconds, raw_seconds = statistics.median(seeded), statistics.median(copied)
    print(
        json.dumps(
            {
                "scale": arguments.scale,
                "rows": count,
                "seeding_seconds": [round(each, 2) for each in seeded],
                "raw_copy_seconds": [round(each, 2) for each in copied],
                "seeding_rows_per_second": round(count / seeding_seconds),
                "raw_copy_rows_per_second": round(count / raw_seconds),
                "client_cpu_share": round(statistics.median(computed) / seeding_seconds, 2),
                "share_of_raw_copy": round(raw_seconds / seeding_seconds, 2),
                "aim_share": 0.6,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
