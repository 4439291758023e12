"""What a person is told about a row that the database refuses.

Belongs here: turning errors of the server into typed ones that name table, column and problem. Never the value: it may be
personal. Does not belong here: the rules themselves (migrations/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from penguinmails.stack.errors import InputError

_TABLE = re.compile(r"\b(?:table|relation) \"?(?P<name>\w+)")


class RowRefused(InputError):
    """A row breaks a rule of the schema; nothing was written."""


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turns errors about rows into RowRefused."""
    try:
        yield
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.InsufficientPrivilege) as error:
        raise refusal(error) from None


def refusal(error: psycopg.Error) -> RowRefused:
    """Returns what to tell about an error of the server, without any value of the row."""
    table = error.diag.table_name or _named_table(error.diag.message_primary or "")
    column = error.diag.column_name
    rule = error.diag.constraint_name or ""
    thing = f"{table}.{column}" if column else table
    match error:
        case psycopg.errors.NotNullViolation():
            return RowRefused(thing, "is missing", "Give a value.")
        case psycopg.errors.UniqueViolation():
            return RowRefused(thing, f"has a row of that key already ({rule})", "Change the row that is there.")
        case psycopg.errors.ForeignKeyViolation():
            problem = f"does not fit the rows of this tenant that it names, or that name it ({rule})"
            return RowRefused(thing, problem, "Use rows of the same tenant that exist.")
        case psycopg.errors.CheckViolation():
            sentence = rule.removeprefix(f"{table}_").replace("_", " ")
            return RowRefused(thing, f"breaks the rule '{sentence}'", "See the column's comment for what it takes.")
        case psycopg.errors.InsufficientPrivilege():
            return RowRefused(thing, "is not this tenant's to read or write", "Open a session of the right tenant.")
        case psycopg.errors.StringDataRightTruncation():
            return RowRefused(thing, "holds a text that is too long for its column", "Shorten the text.")
        case psycopg.errors.InvalidTextRepresentation():
            return RowRefused(thing, "holds a value that is none of its type", "Look at ids, numbers and times.")
        case _:
            return RowRefused(
                thing, f"holds a value that cannot be stored ({type(error).__name__})", "Correct the value."
            )


def _named_table(message: str) -> str:
    """Errors about rights name their table in the message only."""
    found = _TABLE.search(message)
    return found["name"] if found else "statement"
