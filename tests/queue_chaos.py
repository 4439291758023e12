"""Chaos on real processes: relays, workers and reapers killed, frozen, cut off; Redis flushed, frozen, killed, fed with doubles
and with messages of long ago; PostgreSQL's sessions ended, its processes killed.

Every handler run is written to a journal (start and end, on the machine's one monotonic clock), PostgreSQL itself takes down what
must never happen to a row, and at the end the journal, both stores and the list of acknowledged jobs have to agree
(queue_journal.py). The seed decides which fault comes when.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
import queue_mutations
import redis
from queue_journal import ChaosReport, judge, read_journal, watch
from queue_support import QUEUE, SHORT, Note, handlers_of, rows

from penguinmails.queue.child_processes import ChildProcesses
from penguinmails.queue.executors import Executor, InlineExecutor
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
POOL = "pool"
"""A worker whose handlers run in child processes, as in production; only in long runs, because children take long to start."""
_QUIET_SECONDS = 60.0
_MOST_REMEMBERED = 500
_PRELOAD = ["pytest", *(f"penguinmails.queue.{name}" for name in ("worker", "relay", "reaper", "executors"))]
"""Imported once for all processes; this module itself is out of the fork server's reach."""


class Chaos:
    """One run on stores of its own; the Redis of `servers` is killed, frozen and started again.

    Args:
        owns_postgres: its PostgreSQL serves nobody else, so that its processes may be killed too.
        most_at_once: jobs enqueued between two faults, at most.
    """

    def __init__(
        self,
        stores: Stores,
        servers: embedded.Embedded,
        folder: Path,
        *,
        seed: int,
        bug: str | None = None,
        owns_postgres: bool = False,
        most_at_once: int = 30,
    ) -> None:
        self._stores = stores
        self._servers = servers
        self._journal = folder / f"journal-{seed}"
        self._journal.touch()
        self._random = Random(seed)
        self._bug = bug
        self._owns_postgres = owns_postgres
        self._most_at_once = most_at_once
        self._report = ChaosReport(seed, bug)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._processes: dict[str, list[BaseProcess]] = {}
        self._ended_at: dict[int, float] = {}
        self._frozen: dict[int, float] = {}
        self._ever_frozen: set[int] = set()
        self._acknowledged: set[UUID] = set()
        self._old_messages: list[bytes] = []
        self._ended_by_themselves: list[str] = []

    def run(self, seconds: float, *, progress: Callable[[ChaosReport], None] = lambda _: None) -> ChaosReport:
        """Causes faults for `seconds`, lets everything recover, and judges.

        Args:
            progress: told once a minute how far it is.
        """
        watch(self._stores)
        try:
            for role, count in ROLES.items():
                self._processes[role] = [self._start(role) for _ in range(count)]
            self._calm_phase()
            if self._owns_postgres:
                self._processes[POOL] = [self._start(POOL)]
            end = time.monotonic() + seconds
            told_at = time.monotonic()
            while time.monotonic() < end:
                self._enqueue(self._random.randint(1, self._most_at_once))
                time.sleep(self._random.uniform(0.01, 0.08))
                self._fault()
                self._look_after_processes()
                if time.monotonic() - told_at > 60:
                    told_at = time.monotonic()
                    self._report.acknowledged = len(self._acknowledged)
                    progress(self._report)
            self._recover()
        finally:
            self._end_processes()
        self._report.violated("ended_by_themselves", self._ended_by_themselves)
        runs = read_journal(self._journal, self._ended_at)
        judge(self._report, self._stores, self._acknowledged, runs, self._ever_frozen)
        return self._report

    def _calm_phase(self) -> None:
        """Without a fault every job runs exactly once, and no message is found stale or missing."""
        end = time.monotonic() + _QUIET_SECONDS
        while not rows(self._stores, "SELECT epoch FROM queue_fast_lane"):
            assert time.monotonic() < end, "no reaper has begun"
            time.sleep(0.02)
        self._enqueue(200, behaviours=("fine",))
        self._wait_until_all_ended()
        runs = read_journal(self._journal, {})
        self._report.violated("run_again_without_fault", [job for job, found in runs.items() if len(found) > 1])
        again = rows(self._stores, "SELECT id FROM jobs WHERE gen > 1")
        self._report.violated("lost_on_the_way_without_fault", [row[0] for row in again])

    def _fault(self) -> None:
        faults: dict[str, tuple[float, Callable[[], None]]] = {
            "none": (30, lambda: None),
            "kill_worker": (8, lambda: self._kill("worker")),
            "kill_relay": (5, lambda: self._kill("relay")),
            "kill_reaper": (3, lambda: self._kill("reaper")),
            "freeze_worker": (8, lambda: self._freeze("worker")),
            "freeze_relay": (2, lambda: self._freeze("relay")),
            "freeze_reaper": (2, lambda: self._freeze("reaper")),
            "flush_redis": (3, self._flush),
            "freeze_redis": (1, self._freeze_redis),
            "kill_redis": (1, self._kill_redis),
            "double_messages": (20, self._double),
            "old_messages": (6, self._repeat_old),
            "end_sessions": (3, self._end_sessions),
        }
        if self._owns_postgres:
            faults["kill_postgres_process"] = (0.3, self._kill_postgres_process)
            faults["kill_pool"] = (0.7, lambda: self._kill(POOL))
            faults["freeze_pool"] = (0.7, lambda: self._freeze(POOL))
        name = self._random.choices(list(faults), [weight for weight, _ in faults.values()])[0]
        with suppress(redis.RedisError, psycopg.OperationalError):  # the one before may still be felt
            faults[name][1]()
            self._report.faults[name] = self._report.faults.get(name, 0) + 1
        self._thaw(after_seconds=self._random.uniform(0.9, 1.4) * SHORT.lease_seconds)

    def _kill(self, role: str) -> None:
        position = self._random.randrange(len(self._processes[role]))
        self._bury(self._processes[role][position])
        self._processes[role][position] = self._start(role)

    def _bury(self, process: BaseProcess) -> None:
        if process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.join(_QUIET_SECONDS)
            self._ended_at[process.pid] = time.monotonic()
            self._frozen.pop(process.pid, None)

    def _freeze(self, role: str) -> None:
        pid = self._random.choice(self._processes[role]).pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._frozen.setdefault(pid, time.monotonic())
                self._ever_frozen.add(pid)

    def _thaw(self, *, after_seconds: float) -> None:
        for pid, since in list(self._frozen.items()):
            if time.monotonic() - since >= after_seconds:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                del self._frozen[pid]

    def _look_after_processes(self) -> None:
        """Nothing but us ends a process: one that does so by itself has met what it was not made for."""
        for role, processes in self._processes.items():
            for position, process in enumerate(processes):
                if process.exitcode is not None:
                    self._ended_by_themselves.append(f"{role}: exit code {process.exitcode}")
                    self._bury(process)
                    processes[position] = self._start(role)

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
                self._remember(messages)
        for key in client.scan_iter("processing:*"):
            messages = client.lrange(key, 0, 50)
            if messages:
                client.rpush(list_key(QUEUE, Band.NORMAL), *messages)
                self._remember(messages)
        client.close()

    def _remember(self, messages: Sequence[bytes]) -> None:
        self._old_messages += messages
        self._random.shuffle(self._old_messages)
        del self._old_messages[_MOST_REMEMBERED:]

    def _repeat_old(self) -> None:
        """What a Redis that was restored from an old copy would give out again."""
        if self._old_messages:
            client = self._stores.open_redis()
            client.rpush(list_key(QUEUE, Band.HIGH), *self._old_messages[:50])
            client.close()

    def _end_sessions(self) -> None:
        rows(
            self._stores,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 3",
        )

    def _kill_postgres_process(self) -> None:
        """PostgreSQL then ends every session, and recovers as after a crash."""
        sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        found = sorted(row[0] for row in rows(self._stores, sessions))
        if found:
            os.kill(self._random.choice(found), signal.SIGKILL)

    def _kill_redis(self) -> None:
        process = self._servers.valkey.process()
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            end = time.monotonic() + _QUIET_SECONDS
            while process.is_alive():
                assert time.monotonic() < end, "Redis survived SIGKILL"
                time.sleep(0.01)
        embedded.ensure(self._servers.home, postgres=False, valkey=True, s3=False)

    def _freeze_redis(self) -> None:
        process = self._servers.valkey.process()
        if process is not None:
            os.kill(process.pid, signal.SIGSTOP)
            try:
                time.sleep(self._random.uniform(0.1, 1.2) * SHORT.lease_seconds)
            finally:
                os.kill(process.pid, signal.SIGCONT)

    def _enqueue(self, count: int, behaviours: Sequence[str] = (*["fine"] * 9, "fails once")) -> None:
        """What was not acknowledged may be there or not."""
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
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self._stores.queue_url.get_secret_value(), autocommit=True) as connection,
        ):
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
            with suppress(psycopg.OperationalError):
                rows(self._stores, "UPDATE jobs SET run_at = now() WHERE status = 'retry_scheduled' AND NOT due")
                now = rows(
                    self._stores, "SELECT count(*) FROM jobs WHERE status NOT IN ('completed', 'failed', 'cancelled')"
                )[0][0]
                if now == 0:
                    return
                if now != left:
                    left, since = now, time.monotonic()
            self._look_after_processes()
            time.sleep(0.05)

    def _start(self, role: str) -> BaseProcess:
        process = self._context.Process(
            target=_be,
            args=(role, self._stores, self._bug, os.getpid()),
            daemon=role != POOL,  # a daemon may have no children
        )
        process.start()
        return process

    def _end_processes(self) -> None:
        for process in [each for role in self._processes.values() for each in role]:
            self._bury(process)


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
        handlers = handlers_of(_handle)
        executor: Executor = ChildProcesses(handlers, slots=2) if role == POOL else InlineExecutor(handlers)
        Worker(stores, [QUEUE], executor, configuration=SHORT).run(is_orphan)
