"""Chaos on real processes: relays, workers and reapers killed, frozen, cut off; Redis flushed, killed, fed with doubles.

Every handler run is written to a journal (start and end, on the machine's one monotonic clock), and at the end the journal,
PostgreSQL and the list of acknowledged jobs have to agree. The seed decides which fault comes when.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
import queue_mutations
import redis
from queue_support import QUEUE, SHORT, Note, handlers_of, rows

from penguinmails.queue.executors import InlineExecutor
from penguinmails.queue.fast_lane import list_key
from penguinmails.queue.handlers import JobContext
from penguinmails.queue.producer import NewJob, enqueue_many, new_job_id
from penguinmails.queue.queues import Band
from penguinmails.queue.reaper import Reaper
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack import embedded
from penguinmails.stack.stores import Stores

ROLES = {"relay": 2, "worker": 3, "reaper": 2}
_QUIET_SECONDS = 60.0
_PRELOAD = ["pytest", *(f"penguinmails.queue.{name}" for name in ("worker", "relay", "reaper", "executors"))]
"""Imported once for all processes; this module itself is out of the fork server's reach."""


@dataclass
class ChaosReport:
    """What happened, and everything that should not have."""

    seed: int
    bug: str | None
    acknowledged: int = 0
    runs: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    recovery_seconds: float = 0.0
    lost: list[UUID] = field(default_factory=list)
    stuck: list[UUID] = field(default_factory=list)
    completed_without_a_run: list[UUID] = field(default_factory=list)
    overlapping_runs: list[UUID] = field(default_factory=list)
    overlaps_of_frozen_processes: int = 0
    completed_twice: list[UUID] = field(default_factory=list)
    generations_run_twice: int = 0
    run_again_after_success_without_fault: list[UUID] = field(default_factory=list)
    lost_on_the_way_without_fault: int = 0

    @property
    def violations(self) -> dict[str, int]:
        found = {
            "lost": len(self.lost),
            "stuck": len(self.stuck),
            "completed_without_a_run": len(self.completed_without_a_run),
            "overlapping_runs": len(self.overlapping_runs),
            "completed_twice": len(self.completed_twice),
            "generations_run_twice": self.generations_run_twice,
            "run_again_without_fault": len(self.run_again_after_success_without_fault),
            "lost_on_the_way_without_fault": self.lost_on_the_way_without_fault,
        }
        return {name: count for name, count in found.items() if count}


