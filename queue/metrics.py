"""What Prometheus scrapes of the whole queue, from one probe.

Belongs here: names and kinds of these figures, declared once (GAUGES, TOTALS); the endpoint. Does not belong here: what each
process counts itself (process_metrics.py), limits (thresholds.py).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from errno import errorcode
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penguinmails.queue.errors import AddressUnusable
from penguinmails.queue.probe import QueueSnapshot, probe
from penguinmails.queue.thresholds import THRESHOLDS, evaluate
from penguinmails.stack.errors import ServerError
from penguinmails.stack.stores import Stores

_FRESH_SECONDS = 2.0
"""A snapshot is used again for this long, however many scrape."""

Sample = tuple[tuple[str, ...], float]
OPEN_TELEMETRY_SYSTEM = "penguin_queue"
OPEN_TELEMETRY_LABELS = ("messaging_system", "messaging_operation_name")
"""OpenTelemetry's messaging names in the spelling its own Prometheus exporter gives them."""


@dataclass(frozen=True)
class Gauge:
    """A figure of the whole queue.

    Args:
        samples: label values and figure of each sample of a snapshot.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    samples: Callable[[QueueSnapshot], Iterable[Sample]]


def _jobs(snapshot: QueueSnapshot) -> Iterator[Sample]:
    for lane in snapshot.lanes:
        for status in ("ready", "handed_off", "running", "scheduled"):
            yield (lane.queue_name, lane.band, status), float(getattr(lane, status))


def _quantiles(of: str) -> Callable[[QueueSnapshot], Iterator[Sample]]:
    def samples(snapshot: QueueSnapshot) -> Iterator[Sample]:
        for each in snapshot.ends:
            for quantile in ("50", "95", "99"):
                value = getattr(each, f"{of}_p{quantile}_seconds", None)
                if value is not None:
                    yield (each.queue_name, f"0.{quantile}"), value

    return samples


def _processes(snapshot: QueueSnapshot) -> Iterator[Sample]:
    for kind in ("relay", "worker", "reaper"):
        yield (kind,), float(snapshot.processes_of(kind))


def _limits(snapshot: QueueSnapshot) -> Iterator[Sample]:
    exceeded = {each.threshold.name for each in evaluate(snapshot)}
    for threshold in THRESHOLDS:
        yield (threshold.name, threshold.severity.value), float(threshold.name in exceeded)


def _redis(field: str) -> Callable[[QueueSnapshot], Iterator[Sample]]:
    return lambda s: iter([((), float(getattr(s.redis, field)))] if s.redis is not None else [])


GAUGES = (
    Gauge("queue_jobs", "Live jobs.", ("queue", "band", "status"), _jobs),
    Gauge(
        "queue_latency_seconds", "Age of the oldest job that may run.", ("queue", "band"),
        lambda s: (((lane.queue_name, lane.band), lane.oldest_ready_seconds) for lane in s.lanes),
    ),
    Gauge(
        "queue_redis_depth", "Messages in Redis.", ("queue", "band"),
        lambda s: (((lane.queue_name, lane.band), float(lane.in_redis)) for lane in s.lanes if lane.in_redis is not None),
    ),
    Gauge("queue_wait_seconds", "Wait until start, last 5 minutes.", ("queue", "quantile"), _quantiles("wait")),
    Gauge("queue_run_seconds", "Run time, last 5 minutes.", ("queue", "quantile"), _quantiles("run")),
    Gauge(
        "jobs_finished_5_minutes", "Ends of the last 5 minutes.", ("queue", "outcome"),
        lambda s: (
            ((each.queue_name, outcome), float(getattr(each, outcome)))
            for each in s.ends
            for outcome in ("completed", "failed", "retried")
        ),
    ),
    Gauge(
        "jobs_completed_per_second", "Of the last 10 seconds.", ("queue",),
        lambda s: (((each.queue_name,), each.rate) for each in s.ends),
    ),
    Gauge("queue_paused", "1 for a paused queue.", ("queue",), lambda s: (((name,), 1.0) for name in s.paused)),
    Gauge("deadletter_jobs", "Dead letters.", (), lambda s: [((), float(s.dead_letters))]),
    Gauge("workers", "Living processes.", ("kind",), _processes),
    Gauge("worker_slots", "Slots of living workers.", (), lambda s: [((), float(sum(p.slots for p in s.processes)))]),
    Gauge("worker_busy_slots", "Slots in use.", (), lambda s: [((), float(sum(p.busy for p in s.processes)))]),
    Gauge(
        "worker_heartbeat_age_seconds", "Longest silence of a living process.", ("kind",),
        lambda s: (
            ((kind,), max((p.silent_seconds for p in s.processes if p.kind == kind), default=0.0))
            for kind in ("relay", "worker", "reaper")
        ),
    ),
    Gauge("queue_overdue_hand_offs", "Hand-offs long past their lease.", (), lambda s: [((), float(s.overdue_hand_offs))]),
    Gauge(
        "queue_missing_hand_offs", "Handed over by PostgreSQL's account and not in Redis.", (),
        lambda s: [] if s.missing_hand_offs is None else [((), float(s.missing_hand_offs))],
    ),
    Gauge("reconciler_silent_seconds", "Since the last reconciliation.", (), lambda s: [((), s.reconciler_silent_seconds)]),
    Gauge("queue_oldest_transaction_seconds", "Oldest open snapshot.", (), lambda s: [((), s.oldest_transaction_seconds)]),
    Gauge("queue_dead_rows", "Dead rows of the table jobs.", (), lambda s: [((), float(s.dead_rows))]),
    Gauge("redis_up", "1 when Redis answers.", (), lambda s: [((), float(s.redis is not None))]),
    Gauge("redis_memory_used_bytes", "Memory of Redis.", (), _redis("memory_bytes")),
    Gauge("redis_memory_max_bytes", "Memory limit of Redis; 0 is none.", (), _redis("memory_limit_bytes")),
    Gauge("redis_evicted_keys", "Keys evicted since Redis started: must stay 0.", (), _redis("evicted_keys")),
    Gauge("queue_limit_exceeded", "1 for a limit that is exceeded.", ("limit", "severity"), _limits),
)  # fmt: skip

TOTALS = (
    Gauge(
        "jobs_enqueued", "Jobs inserted, in whatever language; rolled back ones too.", (),
        lambda s: [((), float(s.jobs_inserted))],
    ),
    Gauge(
        "messaging_client_sent_messages", "The same by OpenTelemetry's name.", OPEN_TELEMETRY_LABELS,
        lambda s: [((OPEN_TELEMETRY_SYSTEM, "send"), float(s.jobs_inserted))],
    ),
)  # fmt: skip
"""What only ever rises; PostgreSQL counts it."""


class QueueCollector(Collector):
    """The whole queue, from a probe that is taken when it is scraped."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._lock = threading.Lock()
        self._snapshot: QueueSnapshot | None = None
        self._taken_at = 0.0

    def collect(self) -> Iterator[Metric]:
        snapshot = self._fresh_snapshot()
        up = GaugeMetricFamily("queue_up", "1 when the queue's PostgreSQL answers.")
        up.add_metric([], float(snapshot is not None))
        yield up
        if snapshot is None:
            return
        for gauge in GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, value in gauge.samples(snapshot):
                family.add_metric(labels, value)
            yield family
        for total in TOTALS:
            counter = CounterMetricFamily(total.name, total.help, labels=total.labels)
            for labels, value in total.samples(snapshot):
                counter.add_metric(labels, value)
            yield counter

    def _fresh_snapshot(self) -> QueueSnapshot | None:
        with self._lock:
            if time.monotonic() - self._taken_at > _FRESH_SECONDS:
                try:
                    self._snapshot = probe(self._stores)
                except ServerError:
                    self._snapshot = None
                self._taken_at = time.monotonic()
            return self._snapshot


def serve(collectors: Iterable[Collector], *, port: int, host: str = "127.0.0.1") -> WSGIServer:
    """Serves the metrics from a thread; returns the server (its `server_port` tells the port that 0 has found).

    Raises:
        AddressUnusable: the port is taken or not allowed, or the host is no address of this machine.
    """
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    try:
        server, _ = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else None
        problem = os.strerror(number) if number is not None and number in errorcode else "is no address"
        raise AddressUnusable(
            f"address {host}:{port} for metrics", f"cannot be listened on ({problem})", "Choose another port or host."
        ) from None
    return server
