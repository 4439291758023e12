"""Monthly partitions of the growing tables.

Belongs here: making partitions ahead, looking at them. Does not belong here: the DDL of a partition (app.create_partition).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from psycopg import sql
from psycopg.rows import class_row

from penguinmails.oltp.connections import Connection
from penguinmails.stack.sql import Queries

FIRST_MONTH = date(2026, 1, 1)
"""The first month with a partition of its own; everything before is in the history partition (migrations/0007)."""
MONTHS_AHEAD = 4
"""How many months after the present one are made: a month without maintenance does no harm, a quarter neither."""
_QUERIES = Queries(Path(__file__).parent / "partitions.sql")


@dataclass(frozen=True)
class Partition:
    """One partition and its size."""

    table_name: str
    partition_name: str
    size_bytes: int
    bounds: str

    @property
    def month(self) -> date | None:
        """The month it holds; None for history and default."""
        year, _, month = self.partition_name[-7:].partition("_")
        return date(int(year), int(month), 1) if year.isdigit() and month.isdigit() else None


def ensure_partitions(connection: Connection, *, now: datetime) -> None:
    """Makes every month from the first one to MONTHS_AHEAD after `now`; does nothing when they are there."""
    bounds = {"from_month": FIRST_MONTH, "to_month": months_after(now.date(), MONTHS_AHEAD)}
    with connection.transaction():
        connection.execute(_QUERIES["ensure_partitions"], bounds)


def newest_month(connection: Connection) -> date | None:
    """Returns the newest month that every growing table has."""
    row = connection.execute(_QUERIES["newest_month"]).fetchone()
    return row[0] if row else None


def partitions(connection: Connection) -> list[Partition]:
    """Returns every partition, by table and name."""
    with connection.cursor(row_factory=class_row(Partition)) as cursor:
        return cursor.execute(_QUERIES["partitions"]).fetchall()


def rows_in_default_partitions(connection: Connection) -> dict[str, int]:
    """Returns, by table, how many rows found no month of theirs; all must be 0. Needs the owner's login."""
    found = {}
    for table, partition in connection.execute(_QUERIES["default_partitions"]).fetchall():
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(partition))).fetchone()
        found[str(table)] = int(row[0]) if row else 0
    return found


def months_after(day: date, months: int) -> date:
    """Returns the first day of the month that many months after the one of `day` (or before it)."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)
