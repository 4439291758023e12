"""What each process counts and times itself, for Prometheus.

OpenTelemetry's messaging metrics are served beside, by the names and labels that its own Prometheus exporter would give them
(`messaging.process.duration` is `messaging_process_duration_seconds`), so that its collector reads them as they are; no
library of its own is needed for that.

Belongs here: counters and histograms of relay, worker and reaper, declared once. Does not belong here: figures of the whole
queue and the endpoint (metrics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penguinmails.queue.execution import Kind, Outcome
from penguinmails.queue.executors import Executor
from penguinmails.queue.fast_lane import HandOff
from penguinmails.queue.handlers import Progress, StartedJob
from penguinmails.queue.metrics import OPEN_TELEMETRY_LABELS, OPEN_TELEMETRY_SYSTEM, Sample

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300)
"""Those OpenTelemetry recommends for messaging, in seconds, and on to the longest time limit."""


@dataclass(frozen=True)
class ProcessCounter:
    """A count that a process keeps from its start.

    Args:
        samples: label values and figure, from the counts of the process.
    """

    name: str
    help: str
    samples: Callable[[Any], Iterable[Sample]]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProcessHistogram:
    """Times that a process measures."""

    name: str
    help: str
    labels: tuple[str, ...]


def _field(name: str) -> Callable[[Any], list[Sample]]:
    return lambda counts: [((), float(getattr(counts, name)))]


def _reclaimed(counts: Any) -> list[Sample]:
    died = counts.jobs_reclaimed + counts.jobs_buried - counts.runs_overdue - counts.jobs_poisoned
    return [
        (("worker_dead",), float(died)),
        (("deadline",), float(counts.runs_overdue)),
        (("poison",), float(counts.jobs_poisoned)),
        (("handoff_lost",), float(counts.hand_offs_lost)),
    ]


COUNTERS: Mapping[str, tuple[ProcessCounter, ...]] = {
    "worker": (
        ProcessCounter("jobs_started", "Jobs started.", _field("started")),
        ProcessCounter(
            "messaging_client_consumed_messages", "The same by OpenTelemetry's name.",
            lambda counts: [((OPEN_TELEMETRY_SYSTEM, "receive"), float(counts.started))], OPEN_TELEMETRY_LABELS,
        ),
        ProcessCounter("jobs_started_without_redis", "Of these, past Redis.", _field("started_without_redis")),
        ProcessCounter("jobs_completed", "Jobs completed.", _field("completed")),
        ProcessCounter(
            "jobs_failed", "Attempts that failed.", lambda counts: [((), float(counts.retried + counts.dead))]
        ),
        ProcessCounter("jobs_retried", "Of these, to be tried again.", _field("retried")),
        ProcessCounter("jobs_dead", "Of these, dead letters.", _field("dead")),
        ProcessCounter("jobs_released", "Jobs given back.", _field("released")),
        ProcessCounter("stale_messages_dropped", "Messages of another generation.", _field("stale")),
        ProcessCounter("foreign_messages_buried", "Messages that were none of a relay.", _field("foreign")),
        ProcessCounter("fenced_completions", "Ends that came too late.", _field("fenced")),
        ProcessCounter("leases_lost", "Times this process had to begin anew.", _field("leases_lost")),
    ),
    "relay": (
        ProcessCounter("jobs_handed_off", "Jobs handed over to Redis.", _field("handed_off")),
        ProcessCounter("hand_offs_put_back", "Hand-offs Redis did not take.", _field("put_back")),
        ProcessCounter("jobs_promoted", "Scheduled jobs whose time came.", _field("promoted")),
    ),
    "reaper": (
        ProcessCounter("jobs_reclaimed", "Jobs taken back, by what had happened to them.", _reclaimed, ("reason",)),
        ProcessCounter("processes_died", "Processes declared dead.", _field("processes_died")),
        ProcessCounter("redis_epoch_changes", "Times Redis was another one.", _field("redis_changes")),
    ),
}  # fmt: skip

HAND_OFF = ProcessHistogram("job_handoff_seconds", "From ready to handed over to Redis.", ("queue",))
WAIT = ProcessHistogram("job_wait_seconds", "From ready to started.", ("queue",))
DURATION = ProcessHistogram("job_duration_seconds", "From started to ended.", ("queue", "outcome"))
OPERATION = ProcessHistogram(
    "messaging_client_operation_duration_seconds",
    "How long handing a batch over (send), taking one (receive) and ending one (ack) took, by OpenTelemetry's name.",
    OPEN_TELEMETRY_LABELS,
)
HISTOGRAMS: Mapping[str, tuple[ProcessHistogram, ...]] = {
    "relay": (HAND_OFF, OPERATION),
    "worker": (WAIT, DURATION, OPERATION),
    "reaper": (),
}
_OPEN_TELEMETRY_DURATION = "messaging_process_duration_seconds"


class ProcessTimes:
    """The histograms of one process."""

    def __init__(self, kind: str) -> None:
        self._histograms = {
            declared.name: Histogram(declared.name, declared.help, declared.labels, registry=None, buckets=BUCKETS)
            for declared in HISTOGRAMS[kind]
        }

    def handed_off(self, hand_offs: Sequence[HandOff]) -> None:
        """Takes down how long hand-offs took."""
        histogram = self._histograms[HAND_OFF.name]
        for each in hand_offs:
            histogram.labels(each.queue_name).observe(max(0.0, each.ready_seconds))

    def started(self, jobs: Sequence[StartedJob]) -> None:
        """Takes down how long jobs waited."""
        histogram = self._histograms[WAIT.name]
        for job in jobs:
            histogram.labels(job.queue_name).observe(max(0.0, job.waited_seconds))

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Takes down how long jobs ran."""
        histogram = self._histograms[DURATION.name]
        for each in outcomes:
            outcome = Kind.SUCCEEDED if each.kind is Kind.FINISHED_BY_HANDLER else each.kind
            histogram.labels(each.job.queue_name, outcome.value).observe(each.run_seconds)

    def operation(self, name: str, seconds: float) -> None:
        """Takes down how long an operation on a batch took."""
        self._histograms[OPERATION.name].labels(OPEN_TELEMETRY_SYSTEM, name).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yields each histogram, and the run times once more by OpenTelemetry's name."""
        for name, histogram in self._histograms.items():
            for family in histogram.collect():
                yield family
                if name == DURATION.name:
                    yield _as_open_telemetry(family)