class Chaos:
    """One run on stores of its own; `redis_server` is killed and started again."""

    def __init__(
        self, stores: Stores, redis_server: embedded.Embedded, folder: Path, *, seed: int, bug: str | None = None
    ) -> None:
        self._stores = stores
        self._redis_server = redis_server
        self._journal = folder / f"journal-{seed}"
        self._journal.touch()
        self._random = Random(seed)
        self._bug = bug
        self._report = ChaosReport(seed, bug)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._processes: dict[str, list[BaseProcess]] = {role: [] for role in ROLES}
        self._ended_at: dict[int, float] = {}
        self._frozen: dict[int, float] = {}
        self._ever_frozen: set[int] = set()
        self._acknowledged: set[UUID] = set()

    def run(self, seconds: float) -> ChaosReport:
        try:
            for role, count in ROLES.items():
                self._processes[role] = [self._start(role) for _ in range(count)]
            self._calm_phase()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._enqueue(self._random.randint(1, 30))
                time.sleep(self._random.uniform(0.01, 0.08))
                self._fault()
            self._recover()
        finally:
            for process in [each for role in self._processes.values() for each in role]:
                if process.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
                process.join()
        self._judge()
        return self._report

    def _calm_phase(self) -> None:
        """Without a fault every job runs exactly once, and no message is found stale or missing."""
        while not rows(self._stores, "SELECT epoch FROM queue_fast_lane"):
            time.sleep(0.02)
        self._enqueue(200, behaviours=("fine",))
        self._wait_until_all_ended()
        again = rows(self._stores, "SELECT id FROM jobs WHERE gen > 1")
        self._report.run_again_after_success_without_fault = [
            job_id for job_id, runs in self._runs().items() if len(runs) > 1
        ]
        self._report.lost_on_the_way_without_fault = len(again)

    def _fault(self) -> None:
        faults: dict[str, tuple[int, Callable[[], None]]] = {
            "none": (30, lambda: None),
            "kill_worker": (8, lambda: self._kill("worker")),
            "kill_relay": (5, lambda: self._kill("relay")),
            "kill_reaper": (3, lambda: self._kill("reaper")),
            "freeze_worker": (8, self._freeze),
            "flush_redis": (3, self._flush),
            "double_messages": (20, self._double),
            "cut_connections": (3, self._cut),
            "kill_redis": (1, self._kill_redis),
        }
        name = self._random.choices(list(faults), [weight for weight, _ in faults.values()])[0]
        with suppress(redis.RedisError):
            faults[name][1]()
            self._report.faults[name] = self._report.faults.get(name, 0) + 1
        self._thaw(after_seconds=self._random.uniform(0.9, 1.4) * SHORT.lease_seconds)

    def _kill(self, role: str) -> None:
        position = self._random.randrange(len(self._processes[role]))
        process = self._processes[role][position]
        if process.pid is None:
            return
        process.kill()
        process.join()
        self._ended_at[process.pid] = time.monotonic()
        self._frozen.pop(process.pid, None)
        self._processes[role][position] = self._start(role)

    def _freeze(self) -> None:
        pid = self._random.choice(self._processes["worker"]).pid
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            self._frozen.setdefault(pid, time.monotonic())
            self._ever_frozen.add(pid)

    def _thaw(self, *, after_seconds: float) -> None:
        for pid, since in list(self._frozen.items()):
            if time.monotonic() - since >= after_seconds:
                os.kill(pid, signal.SIGCONT)
                del self._frozen[pid]

    def _flush(self) -> None:
        client = self._stores.open_redis()
        client.flushall()
        client.close()

    def _double(self) -> None:
        """At the end where they are taken, with the generation they have: the hardest place."""
        client = self._stores.open_redis()
        for band in Band:
            messages = client.lrange(list_key(QUEUE, band), 0, 50)
            if messages:
                client.rpush(list_key(QUEUE, band), *messages, *messages)
        for key in client.scan_iter("processing:*"):
            messages = client.lrange(key, 0, 50)
            if messages:
                client.rpush(list_key(QUEUE, Band.NORMAL), *messages)
        client.close()

    def _cut(self) -> None:
        rows(
            self._stores,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 3",
        )

    def _kill_redis(self) -> None:
        process = self._redis_server.valkey.process()
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            while process.is_alive():
                time.sleep(0.01)
        embedded.ensure(self._redis_server.home, postgres=False, valkey=True, s3=False)

    def _enqueue(self, count: int, behaviours: Sequence[str] = (*["fine"] * 9, "fails once")) -> None:
        jobs = [
            NewJob(
                QUEUE,
                {"note": f"{self._journal}|{self._random.choice(behaviours)}"},
                priority=self._random.choice([10, 100, 200]),
                max_attempts=5,
                id=new_job_id(),
            )
            for _ in range(count)
        ]
        with psycopg.connect(self._stores.queue_url.get_secret_value(), autocommit=True) as connection:
            enqueue_many(connection, jobs)
        self._acknowledged |= {job.id for job in jobs if job.id is not None}

    def _recover(self) -> None:
        began = time.monotonic()
        self._thaw(after_seconds=0)
        self._wait_until_all_ended()
        self._report.recovery_seconds = time.monotonic() - began

    def _wait_until_all_ended(self) -> None:
        """Waits as long as it goes on."""
        left, since = -1, time.monotonic()
        while time.monotonic() - since < _QUIET_SECONDS:
            rows(self._stores, "UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled' AND NOT due")
            now = rows(
                self._stores, "SELECT count(*) FROM jobs WHERE status NOT IN ('completed', 'failed', 'cancelled')"
            )[0][0]
            if now == 0:
                return
            if now != left:
                left, since = now, time.monotonic()
            time.sleep(0.05)

    def _start(self, role: str) -> BaseProcess:
        process = self._context.Process(target=_be, args=(role, self._stores, self._bug, os.getpid()), daemon=True)
        process.start()
        return process

    def _runs(self) -> dict[UUID, list[tuple[float, float, int]]]:
        """Start, end and process of every run of every job."""
        runs: dict[UUID, list[tuple[float, float, int]]] = {}
        open_runs: dict[tuple[UUID, int, int], float] = {}
        started: Counter[tuple[str, str]] = Counter()
        for line in self._journal.read_text().splitlines():
            mark, job_id, gen, pid, at = line.split()
            key = (UUID(job_id), int(gen), int(pid))
            if mark == "S":
                open_runs[key] = float(at)
                started[job_id, gen] += 1
            else:
                runs.setdefault(key[0], []).append((open_runs.pop(key, 0.0), float(at), key[2]))
        for (job_id_, _, pid_), began in open_runs.items():
            runs.setdefault(job_id_, []).append((began, self._ended_at.get(pid_, began), pid_))
        self._report.generations_run_twice = sum(count > 1 for count in started.values())
        return runs

    def _judge(self) -> None:
        report = self._report
        states = {row[0]: row[1] for row in rows(self._stores, "SELECT id, status FROM jobs")}
        runs = self._runs()
        report.acknowledged = len(self._acknowledged)
        report.runs = sum(map(len, runs.values()))
        report.lost = sorted(self._acknowledged - set(states))
        report.stuck = sorted(
            job for job, status in states.items() if status not in {"completed", "failed", "cancelled"}
        )
        report.completed_without_a_run = sorted(
            job for job, status in states.items() if status == "completed" and job not in runs
        )
        twice = "SELECT job_id FROM job_logs WHERE status = 'success' GROUP BY job_id HAVING count(*) > 1"
        report.completed_twice = [row[0] for row in rows(self._stores, twice)]
        for job_id, intervals in runs.items():
            self._judge_overlaps(job_id, sorted(intervals))

    def _judge_overlaps(self, job_id: UUID, intervals: list[tuple[float, float, int]]) -> None:
        for (_, end, first_pid), (begin, _, second_pid) in pairwise(intervals):
            if begin >= end:
                continue
            if {first_pid, second_pid} & self._ever_frozen:
                self._report.overlaps_of_frozen_processes += 1  # only the resource itself can fence those
            else:
                self._report.overlapping_runs.append(job_id)


def _handle(payload: Note, context: JobContext) -> None:
    path, behaviour = payload.note.split("|")
    journal = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        _write(journal, "S", context)
        time.sleep(0.002)
        _write(journal, "E", context)
    finally:
        os.close(journal)
    if behaviour == "fails once" and context.job.attempt == 1:
        raise RuntimeError


def _write(journal: int, mark: str, context: JobContext) -> None:
    line = f"{mark} {context.job.id} {context.job.gen} {os.getpid()} {time.monotonic():.6f}\n"
    os.write(journal, line.encode())


def _be(role: str, stores: Stores, bug: str | None, parent: int) -> None:
    """A process of its own: works until it is killed or its parent is gone."""
    if bug is not None:
        queue_mutations.MUTATIONS[bug]()

    def is_orphan() -> bool:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            return True
        return False

    if role == "relay":
        Relay(stores, configuration=SHORT).run(is_orphan)
    elif role == "reaper":
        Reaper(stores, configuration=SHORT).run(is_orphan)
    else:
        Worker(stores, [QUEUE], InlineExecutor(handlers_of(_handle)), configuration=SHORT).run(is_orphan)
