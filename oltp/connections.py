"""Direct connections of pipelines, each in the role its work needs.

Belongs here: opening a connection as loader, reader or owner. Does not belong here: the application's pooled, tenant-bound
connections (tenancy.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from pydantic import SecretStr

from penguinmails.stack.errors import ServerError

Result = TypeVar("Result")
_ATTEMPTS = 5
Connection = psycopg.Connection[TupleRow]


class Role(StrEnum):
    """Group roles that the migrations make; see docs/oltp.md for what each may."""

    OWNER = "pm_owner"
    APP = "pm_app"
    LOADER = "pm_loader"
    PLATFORM = "pm_platform"
    READER = "pm_reader"
    STAFF = "pm_staff"


@contextmanager
def connect(url: SecretStr, role: Role | None = None, **options: Any) -> Iterator[Connection]:
    """Opens a connection, takes the role and closes the connection at the end.

    Args:
        url: PostgreSQL URL of a login that may take the role.
        role: group role to take for the whole session; None keeps the login itself.
        options: passed to psycopg.connect; autocommit is on unless said otherwise.

    Raises:
        ServerError: the database cannot be reached, or has not been migrated.
    """
    options.setdefault("autocommit", True)
    try:
        connection = psycopg.connect(url.get_secret_value(), **options)
    except psycopg.OperationalError as error:
        raise ServerError(
            "OLTP database", f"cannot be reached ({type(error).__name__})", "Run 'penguinmails status', mend and retry."
        ) from None
    try:
        with connection:
            if role is not None:
                take_role(connection, role)
            yield connection
    except psycopg.OperationalError as error:
        raise ServerError(
            "OLTP database",
            f"ended the work ({type(error).__name__})",
            "What was committed stays; check the server and run again.",
        ) from error


def settled(connection: Connection, work: Callable[[], Result]) -> Result:
    """Runs `work` in a transaction, again when the server chose it as the victim of a deadlock; returns its result.

    Raises:
        psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure: it was the victim every time.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            with connection.transaction():
                return work()
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            continue
    with connection.transaction():
        return work()


def take_role(connection: Connection, role: Role) -> None:
    """Takes the role for the rest of the session.

    Raises:
        ServerError: the role is missing or may not be taken.
    """
    try:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege):
        raise ServerError(
            f"role {role}", "cannot be taken by this login", "Run 'penguinmails oltp migrate' with the migrating login."
        ) from None
