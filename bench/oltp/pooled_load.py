"""The documented mix of the application at an offered rate: many sessions, few connections, 100 tenants.

    python bench/oltp/pooled_load.py [--rate 1000] [--seconds 30] [--warm-up-seconds 5] [--connections 20] [--processes 2]
        [--sealed]

Transactions arrive on a schedule that does not wait (an open loop), as from 1,000 sessions with one transaction a second each;
a latency counts from the moment it was due, so that a queue shows. 65 % read. Needs a seeded database (penguinmails oltp
seed --scale documented). It adds events and touches leads. With --sealed the database asks for signed contexts meanwhile; what it
did before it does again afterwards. Takes --seconds and some more. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from psycopg.rows import dict_row

from penguinmails.oltp import contexts
from penguinmails.oltp.connections import Role, connect
from penguinmails.oltp.statements import QUERIES, run
from penguinmails.oltp.tenancy import Session, open_pool, tenant_session
from penguinmails.stack.stores import Stores, resolve

TENANTS = 100
SAMPLES = """
    SELECT DISTINCT ON (messages.tenant_id)
        messages.tenant_id, messages.id AS message_id, messages.lead_id, messages.campaign_id, messages.email_account_id,
        leads.email, left(leads.email, 3) AS prefix,
        (SELECT id FROM templates WHERE tenant_id = messages.tenant_id LIMIT 1) AS template_id,
        (SELECT id FROM subscriptions WHERE tenant_id = messages.tenant_id LIMIT 1) AS subscription_id
    FROM email_messages AS messages
    JOIN leads ON leads.tenant_id = messages.tenant_id AND leads.id = messages.lead_id
    WHERE messages.campaign_id IS NOT NULL
    ORDER BY messages.tenant_id, messages.id DESC
    LIMIT %(tenants)s
"""
TOUCH_LEAD = "UPDATE leads SET updated = updated WHERE id = %(lead_id)s"
NOTE_OPEN = """
    INSERT INTO email_events (message_id, campaign_id, lead_id, event_type, occurred_at)
    VALUES (%(message_id)s, %(campaign_id)s, %(lead_id)s, 'opened', now())
"""
READS = ("campaigns_by_status", "leads_by_status", "leads_by_prefix", "lead_by_email", "messages_of_lead", "inbox",
         "message", "events_of_message", "last_payment")  # fmt: skip


def one_transaction(dice: random.Random, session: Session, values: dict[str, Any]) -> None:
    """One transaction of the mix."""
    if dice.random() < 0.65:
        name = dice.choice(READS)
        run(session, name, values | {"status": "active" if name.startswith("leads") else "sending"}).fetchall()
    else:
        session.execute(dice.choice((TOUCH_LEAD, NOTE_OPEN, QUERIES["note_template_use"])), values)


def work(stores: Stores, arguments: argparse.Namespace, number: int, answer: Any) -> None:
    """One process: its share of connections and of the rate."""
    with connect(stores.oltp_url, Role.LOADER) as connection, connection.cursor(row_factory=dict_row) as cursor:
        samples = cursor.execute(SAMPLES, {"tenants": TENANTS}).fetchall()
    connections = arguments.connections // arguments.processes
    gap = arguments.processes / arguments.rate
    latencies: list[tuple[float, float]] = []
    lock = threading.Lock()
    due = [0]
    started = time.perf_counter() + 1

    def serve(seed: int) -> None:
        dice = random.Random(f"{number} {seed}")
        while True:
            with lock:
                place = due[0]
                due[0] += 1
            at = started + place * gap
            if at > started + arguments.seconds:
                return
            time.sleep(max(at - time.perf_counter(), 0))
            values = dice.choice(samples)
            with tenant_session(pool, values["tenant_id"]) as session:
                one_transaction(dice, session, values)
            latencies.append((at - started, time.perf_counter() - at))

    with open_pool(stores, max_connections=connections, min_connections=connections) as pool:
        pool.wait()
        threads = [threading.Thread(target=serve, args=[seed]) for seed in range(connections)]
        run_all(threads)
    answer.put((latencies, time.perf_counter() - started))


@contextlib.contextmanager
def contexts_as(state: contexts.State, stores: Stores) -> Iterator[None]:
    """The database is open or sealed, and afterwards what it was before."""
    order = contexts.Order("bench", "measuring what contexts cost")
    set_to = {contexts.State.OPEN: contexts.open_, contexts.State.SEALED: contexts.seal}
    before = contexts.status(stores).state
    set_to[state](stores, order)
    try:
        yield
    finally:
        if before is not None and before is not state:
            set_to[before](stores, order)


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="transactions a second that arrive")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--warm-up-seconds", type=float, default=5, help="at the start, left out: caches fill")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sealed", action="store_true", help="contexts are signed, and believed for that only")
    arguments = parser.parse_args()
    stores = resolve()
    state = contexts.State.SEALED if arguments.sealed else contexts.State.OPEN
    answers: Any = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=work, args=(stores, arguments, number, answers))
        for number in range(arguments.processes)
    ]
    with contexts_as(state, stores):
        for process in processes:
            process.start()
        results = [answers.get() for _ in processes]
        for process in processes:
            process.join()
    timed = [each for found, _ in results for each in found]
    latencies = sorted(latency for at, latency in timed if at >= arguments.warm_up_seconds)
    worst_of_second: dict[int, float] = {}
    for at, latency in timed:
        worst_of_second[int(at)] = max(worst_of_second.get(int(at), 0.0), round(latency * 1000, 1))
    percentile: Callable[[float], float] = lambda share: round(latencies[int(len(latencies) * share)] * 1000, 2)  # noqa: E731
    print(
        json.dumps(
            {
                "contexts": state,
                "offered_per_second": arguments.rate,
                "achieved_per_second": round(len(timed) / max(seconds for _, seconds in results), 1),
                "transactions": len(latencies),
                "connections": arguments.connections,
                "p50_milliseconds": percentile(0.5),
                "p95_milliseconds": percentile(0.95),
                "p99_milliseconds": percentile(0.99),
                "mean_milliseconds": round(statistics.mean(latencies) * 1000, 2),
                "worst_milliseconds_by_second": [worst for _, worst in sorted(worst_of_second.items())],
                "aim": {"p95_milliseconds": 10, "p99_milliseconds": 50, "offered_per_second": 1000},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
