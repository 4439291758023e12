"""How fast the marts come about: extraction, build from scratch, an increment, publication, questions.

    python bench/olap/pipeline.py --events 1000000 [--increment 1000] [--repeat 3]

Uses the stores of the environment, with a home of its own (PENGUINMAILS_HOME); adds that many generated events to the
operational database there, so never point it at one that matters. Prints one JSON document of seconds, rows and bytes.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from penguinmails.olap.extraction import open_extraction
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import open_marts
from penguinmails.olap.roll_up import landing_of, rebuild, roll_up
from penguinmails.olap.sources import EMAIL_EVENTS
from penguinmails.olap.verifying import verify
from penguinmails.oltp.intake import load_mail
from penguinmails.oltp.schema import migrate
from penguinmails.oltp.synthetic import synthetic_source
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores, resolve

GENERATE = Queries(Path(__file__).parent / "generate.sql")["events"]
EVENTS_PER_MESSAGE = 4
QUESTIONS = {
    "weekly volume": "SELECT DATE_TRUNC('week', day), SUM(sent), SUM(replied) FROM tenant_daily GROUP BY ALL",
    "campaigns": "SELECT * FROM campaign_analytics ORDER BY sent DESC LIMIT 50",
    "campaign rates": "SELECT * FROM campaign_rates ORDER BY sent DESC LIMIT 50",
    "mailbox health": "SELECT health_score, COUNT(*) FROM mailbox_analytics GROUP BY ALL",
    "executive summary": "SELECT * FROM executive_business_summary",
}


def generate(stores: Stores, events: int) -> None:
    with psycopg.connect(stores.oltp_url.get_secret_value(), options="-c role=pm_loader") as connection:
        connection.execute(GENERATE, {"messages": events // EVENTS_PER_MESSAGE})


def seconds(work: Callable[[], Any]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def read_events(stores: Stores) -> int:
    with open_extraction(stores.oltp_url) as extraction:
        return sum(batch.num_rows for batch in extraction.batches(EMAIL_EVENTS, changes=False))


def land_events(stores: Stores) -> int:
    folder = stores.marts_folder / "bench"
    try:
        with open_extraction(stores.oltp_url) as extraction:
            landing = landing_of(stores, incoming=folder)
            return landing.write(EMAIL_EVENTS, 0, extraction.batches(EMAIL_EVENTS, changes=False), whole=True).rows
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def increments(stores: Stores, size: int, repeat: int) -> list[float]:
    found = []
    for _ in range(repeat):
        generate(stores, size)
        found.append(seconds(lambda: (roll_up(stores), publish(stores))))
    return found


def questions(stores: Stores, repeat: int) -> dict[str, float]:
    with open_marts(stores) as connection:
        return {
            name: statistics.median(seconds(lambda: connection.execute(text).fetchall()) for _ in range(repeat))  # noqa: B023
            for name, text in QUESTIONS.items()
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--increment", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    stores = resolve()
    migrate(stores)
    load_mail(stores, synthetic_source(seed=1, messages=200))
    generate(stores, arguments.events)
    roll_up(stores)
    document: dict[str, Any] = {
        "events": read_events(stores),
        "read_seconds": statistics.median(seconds(lambda: read_events(stores)) for _ in range(arguments.repeat)),
        "land_seconds": statistics.median(seconds(lambda: land_events(stores)) for _ in range(arguments.repeat)),
        "rebuild_from_landing_seconds": seconds(lambda: rebuild(stores)),
        "publish_seconds": seconds(lambda: publish(stores)),
        "increment_to_published_seconds": increments(stores, arguments.increment, arguments.repeat),
        "question_seconds": questions(stores, 20),
        "differing_rows": sum(table.missing + table.unexpected for table in verify(stores)),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "build_bytes": sum(path.stat().st_size for path in (stores.marts_folder / "build").glob("*.duckdb")),
        "published_bytes": (stores.marts_folder / "marts.duckdb").stat().st_size,
    }
    json.dump(document, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
