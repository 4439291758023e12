"""Every mart on Spark beside the same mart on DuckDB, row for row, over the same landing zone.

    python bench/olap/compare_engines.py                             Sail, which speaks Spark Connect without a JVM
    python bench/olap/compare_engines.py --standalone                real Spark: a master and two workers on this machine
    python bench/olap/compare_engines.py --master spark://host:7077  a cluster; Spark Connect is started on this machine
    python bench/olap/compare_engines.py --remote sc://host:15002    a Spark Connect server that runs already
    ... --events 20000                                               on events generated in a home of this run

--standalone and --master need Java 17 or newer; Spark itself is installed into an environment of its own, outside the
project's. A cluster on other machines reads the bucket itself: `--landing s3a://bucket`. Without --events it uses the stores of
the environment (PENGUINMAILS_HOME). Prints one JSON document; exits with 1 when a row differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from homes import own_home
from spark_standalone import connect_server, standalone_cluster

from penguinmails.olap.distributed import open_session, publish_from_engine
from penguinmails.olap.publishing import publish
from penguinmails.olap.roll_up import rebuild, roll_up
from penguinmails.olap.verifying import compare_published
from penguinmails.stack.stores import Stores, resolve


@contextmanager
def engine(arguments: argparse.Namespace) -> Iterator[str]:
    """Yields the address of the Spark Connect server that was asked for, and stops what was started for it."""
    if arguments.remote:
        yield arguments.remote
    elif arguments.master:
        with connect_server(arguments.master) as address:
            yield address
    elif arguments.standalone:
        with standalone_cluster(workers=2) as master, connect_server(master) as address:
            yield address
    else:
        from pysail.spark import SparkConnectServer

        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        try:
            yield "sc://{}:{}".format(*server.listening_address)
        finally:
            server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--remote", help="address of a Spark Connect server")
    which.add_argument("--master", help="address of a Spark master")
    which.add_argument("--standalone", action="store_true", help="start a master and two workers here")
    parser.add_argument("--landing", help="the bucket as the engine reaches it")
    parser.add_argument("--events", type=int, help="how many to generate in a home of this run")
    arguments = parser.parse_args()
    if arguments.events:
        with own_home(events=arguments.events, tenants=20) as (stores, _):
            document = compare(stores, arguments)
    else:
        document = compare(resolve(), arguments)
    json.dump(document, sys.stdout, indent=2)
    print()
    return 1 if document["marts_that_differ"] else 0


def compare(stores: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Publishes by both engines, one after the other, and compares what they published."""
    roll_up(stores)
    started_at = time.perf_counter()
    rebuild(stores)
    ours = publish(stores)
    duckdb_seconds = time.perf_counter() - started_at
    with engine(arguments) as address, open_session(address) as session:
        version = session.sql("SELECT version()").collect()[0][0]
        theirs = publish_from_engine(stores, session, landing_address=arguments.landing)
    compared = compare_published(theirs.path, ours.path)
    return {
        "engine_version": version,
        "engine_seconds": round(theirs.seconds, 2),
        "duckdb_seconds": round(duckdb_seconds, 2),
        "marts": len(compared),
        "rows": sum(mart.rows for mart in compared),
        "marts_that_differ": [asdict(mart) for mart in compared if mart.missing or mart.unexpected],
    }


if __name__ == "__main__":
    sys.exit(main())
