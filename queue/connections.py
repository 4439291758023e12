"""Connections of the queue's processes to PostgreSQL.

Belongs here: how they are opened and what their session is set to. Does not belong here: what is asked on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from pydantic import SecretStr

from penguinmails.queue.errors import SessionShared
from penguinmails.stack.errors import ServerError

Connection = psycopg.Connection[tuple[Any, ...]]

# Statistics about states that last milliseconds are always stale; with other plans open to it the planner now and then
# reads every row in flight. Batches of the protocol are only ever right as: walk the batch, find each row by its key.
# One plan for all parameters: making another for every batch takes longer than a batch of one.
_PLANS: LiteralString = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; "
    "SET plan_cache_mode = force_generic_plan"
)
_NO_WAIT: LiteralString = "SET synchronous_commit = off"
_LIMITS: LiteralString = "SET statement_timeout = '60s'; SET lock_timeout = '10s'; SET TIME ZONE 'UTC'"

_LOOKS = 5

# A server that vanishes without a word (a machine switched off, a cut cable) is noticed within about 20 seconds.
_NETWORK: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


@contextmanager
def connect(url: SecretStr) -> Iterator[Connection]:
    """Opens an autocommit connection for reading, probing and changing queues, closed afterwards; any pooler will do."""
    connection = _open(url, _LIMITS)
    try:
        yield connection
    finally:
        connection.close()


def open_protocol_connection(url: SecretStr, *, waits_for_disk: bool = True) -> Connection:
    """Opens an autocommit connection whose plans cannot tip over: for the statements of the protocol only.

    Args:
        waits_for_disk: False for a process whose last changes may be undone by a crash of PostgreSQL without any harm.

    Raises:
        ServerError: PostgreSQL does not answer.
        SessionShared: a pooler in between gives this session to others.
    """
    connection = _open(url, _LIMITS, _PLANS, *([] if waits_for_disk else [_NO_WAIT]), prepares=True)
    try:
        _require_own_session(connection, lambda: _open(url))
    except BaseException:
        connection.close()
        raise
    return connection


def _require_own_session(connection: Connection, open_another: Callable[[], Connection]) -> None:
    """Makes sure that no other connection is given the session of this one between two transactions."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row == (connection.info.backend_pid,):
        return  # no pooler: those make up the number they give
    mark = uuid4().hex
    another = open_another()
    try:
        is_shared = False
        # A pooler mostly gives out the session that came back last, unless somebody comes in between.
        for _ in range(_LOOKS):
            connection.execute("SELECT set_config('penguinmails.session', %s, false)", [mark])
            found = another.execute("SELECT current_setting('penguinmails.session', true)").fetchone()
            is_shared = is_shared or found == (mark,)
    finally:
        another.close()
    if is_shared:
        raise SessionShared(
            "PENGUINMAILS_QUEUE_URL",
            "leads through a pooler that gives sessions to others between transactions",
            "Give relay, worker and reaper the server itself, or a pooler in session mode; producers may use any.",
        )


def _open(url: SecretStr, *settings: LiteralString, prepares: bool = False) -> Connection:
    try:
        connection = psycopg.connect(
            url.get_secret_value(),
            autocommit=True,
            prepare_threshold=5 if prepares else None,
            application_name="penguinmails queue",
            **_NETWORK,
        )
    except psycopg.OperationalError as error:
        raise ServerError(
            "PostgreSQL of the queue",
            f"cannot be reached ({type(error).__name__})",
            "Start it (penguinmails up) or check PENGUINMAILS_QUEUE_URL, then run again.",
        ) from None
    try:
        for setting in settings:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection
