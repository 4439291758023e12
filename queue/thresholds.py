"""What is too much: every limit the queue is watched by, declared once.

Used by `penguinmails queue status`, doctor, Dagster's checks, alerts and the documentation. Belongs here: limits with their
reasons and remedies. Does not belong here: reading figures (probe.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from penguinmails.queue.probe import QueueSnapshot

LEAST_FINISHED = 50
"""A failure rate of fewer finished jobs says nothing."""


class Severity(StrEnum):
    """How bad it is: look at it, repair it, repair it now."""

    WARNING = "warning"
    ERROR = "error"
    PAGE = "page"


@dataclass(frozen=True)
class Threshold:
    """One limit.

    Args:
        name: what checks and alerts are called.
        figure: reads the figure from a snapshot; None when there is nothing to judge.
        limit: the figure may be this high.
        unit: of figure and limit.
        reason: why just this limit.
        remedy: what to do beyond it.
    """

    name: str
    severity: Severity
    figure: Callable[[QueueSnapshot], float | None]
    limit: float
    unit: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Exceeded:
    """A limit that a snapshot is beyond."""

    threshold: Threshold
    figure: float

    @property
    def summary(self) -> str:
        """One line for people."""
        limit = self.threshold
        return f"{limit.name}: {_figure(self.figure)} {limit.unit}, at most {_figure(limit.limit)}. {limit.remedy}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _without(kind: str) -> Callable[[QueueSnapshot], float | None]:
    """1 when jobs wait and no process of a kind lives, 0 otherwise."""
    return lambda snapshot: float(snapshot.waiting > 0 and snapshot.processes_of(kind) == 0)


def _failure_rate(snapshot: QueueSnapshot) -> float | None:
    return snapshot.failure_rate if snapshot.finished_5_minutes >= LEAST_FINISHED else None


def _redis_share(snapshot: QueueSnapshot) -> float | None:
    if snapshot.redis is None or not snapshot.redis.memory_limit_bytes:
        return None
    return snapshot.redis.memory_bytes / snapshot.redis.memory_limit_bytes


def _redis_unsafe(snapshot: QueueSnapshot) -> float | None:
    return None if snapshot.redis is None else float(not snapshot.redis.is_safe)


_WORKERS = "Start more workers (penguinmails queue worker) or see what holds them up (penguinmails queue status)."
_FAILURES = "Read the reasons of the dead letters, mend the cause, then replay them."

THRESHOLDS = (
    Threshold(
        "waiting_jobs_yellow", Severity.WARNING, lambda s: s.waiting, 100, "jobs",
        "Below it the queue keeps up; the product calls it green.", _WORKERS,
    ),
    Threshold(
        "waiting_jobs_red", Severity.ERROR, lambda s: s.waiting, 1_000, "jobs",
        "The product calls it red: what is enqueued now waits noticeably.", _WORKERS,
    ),
    Threshold(
        "waiting_jobs_page", Severity.PAGE, lambda s: s.waiting, 10_000, "jobs",
        "At the promised million an hour this is more than half a minute behind and growing.", _WORKERS,
    ),
    Threshold(
        "oldest_ready_job", Severity.ERROR, lambda s: s.oldest_ready_seconds, 300, "seconds",
        "Half a minute would do for any queue; five minutes means that one of them stands.",
        "See which queue it is (penguinmails queue status) and whether a worker serves it.",
    ),
    Threshold(
        "failed_jobs", Severity.ERROR, lambda s: s.failed_5_minutes, 10, "jobs in 5 minutes",
        "The product calls more than ten failures red.", _FAILURES,
    ),
    Threshold(
        "failure_rate", Severity.PAGE, _failure_rate, 0.05, "of the finished",
        f"The product promises 1 %; beyond 5 % of at least {LEAST_FINISHED} something is broken for everybody.", _FAILURES,
    ),
    Threshold(
        "no_relay", Severity.PAGE, _without("relay"), 0, "(1 = none while jobs wait)",
        "Without a relay nothing reaches Redis.", "Start one: penguinmails queue relay.",
    ),
    Threshold(
        "no_worker", Severity.PAGE, _without("worker"), 0, "(1 = none while jobs wait)",
        "Without a worker nothing is done.", "Start one: penguinmails queue worker.",
    ),
    Threshold(
        "no_reaper", Severity.ERROR, _without("reaper"), 0, "(1 = none while jobs wait)",
        "Without a reaper the jobs of a killed worker stay where they are.", "Start one: penguinmails queue reaper.",
    ),
    Threshold(
        "reconciler_silent", Severity.PAGE,
        lambda s: s.reconciler_silent_seconds if s.processes_of("reaper") else None, 60, "seconds",
        "It looks every second; a minute's silence means that it hangs.",
        "Restart the reaper (penguinmails queue reaper); nothing is lost meanwhile.",
    ),
    Threshold(
        "overdue_hand_offs", Severity.ERROR, lambda s: s.overdue_hand_offs, 0, "jobs",
        "Every hand-off past its lease is looked for within a second; these are a minute late.",
        "Start a reaper (penguinmails queue reaper): it finds them or makes them ready again.",
    ),
    Threshold(
        "drift", Severity.ERROR, lambda s: s.missing_hand_offs, 0, "jobs",
        "PostgreSQL and Redis disagree: handed over more than 15 seconds ago and not there. The reaper repairs that within 11.",
        "Start a reaper (penguinmails queue reaper), or see why it does not reach Redis.",
    ),
    Threshold(
        "redis_unsafe", Severity.PAGE, _redis_unsafe, 0, "(1 = it would drop hand-offs)",
        "Set to evict, or to forget at a restart, it delays jobs until their hand-off runs out.",
        "Set maxmemory-policy to noeviction and appendonly to yes.",
    ),
    Threshold(
        "redis_evicted_keys", Severity.PAGE, lambda s: s.redis.evicted_keys if s.redis else None, 0, "keys",
        "An evicted key may be a hand-off. They come back by their lease, but late.",
        "Set maxmemory-policy to noeviction and give Redis more memory.",
    ),
    Threshold(
        "redis_memory", Severity.WARNING, _redis_share, 0.8, "of its limit",
        "Full, it refuses hand-offs, and jobs go the slower way through PostgreSQL.",
        "Give Redis more memory, or move what is not the queue's elsewhere.",
    ),
    Threshold(
        "redis_away", Severity.ERROR, lambda s: float(s.redis is None), 0, "(1 = does not answer)",
        "Jobs go straight through PostgreSQL, which is slower and loads it.", "Start Redis (penguinmails up).",
    ),
    Threshold(
        "oldest_transaction", Severity.WARNING, lambda s: s.oldest_transaction_seconds, 600, "seconds",
        "A snapshot held open keeps dead rows alive, and taking jobs slows down by a third and more.",
        "End the session that holds it, or read from a replica.",
    ),
)  # fmt: skip


def evaluate(snapshot: QueueSnapshot) -> list[Exceeded]:
    """Returns the limits that `snapshot` is beyond, the worst first."""
    order = list(Severity)
    found = [
        Exceeded(threshold, figure)
        for threshold in THRESHOLDS
        if (figure := threshold.figure(snapshot)) is not None and figure > threshold.limit
    ]
    return sorted(found, key=lambda each: -order.index(each.threshold.severity))
