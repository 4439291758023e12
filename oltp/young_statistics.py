"""PostgreSQL's statistics of a database that is being filled for the first time.

Until autovacuum comes by, a minute after the first rows, the planner knows nothing of the tables and takes any index that
begins with the tenant: each look-up and each check of a foreign key then reads all the tenant has. So a load has tables analyzed
that have grown fourfold since they were.

Belongs here: when, and which tables. Does not belong here: settling a seeded database (seeding.py), which statistics there are
(migrations).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from penguinmails.oltp.connections import Role, connect
from penguinmails.stack.sql import Queries

_QUERIES = Queries(Path(__file__).parent / "young_statistics.sql")
_FIRST_MESSAGES = 500
_GROWTH = 4
_LAST_MESSAGES = 100_000
"""By then autovacuum has been there."""


class YoungStatistics:
    """Keeps statistics up with one load."""

    def __init__(self, url: SecretStr) -> None:
        """Asks nothing yet.

        Args:
            url: PostgreSQL URL of a login that may take the owner's role.
        """
        self._url = url
        self._due_messages = _FIRST_MESSAGES

    def loaded(self, messages: int) -> None:
        """Analyzes the tables if they are young and it is time.

        Args:
            messages: how many the load has written so far.

        Raises:
            ServerError: the database cannot be reached.
        """
        if not self._due_messages <= messages <= _LAST_MESSAGES:
            return
        while self._due_messages <= messages:
            self._due_messages *= _GROWTH
        with connect(self._url, Role.OWNER) as connection:
            for (statement,) in connection.execute(_QUERIES["analyze_young_tables"], {"growth": _GROWTH}).fetchall():
                connection.execute(statement)
