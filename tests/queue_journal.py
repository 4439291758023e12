"""What the chaos leaves behind and what must not be in it: the journal of all runs, and the report.

Belongs here: reading the journal, judging it and both stores. Does not belong here: causing faults (queue_chaos.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from queue_support import rows

from penguinmails.stack.stores import Stores

FINAL = ("completed", "failed", "cancelled")
_REST_SECONDS = 15.0
"""How long what is left in Redis may take to be cleared away once every job has ended."""
_SHOWN = 20

_WATCH = """
CREATE TABLE chaos_watch (what text NOT NULL, job_id uuid NOT NULL);
CREATE FUNCTION chaos_watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_watch
    SELECT CASE WHEN NEW.gen < OLD.gen THEN 'generation_fell' ELSE 'left_a_final_state' END, NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER chaos_watch AFTER UPDATE ON jobs FOR EACH ROW
WHEN (NEW.gen < OLD.gen OR (OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status IS DISTINCT FROM OLD.status))
EXECUTE FUNCTION chaos_watch()
"""


@dataclass
class ChaosReport:
    """What happened, and everything that should not have: lists name jobs, numbers only count."""

    seed: int
    bug: str | None
    acknowledged: int = 0
    runs: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    recovery_seconds: float = 0.0
    overlaps_of_frozen_processes: int = 0
    """Allowed: only the resource itself can fence those."""
    runs_beyond_the_first: int = 0
    """Allowed: a process died between the effect and its record."""
    violations: dict[str, list[str]] = field(default_factory=dict)
    """By kind, the jobs or processes it concerns (no more than a few)."""
    violation_counts: dict[str, int] = field(default_factory=dict)

    def violated(self, kind: str, what: Collection[object]) -> None:
        """Takes down a violation; nothing when `what` is empty."""
        if what:
            self.violations[kind] = sorted(map(str, what))[:_SHOWN]
            self.violation_counts[kind] = len(what)

    def as_document(self) -> dict[str, Any]:
        """Returns the report as plain values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Run:
    """One run of a job, on the machine's one monotonic clock."""

    began: float
    ended: float
    pid: int
    gen: int


def watch(stores: Stores) -> None:
    """Has PostgreSQL take down every generation that falls and every final state that is left."""
    rows(stores, _WATCH)


def read_journal(path: Path, ended_at: Mapping[int, float]) -> dict[UUID, list[Run]]:
    """Returns every run of every job, in order.

    Args:
        ended_at: when processes were killed: a run without an end of its own ended then.
    """
    runs: dict[UUID, list[Run]] = {}
    open_runs: dict[tuple[UUID, int, int], float] = {}
    with path.open() as journal:
        for line in journal:
            mark, job_id, gen, pid, at = line.split()
            key = (UUID(job_id), int(gen), int(pid))
            if mark == "S":
                open_runs[key] = float(at)
            else:
                runs.setdefault(key[0], []).append(Run(open_runs.pop(key), float(at), key[2], key[1]))
    for (job, gen_, pid_), began in open_runs.items():
        runs.setdefault(job, []).append(Run(began, ended_at.get(pid_, began), pid_, gen_))
    for found in runs.values():
        found.sort(key=lambda run: run.began)
    return runs


def judge(
    report: ChaosReport, stores: Stores, acknowledged: set[UUID], runs: Mapping[UUID, list[Run]], frozen: set[int]
) -> None:
    """Takes down everything that must not be.

    Args:
        frozen: processes that were stopped and woken again.
    """
    states = {row[0]: row[1] for row in rows(stores, "SELECT id, status FROM jobs")}
    report.acknowledged = len(acknowledged)
    report.runs = sum(map(len, runs.values()))
    report.runs_beyond_the_first = report.runs - len(runs)
    report.violated("lost", acknowledged - set(states))
    report.violated("stuck", [job for job, status in states.items() if status not in FINAL])
    report.violated(
        "completed_without_a_run", [job for job, status in states.items() if status == "completed" and job not in runs]
    )
    for kind in ("generation_fell", "left_a_final_state"):
        report.violated(kind, _ids(stores, "SELECT job_id FROM chaos_watch WHERE what = %s", [kind]))
    report.violated(
        "completed_twice",
        _ids(stores, "SELECT job_id FROM job_logs WHERE status = 'success' GROUP BY job_id HAVING count(*) > 1"),
    )
    report.violated("tried_too_often", _ids(stores, "SELECT id FROM jobs WHERE attempt_count > max_attempts"))
    report.violated("still_in_redis", _left_in_redis(stores))
    _judge_runs(report, runs, frozen)


def _judge_runs(report: ChaosReport, runs: Mapping[UUID, list[Run]], frozen: set[int]) -> None:
    twice, overlapping = [], []
    for job, found in runs.items():
        if max(Counter(run.gen for run in found).values()) > 1:
            twice.append(job)
        for first, second in pairwise(found):
            if second.began >= first.ended:
                continue
            if {first.pid, second.pid} & frozen:
                report.overlaps_of_frozen_processes += 1
            else:
                overlapping.append(job)
    report.violated("generations_run_twice", twice)
    report.violated("overlapping_runs", overlapping)


def _left_in_redis(stores: Stores) -> list[str]:
    """Reservations that nobody holds, and status hashes that would stay for ever."""
    client = stores.open_redis()
    deadline = time.monotonic() + _REST_SECONDS
    try:
        while True:
            left = [key.decode() for key in client.scan_iter("processing:*")]
            left += [key.decode() for key in client.scan_iter("job:*", count=1_000) if client.ttl(key) == -1]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)
    finally:
        client.close()


def _ids(stores: Stores, statement: str, parameters: list[object] | None = None) -> list[UUID]:
    return [row[0] for row in rows(stores, statement, parameters)]
