"""What a person is told about a row that the database refuses.

Belongs here: turning errors of the server into typed ones that name table, column and problem. Never the value: it may be
personal. Does not belong here: the rules themselves (migrations/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from penguinmails.oltp.tables import TABLES
from penguinmails.stack.errors import InputError

_TABLE = re.compile(r"\b(?:table|relation) \"?(?P<name>\w+)")
_TYPE = re.compile(r"\bfor type (?P<name>[a-z][a-z ]*)")
_KEY_ENDINGS = ("_fkey", "_key", "_pkey", "_unique")


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
    table = _declared(error.diag.table_name or _named_table(error.diag.message_primary or ""))
    rule = error.diag.constraint_name or ""
    column, rest = _column_of_rule(table, rule)
    column = error.diag.column_name or column
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
            return RowRefused(
                thing, f"breaks the rule '{rest.replace('_', ' ')}'", "See the column's comment for what it takes."
            )
        case psycopg.errors.InsufficientPrivilege():
            return RowRefused(thing, "is not this tenant's to read or write", "Open a session of the right tenant.")
        case psycopg.errors.StringDataRightTruncation():
            return RowRefused(thing, "holds a text that is too long for its column", "Shorten the text.")
        case psycopg.errors.InvalidTextRepresentation():
            found = _TYPE.search(error.diag.message_primary or "")
            problem = f"holds a value that is no {found['name'].strip()}" if found else "holds a value of no such type"
            return RowRefused(thing, problem, "Look at ids, numbers and times.")
        case _:
            return RowRefused(
                thing, f"holds a value that cannot be stored ({type(error).__name__})", "Correct the value."
            )


def _named_table(message: str) -> str:
    """Errors about rights name their table in the message only."""
    found = _TABLE.search(message)
    return found["name"] if found else "statement"


def _declared(table: str) -> str:
    """The table that a partition belongs to; every other name as it is."""
    owners = [name for name, declared in TABLES.items() if declared.partitioned_by and table.startswith(f"{name}_")]
    return owners[0] if owners and table not in TABLES else table


def _column_of_rule(table: str, rule: str) -> tuple[str, str]:
    """The column that a rule is about and what it says, by its name: TABLE_COLUMN_is_known, TABLE_tenant_id_COLUMN_fkey."""
    rest = rule.removeprefix(f"{table}_")
    names = [column.name for column in TABLES[table].columns] if table in TABLES else []
    if rest.endswith(_KEY_ENDINGS):
        key = re.sub(r"_(?:fkey|key|pkey|unique)\d*$", "", rest)
        found = [name for name in names if key == name or key.endswith(f"_{name}")]
        return max(found, key=len, default=""), rest
    found = [name for name in names if rest.startswith(f"{name}_")]
    column = max(found, key=len, default="")
    return column, rest.removeprefix(f"{column}_") if column else rest
