"""The figures of the OLAP tier that docs/olap.md gives, one after the other or each by its name.

    python bench/olap/generating.py --events 10000000        the database they are taken on, once
    python bench/olap/measure.py extraction build dashboard  see --help for all

Uses the stores of the environment, with a home of its own (PENGUINMAILS_HOME): `increments`, `freshness` and `readers` add
events to the operational database there, so never point it at one that matters. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from generating import connect, count, more

from penguinmails.olap.extraction import open_extraction
from penguinmails.olap.publishing import publish
from penguinmails.olap.reading import newest_snapshot, open_marts
from penguinmails.olap.roll_up import landing_of, rebuild, roll_up
from penguinmails.olap.sources import EMAIL_EVENTS
from penguinmails.stack.stores import Stores, resolve

PROCESSES = multiprocessing.get_context("spawn")
MARTS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "marts.md"
INCREMENTS = (100, 1_000, 10_000)
COMMITS = 50
READERS = 2
OPENS = 10_000
SEED = 7
_GIVE_UP_SECONDS = 60.0
_TORN = """
SELECT
    (SELECT SUM(sent) FROM email_daily WHERE campaign_id IS NOT NULL),
    (SELECT SUM(sent) FROM campaign_analytics),
    (SELECT COUNT(*) FROM email_daily),
    (SELECT rows FROM _marts WHERE mart = 'email_daily')
