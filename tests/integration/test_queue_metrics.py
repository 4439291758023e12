"""What Prometheus sees, scraped over HTTP, and the dashboard made from it."""

from __future__ import annotations

import dataclasses
import urllib.request
from pathlib import Path

import orjson
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from queue_support import FIXTURES, QUEUE, SHORT, handlers_of, nothing

from penguinmails.queue import dashboard, limits_page
from penguinmails.queue.drain import drain
from penguinmails.queue.metrics import COUNTERS, GAUGES, ProcessCollector, QueueCollector, serve
from penguinmails.queue.producer import NewJob, enqueue_many
from penguinmails.queue.reaper import ReaperCounts
from penguinmails.queue.relay import RelayCounts
from penguinmails.queue.worker import WorkerCounts
from penguinmails.stack.stores import Stores

redis_server, stores, connection = FIXTURES
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


def test_prometheus_sees_the_whole_queue(stores: Stores, connection: psycopg.Connection) -> None:
    enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(20)))
    drain(stores, handlers_of(nothing), configuration=SHORT)
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


def test_each_process_serves_its_counts() -> None:
    kinds = {"worker": WorkerCounts(completed=3), "relay": RelayCounts(handed_off=4), "reaper": ReaperCounts()}
    seen = {kind: _scrape(ProcessCollector(kind, counts)) for kind, counts in kinds.items()}
    assert seen["worker"]["jobs_completed_total", frozenset()] == 3
    assert seen["relay"]["jobs_handed_off_total", frozenset()] == 4
    assert {kind: len(samples) for kind, samples in seen.items()} == {
        kind: len(each) for kind, each in COUNTERS.items()
    }


def test_the_dashboard_file_is_what_the_metrics_say() -> None:
    file = Path(dashboard.__file__).with_name("grafana.json")
    assert orjson.loads(file.read_bytes()) == dashboard.dashboard()


def test_the_page_of_limits_is_what_the_limits_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "queue_limits.md"
    assert page.read_text() == limits_page.page()