class ObservedExecutor:
    """An executor whose jobs are timed."""

    def __init__(self, executor: Executor, times: ProcessTimes) -> None:
        self._executor = executor
        self._times = times

    @property
    def slots(self) -> int:
        return self._executor.slots

    def room(self) -> int:
        return self._executor.room()

    def submit(self, jobs: Sequence[StartedJob]) -> None:
        self._times.started(jobs)
        self._executor.submit(jobs)

    def collect(self, seconds: float) -> list[Outcome]:
        outcomes = self._executor.collect(seconds)
        self._times.ended(outcomes)
        return outcomes

    def sources(self) -> Sequence[Connection]:
        return self._executor.sources()

    def in_hand(self) -> list[StartedJob]:
        return self._executor.in_hand()

    def trust(self, until: float) -> None:
        self._executor.trust(until)

    def progress(self) -> list[tuple[StartedJob, Progress]]:
        return self._executor.progress()

    def ask_to_stop(self, job_ids: Set[UUID]) -> None:
        self._executor.ask_to_stop(job_ids)

    def drop(self, job_ids: Set[UUID]) -> None:
        self._executor.drop(job_ids)

    def abandon(self) -> list[StartedJob]:
        return self._executor.abandon()

    def close(self) -> None:
        self._executor.close()


class ProcessCollector(Collector):
    """The counts and times of one process."""

    def __init__(self, kind: str, counts: object, times: ProcessTimes) -> None:
        self._kind = kind
        self._counts = counts
        self._times = times

    def collect(self) -> Iterator[Metric]:
        for counter in COUNTERS[self._kind]:
            family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
            for labels, value in counter.samples(self._counts):
                family.add_metric(labels, value)
            yield family
        yield from self._times.collect()


def _as_open_telemetry(duration: Metric) -> Metric:
    family = Metric(_OPEN_TELEMETRY_DURATION, "Run times by OpenTelemetry's name.", "histogram")
    for sample in duration.samples:
        if sample.name.endswith("_created"):
            continue
        labels = {
            "messaging_system": OPEN_TELEMETRY_SYSTEM,
            "messaging_operation_name": "process",
            "messaging_destination_name": sample.labels["queue"],
        }
        if sample.labels["outcome"] != Kind.SUCCEEDED.value:
            labels["error_type"] = sample.labels["outcome"]
        if "le" in sample.labels:
            labels["le"] = sample.labels["le"]
        name = _OPEN_TELEMETRY_DURATION + sample.name.removeprefix(DURATION.name)
        family.add_sample(name, labels, sample.value)
    return family
