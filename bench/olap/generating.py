"""The database that the measurements of the OLAP tier are taken on.

    python bench/olap/generating.py --events 10000000 [--tenants 500]

makes it in the stores of the environment, so give it a home of its own (PENGUINMAILS_HOME), never one that matters. Run
again, it does nothing; `more` adds what happens next.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from pydantic import SecretStr

from penguinmails.oltp.schema import migrate
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import resolve

QUERIES = Queries(Path(__file__).parent / "generate.sql")
WORLD = tuple(name for name in list(QUERIES)[: list(QUERIES).index("messages_and_events")])
EVENTS_PER_MESSAGE = 3.17
DAYS = 90
TENANTS = 500
_CHUNK_MESSAGES = 200_000


def connect(url: SecretStr) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        url.get_secret_value(), autocommit=True, options="-c role=pm_loader -c synchronous_commit=off -c timezone=UTC"
    )


def count(connection: psycopg.Connection[tuple[object, ...]], what: str) -> int:
    row = connection.execute(QUERIES[what]).fetchone()
    return int(str(row[0])) if row else 0


def make(url: SecretStr, *, events: int, tenants: int = TENANTS) -> None:
    """Makes tenants and, over 90 days, about that many events of theirs."""
    with connect(url) as connection:
        if count(connection, "messages"):
            return
        until = datetime.now(UTC)
        for name in WORLD:
            connection.execute(QUERIES[name], {"tenants": tenants, "until": until})
    more(url, first=1, events=events, days=DAYS, tenants=tenants, until=until)
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        connection.execute(QUERIES["analyze"])


def more(
    url: SecretStr, *, first: int, events: int, days: float, tenants: int = TENANTS, until: datetime | None = None
) -> int:
    """Adds about that many events on messages sent in the days until now, and returns the number of the next message."""
    last = first + max(int(events / EVENTS_PER_MESSAGE), 1) - 1
    parameters = {"tenants": tenants, "first": first, "last": last, "days": days, "until": until or datetime.now(UTC)}
    with connect(url) as connection:
        for start in range(first, last + 1, _CHUNK_MESSAGES):
            chunk = {"chunk_first": start, "chunk_last": min(start + _CHUNK_MESSAGES - 1, last)}
            connection.execute(QUERIES["messages_and_events"], parameters | chunk)
    return last + 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    arguments = parser.parse_args()
    started_at = time.perf_counter()
    stores = resolve()
    migrate(stores)
    make(stores.oltp_url, events=arguments.events, tenants=arguments.tenants)
    with connect(stores.oltp_url) as connection:
        found = {what: count(connection, what) for what in ("messages", "events")}
    json.dump(found | {"seconds": round(time.perf_counter() - started_at, 1)}, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