"""


def extraction(repeat: int) -> dict[str, Any]:
    """All events into the landing zone: read, written as Parquet, sent to the object store."""
    found = [in_a_process(_extract) for _ in range(repeat)]
    return {
        "events": found[0]["events"],
        "events_per_second": statistics.median(run["events"] / run["seconds"] for run in found),
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in found),
    }


def _extract() -> dict[str, Any]:
    stores = resolve()
    folder = stores.marts_folder / "bench"
    landing = landing_of(stores, incoming=folder)
    started_at = time.perf_counter()
    try:
        with open_extraction(stores.oltp_url) as opened:
            landed = landing.write(
                EMAIL_EVENTS, 0, opened.batches(EMAIL_EVENTS, changes=False), whole=True, send_at_once=True
            )
        seconds = time.perf_counter() - started_at
        stores.open_bucket().delete([part.key for part in landed.parts])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"events": landed.rows, "seconds": seconds}


def build(repeat: int) -> dict[str, Any]:
    """All facts from the landing zone, and all marts into a new file."""
    found = [in_a_process(_build) for _ in range(repeat)]
    return {
        name: statistics.median(run[name] for run in found)
        for name in ("events", "facts_seconds", "marts_seconds", "peak_memory_bytes")
    }


def _build() -> dict[str, Any]:
    stores = resolve()
    started_at = time.perf_counter()
    rebuild(stores)
    facts_at = time.perf_counter()
    publish(stores)
    finished_at = time.perf_counter()
    with connect(stores.oltp_url) as connection:
        events = count(connection, "events")
    return {"events": events, "facts_seconds": facts_at - started_at, "marts_seconds": finished_at - facts_at}


def increments(repeat: int) -> dict[str, Any]:
    """From the commit of new events to their publication, by how many they are."""
    stores = resolve()
    roll_up(stores)
    publish(stores, whole=False)
    found: dict[str, Any] = {}
    for size in INCREMENTS:
        seconds = []
        for _ in range(repeat):
            add_events(stores, size)
            started_at = time.perf_counter()
            roll_up(stores)
            publish(stores, whole=False)
            seconds.append(time.perf_counter() - started_at)
        found[f"seconds_for_{size}_events"] = statistics.median(seconds)
    with connect(stores.oltp_url) as connection:
        return {"events_of_history": count(connection, "events"), **found}


def dashboard(repeat: int) -> dict[str, Any]:
    """Every question of docs/marts.md on the published file, for a tenant and a campaign drawn anew each time."""
    dice = random.Random(SEED)
    found = {}
    with open_marts(resolve()) as connection:
        campaigns = connection.execute("SELECT tenant_id, campaign_id FROM campaign_analytics").fetchall()
        for question in documented_questions():
            names = sorted(set(re.findall(r"\$(\w+)", question)))
            seconds = []
            for _ in range(repeat * 40):
                drawn = dict(zip(("tenant_id", "campaign_id"), dice.choice(campaigns), strict=True))
                started_at = time.perf_counter()
                connection.execute(question, {name: drawn[name] for name in names}).fetchall()
                seconds.append(time.perf_counter() - started_at)
            title = question.strip().splitlines()[0].removeprefix("-- ").rstrip(".?")
            found[title] = {"p50_seconds": statistics.median(seconds), "p95_seconds": quantile(seconds, 0.95)}
    return {"slowest_p95_seconds": max(each["p95_seconds"] for each in found.values()), "questions": found}


def documented_questions() -> Iterator[str]:
    for block in re.findall(r"```sql\n(.*?)```", MARTS_PAGE.read_text(), re.DOTALL):
        yield from (question for question in block.split(";\n") if question.strip())


def freshness() -> dict[str, Any]:
    """From a commit in the operational database to the publication that holds it, while `marts follow` runs."""
    stores = resolve()
    roll_up(stores)
    publish(stores)
    dice = random.Random(SEED)
    seconds = []
    with following():
        for _ in range(COMMITS):
            add_events(stores, 100)
            committed_at = datetime.now(UTC)
            wait_for_publication(stores, committed_at)
            seconds.append((datetime.now(UTC) - committed_at).total_seconds())
            time.sleep(dice.random() * 0.5)
    return {
        "commits": COMMITS,
        "p50_seconds": statistics.median(seconds),
        "p99_seconds": quantile(seconds, 0.99),
        "longest_seconds": max(seconds),
    }


def readers() -> dict[str, Any]:
    """Opens and questions of two processes, while another process publishes without a pause."""
    stores = resolve()
    roll_up(stores)
    publish(stores)
    stop = PROCESSES.Event()
    publisher = PROCESSES.Process(target=_publish_on_and_on, args=(stop,))
    publisher.start()
    try:
        with PROCESSES.Pool(READERS) as pool:
            found = pool.map(_read, [OPENS // READERS] * READERS)
    finally:
        stop.set()
        publisher.join(_GIVE_UP_SECONDS)
    return {
        "opens": sum(run["opens"] for run in found),
        "errors": sum(run["errors"] for run in found),
        "torn_reads": sum(run["torn_reads"] for run in found),
        "publications_seen": max(run["publications_seen"] for run in found),
        "open_and_read_p95_seconds": max(run["p95_seconds"] for run in found),
    }


def _publish_on_and_on(stop: Any) -> None:
    stores = resolve()
    whole = False
    while not stop.is_set():
        add_events(stores, 20)
        roll_up(stores)
        publish(stores, whole=whole, kept_snapshots=3)
        whole = not whole


def _read(opens: int) -> dict[str, Any]:
    stores = resolve()
    numbers = set()
    errors = torn = 0
    seconds = []
    for _ in range(opens):
        started_at = time.perf_counter()
        try:
            with open_marts(stores) as connection:
                in_days, in_campaigns, rows, rows_said = connection.execute(_TORN).fetchall()[0]
                numbers.add(connection.execute("SELECT number FROM _meta").fetchall()[0])
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is what is counted
            errors += 1
            print(repr(error), file=sys.stderr)
            continue
        torn += (in_days, rows) != (in_campaigns, rows_said)
        seconds.append(time.perf_counter() - started_at)
    return {
        "opens": opens,
        "errors": errors,
        "torn_reads": torn,
        "publications_seen": len(numbers),
        "p95_seconds": quantile(seconds, 0.95),
    }


@contextmanager
def following() -> Iterator[None]:
    """`penguinmails marts follow` as a process of its own."""
    command = [sys.executable, "-m", "penguinmails.stack.cli", "marts", "follow"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def wait_for_publication(stores: Stores, committed_at: datetime) -> None:
    give_up_at = time.monotonic() + _GIVE_UP_SECONDS
    looked_at = None
    while time.monotonic() < give_up_at:
        newest = newest_snapshot(stores.marts_folder)
        if newest != looked_at:
            looked_at = newest
            with open_marts(stores) as connection:
                ((as_of,),) = connection.execute("SELECT as_of FROM _meta").fetchall()
            if as_of.replace(tzinfo=UTC) >= committed_at:
                return
        time.sleep(0.01)
    sys.exit(f"Nothing newer was published within {_GIVE_UP_SECONDS:g} s.")


def add_events(stores: Stores, events: int) -> None:
    """Adds about that many events of messages sent in the last hours; one commit."""
    global _next_message
    if _next_message is None:
        with connect(stores.oltp_url) as connection:
            _next_message = count(connection, "messages") + 1
    _next_message = more(stores.oltp_url, first=_next_message, events=events, days=3)


_next_message: int | None = None


def in_a_process(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs `work` in a process of its own, so that its peak memory is its own."""
    with PROCESSES.Pool(1) as pool:
        return pool.apply(_with_peak_memory, [work])


def _with_peak_memory(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    done = work()
    # Not ru_maxrss, in which the process that started this one counts as well.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {**done, "peak_memory_bytes": int(peak) * 1024}


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


MEASUREMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "extraction": extraction,
    "build": build,
    "increments": increments,
    "dashboard": dashboard,
    "freshness": lambda _: freshness(),
    "readers": lambda _: readers(),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=MEASUREMENTS)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    document = {what: MEASUREMENTS[what](arguments.repeat) for what in arguments.what}
    json.dump(document, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
