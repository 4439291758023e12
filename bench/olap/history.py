"""The roll-up as history grows, beside PostgreSQL and Spark: `python bench/olap/history.py`; prints one JSON document.

One database grows through the given sizes. At each of them:
- all facts from the landing zone and all marts into a new file, by DuckDB (`duckdb`);
- the same SELECTs, rendered for PostgreSQL, run there into unlogged tables (`postgresql`);
- the same on real Spark, a standalone master with two workers (`spark`; needs Java 17 or newer, see compare_engines.py);
- from the commit of new events to their publication: what an increment costs must not depend on what is there already.

Belongs here: that order. Does not belong here: measuring one thing (measure.py), the database (generating.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from generating import connect, count, more
from homes import own_home
from in_postgresql import recompute
from measure import build, increments
from spark_standalone import connect_server, standalone_cluster

from penguinmails.olap.distributed import open_session, publish_from_engine
from penguinmails.olap.roll_up import roll_up
from penguinmails.stack.stores import Stores

SIZES = (1_000_000, 5_000_000, 10_000_000)


def duckdb(_: Stores, repeat: int) -> dict[str, Any]:
    """Facts and marts by the reference engine."""
    return build(repeat)


def postgresql(stores: Stores, _: int) -> dict[str, Any]:
    """Facts and marts by the operational database itself."""
    return recompute(stores)


def spark(stores: Stores, _: int) -> dict[str, Any]:
    """Facts and marts by Spark; starting it does not count."""
    with (
        standalone_cluster(workers=2) as master,
        connect_server(master) as address,
        open_session(address) as session,
    ):
        return {"seconds": publish_from_engine(stores, session).seconds}


ENGINES: dict[str, Callable[[Stores, int], dict[str, Any]]] = {
    "duckdb": duckdb,
    "postgresql": postgresql,
    "spark": spark,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    found = []
    first, *others = sorted(arguments.events)
    with own_home(events=first) as (stores, _):
        found.append(at_this_size(stores, arguments))
        for events in others:
            grow(stores, events)
            found.append(at_this_size(stores, arguments))
    json.dump({"cores": os.cpu_count(), "load_average": os.getloadavg(), "sizes": found}, sys.stdout, indent=2)
    return 0


def grow(stores: Stores, events: int) -> None:
    """Adds messages over the same ninety days until there are about that many events."""
    with connect(stores.oltp_url) as connection:
        there, messages = count(connection, "events"), count(connection, "messages")
    more(stores.oltp_url, first=messages + 1, events=events - there, days=90)


def at_this_size(stores: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everything that was asked for on what is there now."""
    started_at = time.perf_counter()
    first = roll_up(stores)
    took: dict[str, Any] = {
        "rows_extracted": first.rows_extracted,
        "extracted_and_rolled_up_seconds": time.perf_counter() - started_at,
    }
    for engine in arguments.engines:
        print(f"{first.rows_extracted:,} rows more: {engine}", file=sys.stderr)
        took[engine] = ENGINES[engine](stores, arguments.repeat)
    took["increments"] = increments(arguments.repeat)
    return took


if __name__ == "__main__":
    sys.exit(main())
