"""Writing many rows through COPY in binary form, with the types of the declarations.

Belongs here: the one way rows are written in bulk, and the form of rows that are encoded beforehand. Does not belong here:
which rows. The form is that of "Binary Format" in PostgreSQL's documentation of COPY.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import orjson
from psycopg import sql

from penguinmails.oltp.connections import Connection
from penguinmails.oltp.tables import TABLES

NULL = b"\xff\xff\xff\xff"
"""The field of a row that has no value."""
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_COUNT = struct.Struct("!h").pack
_LENGTH = struct.Struct("!i").pack
_EIGHT_BYTES = struct.Struct("!iq").pack
_MICROSECONDS = 1_000_000
_YEAR_2000 = 946_684_800
"""Where PostgreSQL's times begin, in seconds since 1970."""
_JSONB_VERSION = b"\x01"
_ROWS_TOGETHER = 500


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Writes rows and returns how many; columns that are left out take their defaults.

    The connection's role must bypass row level security: PostgreSQL refuses COPY FROM under it.
    """
    declared = TABLES[table]
    types = [_without_size(declared.column(name).type) for name in columns]
    count = 0
    with connection.cursor() as cursor, cursor.copy(_statement(table, columns)) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def copy_encoded_rows(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[bytes]) -> int:
    """Does what copy_rows() does with rows that encoded_row() made.

    For rows by the million, most of whose values repeat: a value is encoded once and not once a row.
    """
    with connection.cursor() as cursor, cursor.copy(_statement(table, columns)) as copy:
        copy.write(_SIGNATURE)
        for start in range(0, len(rows), _ROWS_TOGETHER):
            copy.write(b"".join(rows[start : start + _ROWS_TOGETHER]))
        copy.write(_END)
    return len(rows)


def encoded_row(columns: int, *fields: bytes) -> bytes:
    """A row of so many columns: NULL and what the functions below return, in order; some of it may be joined already."""
    return _COUNT(columns) + b"".join(fields)


def encoded_field(value: bytes) -> bytes:
    """A uuid's bytes, a text in UTF-8 or a bytea."""
    return _LENGTH(len(value)) + value


def encoded_time(seconds: int) -> bytes:
    """A timestamptz from whole seconds since 1970."""
    return _EIGHT_BYTES(8, (seconds - _YEAR_2000) * _MICROSECONDS)


def encoded_bigint(number: int) -> bytes:
    """A bigint."""
    return _EIGHT_BYTES(8, number)


def encoded_text(text: str) -> bytes:
    """A text or varchar."""
    return encoded_field(text.encode())


def encoded_jsonb(document: object) -> bytes:
    """A jsonb."""
    return encoded_field(_JSONB_VERSION + orjson.dumps(document))


def _statement(table: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


def _without_size(type_name: str) -> str:
    name, _, rest = type_name.partition("(")
    if name == "character":
        return "text"  # the same bytes, and psycopg knows how to write them
    return name + "[]" if rest.endswith("[]") else name
