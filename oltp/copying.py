"""Writing many rows through COPY in binary form, with the types of the declarations.

Belongs here: the one way rows are written in bulk. Does not belong here: which rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.tables import TABLES


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Writes rows and returns how many; columns that are left out take their defaults.

    The connection's role must bypass row level security: PostgreSQL refuses COPY FROM under it.
    """
    declared = TABLES[table]
    types = [_without_size(declared.column(name).type) for name in columns]
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def _without_size(type_name: str) -> str:
    name, _, rest = type_name.partition("(")
    if name == "character":
        return "text"  # the same bytes, and psycopg knows how to write them
    return name + "[]" if rest.endswith("[]") else name
