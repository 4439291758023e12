"""Our own queue under measurement, on real processes: what enqueueing, draining, handing off and recovering take.

Everything counts: fsync on, Redis with its append-only file, status hashes, one row of job_logs a job. Belongs here: the
measurements. Does not belong here: servers and printing (measure.py, peers.py).
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import quantiles

import psutil
import psycopg
from pydantic import BaseModel

from penguinmails.queue.child_processes import ChildProcesses
from penguinmails.queue.configuration import DEFAULTS
from penguinmails.queue.executors import Executor, InlineExecutor
from penguinmails.queue.handlers import PING, Handler, Handlers, JobContext
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.queue.reaper import Reaper
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

QUEUE = PING.queue_name
_LONG_SECONDS = 9.0
"""Within the queue's time limit of 10 s."""


_NOTHING_LEFT = """
    SELECT NOT EXISTS (SELECT FROM jobs WHERE status IN ('queued', 'retry_scheduled') AND due)
        AND NOT EXISTS (SELECT FROM jobs WHERE status = 'migrated_to_redis')
        AND NOT EXISTS (SELECT FROM jobs WHERE status = 'running')
"""
"""Asked of the indexes: reading the table for it 20 times a second would take a good part of what is measured."""


class Journalled(BaseModel):
    """Payload of jobs that write down when their handler began."""

    journal: str
    enqueued_at: float = 0.0
    seconds: float = 0.0
    """How long the first attempt takes."""


def drain_rates(stores: Stores, jobs: int, *, workers: int, in_children: bool) -> dict[str, object]:
    """Enqueues `jobs` empty jobs, drains them with one relay and `workers` workers, and says who used the CPU for how long."""
    with _empty_queue(stores) as connection:
        began = time.monotonic()
        enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(jobs)))
        enqueue_seconds = time.monotonic() - began
        with _running(stores, Handlers({QUEUE: PING}), workers=workers, in_children=in_children):
            first, already, cpu_before = time.monotonic(), _completed(connection), _cpu_seconds()
            _wait(connection, _NOTHING_LEFT)
            seconds = time.monotonic() - first
            cpu = _cpu_seconds()
        logged = connection.execute("SELECT count(*) FROM job_logs WHERE status = 'success'").fetchone()
        assert logged == (jobs,), logged
    used = {kind: (cpu[kind] - cpu_before.get(kind, 0.0)) / max(1, jobs - already) * 1e6 for kind in sorted(cpu)}
    return {
        "enqueue_jobs_per_second": jobs / enqueue_seconds,
        "drain_jobs_per_second": (jobs - already) / seconds,
        "cpu_microseconds_per_job": used,
        "cpu_cores_used": sum(cpu[kind] - cpu_before.get(kind, 0.0) for kind in cpu) / seconds,
    }


def hand_off(stores: Stores, folder: Path, *, jobs_per_second: float, seconds: float) -> dict[str, float]:
    """Milliseconds at a steady rate from before the INSERT to the first line of the handler (all commits in between), and from
    the INSERT to the start of the job by PostgreSQL's clock.
    """
    journal = folder / "hand-off"
    journal.touch()
    with (
        _empty_queue(stores) as connection,
        _running(stores, _journalling(), workers=1, in_children=True),
    ):
        _one_job(connection, journal)  # children are started by their first job
        began = time.monotonic()
        for number in range(int(jobs_per_second * seconds)):
            time.sleep(max(0.0, began + number / jobs_per_second - time.monotonic()))
            enqueue(connection, QUEUE, Journalled(journal=str(journal), enqueued_at=time.time()))
        _wait(connection, "SELECT NOT EXISTS (SELECT FROM jobs WHERE status <> 'completed')")
        rows = connection.execute("SELECT extract(epoch FROM started - created) FROM jobs").fetchall()
    to_handler = [began_at - enqueued_at for enqueued_at, began_at in _lines(journal)][1:]
    return {
        **percentiles("to_handler", to_handler),
        **percentiles("to_start", [float(row[0]) for row in rows][1:]),
    }


def recovery(stores: Stores, folder: Path, *, rounds: int) -> dict[str, object]:
    """Seconds from the SIGKILL of a worker with jobs in hand to their next run, with the default times."""
    seconds = []
    for number in range(rounds):
        journal = folder / f"recovery-{number}"
        journal.touch()
        handlers = _journalling()
        with (
            _empty_queue(stores) as connection,
            _running(stores, handlers, workers=1, in_children=True, reaper=True) as (
                *_,
                worker,
            ),
        ):
            payload = {"journal": str(journal), "seconds": _LONG_SECONDS}
            enqueue(connection, QUEUE, payload)
            _until_lines(journal, 1)
            worker.kill()
            killed_at = time.time()
            with _processes([partial(_worker, stores, handlers, in_children=True)]):
                _until_lines(journal, 2)
            seconds.append(_lines(journal)[1][1] - killed_at)
    return {"recovery_seconds": seconds, "lease_seconds": DEFAULTS.lease_seconds}


