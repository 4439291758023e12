"""What Prometheus sees, scraped over HTTP, and the dashboard made from it."""

from __future__ import annotations

import dataclasses
import re
import urllib.request
from pathlib import Path

import orjson
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from queue_support import FIXTURES, QUEUE, STEADY, Note, handlers_of, nothing

from penguinmails.queue import dashboard, limits_page
from penguinmails.queue.drain import drain
from penguinmails.queue.executors import InlineExecutor
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.metrics import GAUGES, TOTALS, QueueCollector, serve
from penguinmails.queue.process_metrics import COUNTERS, HISTOGRAMS, ObservedExecutor, ProcessCollector, ProcessTimes
from penguinmails.queue.producer import NewJob, enqueue_many
from penguinmails.queue.reaper import ReaperCounts
from penguinmails.queue.relay import Relay
from penguinmails.queue.thresholds import THRESHOLDS
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
DASHBOARD = Path(dashboard.__file__).with_name("grafana.json")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _scrape(*collectors: QueueCollector | ProcessCollector) -> Samples:
    server = serve(collectors, port=0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def _shown_by_the_dashboard() -> set[str]:
    """The metrics that the expressions of the dashboard file name."""
    panels = orjson.loads(DASHBOARD.read_bytes())["panels"]
    expressions = [panel["targets"][0]["expr"] for panel in panels if panel["type"] != "row"]
    return {
        name
        for each in expressions
        for name in re.findall(r"(?<=[(\s])([a-z0-9_]+)(?=[\[)])", re.sub(r"by \([^)]*\)", "", each))
    }


def test_prometheus_sees_the_whole_queue(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(20)))
    drain(stores, handlers_of(nothing), configuration=STEADY)
    enqueue_many(connection, (NewJob(QUEUE, {}, priority=10) for _ in range(7)))
    seen = _scrape(QueueCollector(stores))
    lane = {("queue", QUEUE), ("band", "high")}
    assert seen["queue_jobs", frozenset({*lane, ("status", "ready")})] == 7
    assert seen["jobs_finished_5_minutes", frozenset({("queue", QUEUE), ("outcome", "completed")})] == 20
    assert seen["queue_up", frozenset()] == seen["redis_up", frozenset()] == 1
    assert seen["redis_evicted_keys", frozenset()] == 0
    names = {name for name, _ in seen}
    assert {gauge.name for gauge in GAUGES} - names == {"queue_paused"}


def test_stores_that_are_away_are_said_to_be(stores: Stores) -> None:
    away = dataclasses.replace(stores, queue_url=SecretStr("postgresql://nobody@/none?host=/nonexistent"))
    assert _scrape(QueueCollector(away)) == {("queue_up", frozenset()): 0}


