"""What stands between the queue's processes and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from pydantic import SecretStr

from penguinmails.queue import connections
from penguinmails.queue.errors import SessionShared
from penguinmails.queue.schema import migrate_database


class _Pooled:
    """A connection through a pooler, which makes up the number of its session's process."""

    class info:  # noqa: N801 - as psycopg calls it
        backend_pid = -1

    def __init__(self, connection: psycopg.Connection) -> None:
        self.execute = connection.execute

    def close(self) -> None:
        """The session stays the pooler's."""


def test_a_pooler_that_gives_sessions_to_others_is_refused(
    template_database: Callable[[str, Callable[[SecretStr], object]], str],
    clone_database: Callable[[str, str], SecretStr],
) -> None:
    url = clone_database("queue", template_database("queue", migrate_database)).get_secret_value()
    with psycopg.connect(url, autocommit=True) as first, psycopg.connect(url, autocommit=True) as second:
        one, other = _Pooled(first), _Pooled(second)
        connections._require_own_session(first, lambda: pytest.fail("the server itself was suspected"))
        connections._require_own_session(one, lambda: other)  # type: ignore[arg-type,return-value]
        with pytest.raises(SessionShared):
            connections._require_own_session(one, lambda: _Pooled(first))  # type: ignore[arg-type,return-value]