def _journalling() -> Handlers:
    return Handlers({QUEUE: Handler(QUEUE, Journalled, _write_down)})


def _write_down(payload: Journalled, context: JobContext) -> None:
    with Path(payload.journal).open("a") as journal:
        journal.write(f"{payload.enqueued_at!r} {time.time()!r}\n")
    if context.job.attempt == 1:
        time.sleep(payload.seconds)


def _lines(journal: Path) -> list[tuple[float, float]]:
    return [(float(line.split()[0]), float(line.split()[1])) for line in journal.read_text().splitlines()]


def _until_lines(journal: Path, count: int) -> None:
    end = time.monotonic() + 120
    while len(_lines(journal)) < count:
        assert time.monotonic() < end, f"{journal.name} has no {count} lines after 120 s"
        time.sleep(0.01)


def _one_job(connection: psycopg.Connection, journal: Path) -> None:
    enqueue(connection, QUEUE, Journalled(journal=str(journal)))
    _until_lines(journal, 1)


@contextmanager
def _empty_queue(stores: Stores) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_logs, workers")
        connection.execute("SET enable_seqscan = off")
        yield connection


@contextmanager
def _running(
    stores: Stores, handlers: Handlers, *, workers: int, in_children: bool, reaper: bool = False
) -> Iterator[list[BaseProcess]]:
    """A relay and workers (a reaper too, if wanted), all ready when this begins and killed when it ends."""
    tasks = [partial(_relay, stores)]
    tasks += [partial(_reaper, stores)] if reaper else []
    tasks += [partial(_worker, stores, handlers, in_children=in_children) for _ in range(workers)]
    with _processes(tasks) as processes:
        with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
            _wait(connection, f"SELECT count(*) = {len(tasks)} FROM workers")
        yield processes


@contextmanager
def _processes(tasks: Sequence[partial[None]]) -> Iterator[list[BaseProcess]]:
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [
        context.Process(target=task, args=(os.getpid(),), name=_name(task)) for task in tasks
    ]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def _name(task: partial[None]) -> str:
    return task.func.__name__.strip("_")


def _relay(stores: Stores, parent: int) -> None:
    Relay(stores).run(lambda: os.getppid() != parent)


def _reaper(stores: Stores, parent: int) -> None:
    Reaper(stores).run(lambda: os.getppid() != parent)


def _worker(stores: Stores, handlers: Handlers, parent: int, *, in_children: bool) -> None:
    executor: Executor = ChildProcesses(handlers, slots=1) if in_children else InlineExecutor(handlers)
    Worker(stores, [QUEUE], executor).run(lambda: os.getppid() != parent)


def _cpu_seconds() -> dict[str, float]:
    """CPU seconds so far of the servers, and of this process's children by their task."""
    names = {child.pid: child.name for child in multiprocessing.active_children()}
    seconds: dict[str, float] = {}
    for process in psutil.process_iter(["pid", "name", "ppid", "cpu_times"]):
        name = process.info["name"]
        kind = names.get(process.info["pid"])
        if kind is None and process.info["ppid"] in names:
            kind = "handlers"
        if kind is None and name in {"postgres", "valkey-server", "redis-server"}:
            kind = name
        if kind is not None and process.info["cpu_times"] is not None:
            times = process.info["cpu_times"]
            seconds[kind] = seconds.get(kind, 0.0) + times.user + times.system
    return seconds


def percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Returns median, 99th percentile and maximum in milliseconds."""
    cuts = quantiles(seconds, n=100)
    return {
        f"{name}_p50_milliseconds": cuts[49] * 1000,
        f"{name}_p99_milliseconds": cuts[98] * 1000,
        f"{name}_worst_milliseconds": max(seconds) * 1000,
    }


def _completed(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM jobs WHERE status = 'completed'").fetchone()
    return int(row[0]) if row else 0


def _wait(connection: psycopg.Connection, question: str) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        row = connection.execute(question.encode()).fetchone()
        if row and row[0]:
            return
        time.sleep(0.05)
    raise TimeoutError(f"not so after 300 s: {question}")