def test_each_process_serves_its_counts_and_times(stores: Stores, connection: psycopg.Connection) -> None:
    def fail_on_request(payload: Note, _: JobContext) -> None:
        if payload.note == "fail":
            raise RuntimeError

    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(5)))
    enqueue_many(connection, [NewJob(QUEUE, {"note": "fail"})])
    times = {kind: ProcessTimes(kind) for kind in COUNTERS}
    relay = Relay(
        stores, configuration=STEADY, on_hand_off=times["relay"].handed_off, on_operation=times["relay"].operation
    )
    assert relay.step() == 6
    executor = ObservedExecutor(InlineExecutor(handlers_of(fail_on_request)), times["worker"])
    worker = Worker(stores, [QUEUE], executor, configuration=STEADY, on_operation=times["worker"].operation)
    while worker.counts.completed + worker.counts.retried < 6:
        worker.step()
    worker.close()
    relay.close()
    reaper = ReaperCounts(jobs_reclaimed=4, jobs_buried=3, runs_overdue=2, jobs_poisoned=1, hand_offs_lost=5)
    counts = {"relay": relay.counts, "worker": worker.counts, "reaper": reaper}
    seen = {kind: _scrape(ProcessCollector(kind, counts[kind], times[kind])) for kind in COUNTERS}
    connection.execute("UPDATE job_queues SET is_active = false WHERE name <> %s", [QUEUE])
    scraped = {name for each in (*seen.values(), _scrape(QueueCollector(stores))) for name, _ in each}
    assert _shown_by_the_dashboard() - scraped == set()
    assert seen["worker"]["jobs_completed_total", frozenset()] == 5
    assert seen["worker"]["jobs_failed_total", frozenset()] == seen["worker"]["jobs_retried_total", frozenset()] == 1
    assert seen["relay"]["jobs_handed_off_total", frozenset()] == 6
    assert seen["relay"]["job_handoff_seconds_count", frozenset({("queue", QUEUE)})] == 6
    assert seen["worker"]["job_wait_seconds_count", frozenset({("queue", QUEUE)})] == 6
    succeeded = frozenset({("queue", QUEUE), ("outcome", "succeeded")})
    assert seen["worker"]["job_duration_seconds_count", succeeded] == 5
    of_queue = {("messaging_system", "penguin_queue"), ("messaging_destination_name", QUEUE)}
    failed = frozenset({*of_queue, ("messaging_operation_name", "process"), ("error_type", "failed")})
    assert seen["worker"]["messaging_process_duration_seconds_count", failed] == 1
    for kind, operation in (("relay", "send"), ("worker", "receive"), ("worker", "ack")):
        labels = frozenset({("messaging_system", "penguin_queue"), ("messaging_operation_name", operation)})
        assert seen[kind]["messaging_client_operation_duration_seconds_count", labels] >= 1
    reasons = {"worker_dead": 4, "deadline": 2, "poison": 1, "handoff_lost": 5}
    assert reasons == {
        reason: seen["reaper"]["jobs_reclaimed_total", frozenset({("reason", reason)})] for reason in reasons
    }


def test_jobs_are_counted_wherever_they_come_from(stores: Stores, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO jobs (queue_name) SELECT %s FROM generate_series(1, 3)", [QUEUE])
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")
    seen = _scrape(QueueCollector(stores))
    assert seen["jobs_enqueued_total", frozenset()] == 3
    sent = frozenset({("messaging_system", "penguin_queue"), ("messaging_operation_name", "send")})
    assert seen["messaging_client_sent_messages_total", sent] == 3
    limits = {dict(labels)["limit"]: value for (name, labels), value in seen.items() if name == "queue_limit_exceeded"}
    assert set(limits) == {threshold.name for threshold in THRESHOLDS}
    assert limits["no_worker"] == 1
    assert limits["waiting_jobs_red"] == 0


def test_every_name_of_the_product_is_served_and_the_dashboard_knows_no_other() -> None:
    total = {f"{each.name}_total" for each in [*TOTALS, *(counter for kind in COUNTERS.values() for counter in kind)]}
    buckets = {f"{each.name}_bucket" for kind in HISTOGRAMS.values() for each in kind}
    served = total | buckets | {gauge.name for gauge in GAUGES}
    of_the_product = {"queue_jobs", "queue_latency_seconds", "worker_slots", "worker_busy_slots"}
    of_the_product |= {
        f"jobs_{end}_total" for end in ("enqueued", "completed", "failed", "retried", "dead", "reclaimed")
    }
    of_the_product |= {f"job_{time}_seconds_bucket" for time in ("wait", "handoff", "duration")}
    of_the_product |= {"messaging_client_operation_duration_seconds_bucket"}
    of_the_product |= {f"messaging_client_{end}_messages_total" for end in ("sent", "consumed")}
    of_the_product |= {"stale_messages_dropped_total", "fenced_completions_total"}
    assert of_the_product <= served
    assert _shown_by_the_dashboard() == served


def test_the_dashboard_file_is_what_the_metrics_say() -> None:
    assert orjson.loads(DASHBOARD.read_bytes()) == dashboard.dashboard()


def test_the_page_of_limits_is_what_the_limits_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "queue_limits.md"
    assert page.read_text() == limits_page.page()
