"""How many rows and bytes each table has.

Belongs here: figures about tables as a whole. Does not belong here: anything about one tenant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from psycopg import sql
from psycopg.rows import dict_row

from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.tables import TABLES
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_QUERIES = Queries(Path(__file__).parent / "statistics.sql")


@dataclass(frozen=True)
class TableStatistics:
    """Figures of one table.

    Args:
        table: its name.
        rows: exact number of rows.
        size_bytes: with indexes, partitions and what is stored out of line.
        row_security: row level security is on and forced, on every partition too.
        oldest_partition: first month with a partition of its own, as YYYY_MM; None for a plain table.
        newest_partition: last one.
    """

    table: str
    rows: int
    size_bytes: int
    row_security: bool
    oldest_partition: str | None
    newest_partition: str | None


def table_statistics(stores: Stores) -> list[TableStatistics]:
    """Returns the figures of every declared table, in order of the declarations.

    Raises:
        ServerError: the database cannot be reached or is not migrated.
    """
    with connect(stores.oltp_url, Role.LOADER) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with connection.cursor(row_factory=dict_row) as cursor:
            figures = {row["table"]: row for row in cursor.execute(_QUERIES["table_statistics"])}
        found = []
        for name in TABLES:
            count = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
            found.append(TableStatistics(rows=count[0] if count else 0, **figures[name]))
    return found


def first_day_of_new_events(stores: Stores, *, ingested_since: datetime, occurred_since: datetime) -> date | None:
    """Returns the first UTC day on which an event happened that is that new and not that old; None without any.

    Raises:
        ServerError: the database cannot be reached or is not migrated.
    """
    bounds = {"ingested_since": ingested_since, "occurred_since": occurred_since}
    with connect(stores.oltp_url, Role.READER) as connection:
        row = connection.execute(_QUERIES["first_day_of_new_events"], bounds).fetchone()
    return row[0] if row else None
