"""The index in PostgreSQL: its migrations, its connections, its queries.

Belongs here: opening it and turning its failures into typed errors. Does not belong here: what a query is used for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool

from penguinmails.stack import migrations
from penguinmails.stack.errors import ServerError
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

_HERE = Path(__file__).parent
QUERIES = Queries(_HERE / "index.sql")
SCHEMA = migrations.Schema(
    "content tier", _HERE / "migrations", lambda stores: stores.content_url, "penguinmails content migrate"
)

_CONNECT_TIMEOUT_SECONDS = 10
_PARAMETERS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
    "application_name": "penguinmails content",
    # Row level security holds for the owner of the tables too: this tier says that it works for all tenants.
    "options": "-c statement_timeout=120s -c lock_timeout=30s -c app.works_for=all_tenants",
}


def migrate(stores: Stores) -> list[str]:
    """Brings the content database up to date; returns the revisions applied, in order."""
    return migrations.migrate(stores.content_url, SCHEMA.folder)


Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]


def connect(stores: Stores) -> Connection:
    """Opens a connection on which every statement is its own transaction, unless one is opened.

    Raises:
        ServerError: the content database cannot be reached.
    """
    with typed_errors():
        return psycopg.connect(stores.content_url.get_secret_value(), **_PARAMETERS)


def pool(stores: Stores, connections: int) -> psycopg_pool.ConnectionPool[Connection]:
    """Opens a pool of such connections; the first is made when it is needed."""
    return psycopg_pool.ConnectionPool(
        stores.content_url.get_secret_value(),
        kwargs=_PARAMETERS,
        min_size=0,
        max_size=connections,
        timeout=_CONNECT_TIMEOUT_SECONDS,
        open=True,
        name="content",
    )


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Turns a lost or unreachable database into this platform's error."""
    try:
        yield
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout) as error:
        raise ServerError(
            "content database",
            f"does not answer ({type(error).__name__})",
            "Start it (penguinmails up) or check PENGUINMAILS_CONTENT_URL, then run again: nothing is lost.",
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise ServerError("content database", "has no tables yet", "Run 'penguinmails content migrate'.") from error
