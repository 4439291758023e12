"""Every mart on Spark beside the same mart on DuckDB, row for row, over the same landing zone.

    python bench/olap/compare_engines.py [--remote sc://host:15002]

Without --remote it starts Sail, which speaks Spark Connect without a JVM. Needs `pyspark-client` and, without --remote,
`pysail`. Prints one JSON document; exits with 1 when a row differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pyspark.sql import SparkSession

from penguinmails.olap.engines import make_marts
from penguinmails.olap.marts import MARTS
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import open_marts
from penguinmails.olap.roll_up import landing_of, roll_up
from penguinmails.stack.stores import Stores, resolve


def compare(stores: Stores, session: SparkSession) -> list[dict[str, Any]]:
    """Returns, for every mart, its rows and how many differ."""
    landing = landing_of(stores)
    files: dict[str, list[tuple[int, str]]] = {}
    for batch in landing.chain():
        for table, landed in landing.manifest(batch).sources.items():
            files.setdefault(table, []).extend((batch, str(path)) for path in landing.fetch(landed))
    make_marts(session, landing, files)
    found = []
    with open_marts(stores) as connection:
        for mart in MARTS:
            names = [name for name in mart.column_names if name != "updated"]
            started_at = time.perf_counter()
            theirs = sorted(
                tuple(_plain(value) for value in row) for row in session.table(mart.name).select(*names).collect()
            )
            seconds = time.perf_counter() - started_at
            question = f"SELECT {', '.join(names)} FROM {mart.name}"
            ours = sorted(tuple(_plain(value) for value in row) for row in connection.execute(question).fetchall())
            differing = len(set(ours) ^ set(theirs)) + abs(len(ours) - len(theirs))
            found.append({"mart": mart.name, "rows": len(ours), "differing": differing, "seconds": round(seconds, 3)})
    return found


def _plain(value: object) -> str:
    """Both engines' values in one spelling: UUIDs without hyphens, numbers to six places."""
    if value is None:
        return ""
    if isinstance(value, (float, Decimal)):
        return f"{float(value):.6f}"
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    return str(value).replace("-", "") if isinstance(value, (UUID, str)) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--remote", help="address of a Spark Connect server")
    remote = parser.parse_args().remote
    server = None
    if remote is None:
        from pysail.spark import SparkConnectServer

        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        remote = "sc://{}:{}".format(*server.listening_address)
    stores = resolve()
    roll_up(stores)
    publish(stores)
    session = SparkSession.builder.remote(remote).getOrCreate()
    try:
        found = compare(stores, session)
    finally:
        session.stop()
        if server is not None:
            server.stop()
    json.dump(found, sys.stdout, indent=2)
    return 1 if any(mart["differing"] for mart in found) else 0


if __name__ == "__main__":
    sys.exit(main())
