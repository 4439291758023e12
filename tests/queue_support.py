"""What the tests of the queue tier share: a database and a Redis of their own, handlers, short times.

The Redis is a server of this test process alone, so that a test may flush, freeze or kill it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import BaseModel, SecretStr

from penguinmails.queue.configuration import Configuration
from penguinmails.queue.handlers import Handler, Handlers, JobContext
from penguinmails.queue.schema import migrate_database
from penguinmails.stack import embedded
from penguinmails.stack.stores import Stores, resolve

QUEUE = "platform:ping"
SHORT = Configuration(
    lease_seconds=1.0,
    hand_off_seconds=0.5,
    sweep_seconds=0.1,
    poll_seconds=0.005,
    idle_poll_seconds=0.01,
    housekeeping_seconds=0.001,
    run_slack_seconds=2.0,
    stop_seconds=2.0,
)
"""Times that let a test see a whole recovery within two seconds."""
STEADY = dataclasses.replace(SHORT, lease_seconds=120.0, hand_off_seconds=120.0, run_slack_seconds=120.0)
"""The same without recovery: for tests of anything else, which must not lose a lease on a slow machine."""


@contextmanager
def own_redis() -> Iterator[embedded.Embedded]:
    """A Valkey server of its own, stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="penguinmails-valkey-") as folder:
        home = Path(folder)
        try:
            yield embedded.ensure(home, postgres=False, valkey=True, s3=False)
        finally:
            embedded.stop(home)


def make_stores(
    redis_server: embedded.Embedded,
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    clone_database: Callable[[str, str], SecretStr],
) -> Stores:
    """Stores whose queue is an empty database and an empty Redis."""
    url = clone_database("queue", template_database("queue", migrate_database))
    stores = dataclasses.replace(resolve(), queue_url=url, redis_url=redis_server.redis_url())
    client = stores.open_redis()
    client.flushall()
    client.close()
    return stores


class Note(BaseModel):
    """Payload of the tests' jobs."""

    note: str = ""


def handlers_of(function: Callable[[Note, JobContext], None], *queue_names: str) -> Handlers:
    """Handlers that do `function` for the queues named (default: the ping queue)."""
    return Handlers({name: Handler(name, Note, function) for name in queue_names or (QUEUE,)})


def nothing(_: Note, __: JobContext) -> None:
    """A handler that succeeds."""


def rows(stores: Stores, statement: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Returns what a statement gives on the queue's database."""
    with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def statuses(stores: Stores) -> dict[str, int]:
    """Returns how many jobs each status has."""
    return {row[0]: row[1] for row in rows(stores, "SELECT status, count(*) FROM jobs GROUP BY status")}


def job(stores: Stores, job_id: UUID) -> dict[str, Any]:
    """Returns one job."""
    with psycopg.connect(stores.queue_url.get_secret_value(), row_factory=psycopg.rows.dict_row) as connection:
        found = connection.execute("SELECT * FROM jobs WHERE id = %s", [job_id]).fetchone()
    assert found is not None
    return found


@pytest.fixture(scope="module", name="redis_server")
def _redis_server() -> Iterator[embedded.Embedded]:
    with own_redis() as server:
        yield server


@pytest.fixture(name="stores")
def _stores(
    redis_server: embedded.Embedded,
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    clone_database: Callable[[str, str], SecretStr],
) -> Stores:
    return make_stores(redis_server, template_database, clone_database)


@pytest.fixture(name="connection")
def _connection(stores: Stores) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
        yield connection


FIXTURES = (_redis_server, _stores, _connection)
"""A test module that wants them says `redis_server, stores, connection = FIXTURES`."""
