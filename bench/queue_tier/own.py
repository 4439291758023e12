"""Our own queue under the benchmark: enqueue, drain with real processes, latency at a steady rate.

Everything counts: fsync on, Redis with its append-only file, status hashes, success logs.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from statistics import quantiles

import psycopg

from penguinmails.queue.child_processes import ChildProcesses
from penguinmails.queue.executors import Executor, InlineExecutor
from penguinmails.queue.handlers import PING, Handlers
from penguinmails.queue.producer import NewJob, enqueue, enqueue_many
from penguinmails.queue.relay import Relay
from penguinmails.queue.worker import Worker
from penguinmails.stack.stores import Stores

QUEUE = PING.queue_name


def measure(stores: Stores, jobs: int, *, workers: int, in_children: bool) -> dict[str, float]:
    """Returns rates of enqueueing and draining `jobs` empty jobs, and latencies at 100 jobs a second."""
    with psycopg.connect(stores.queue_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_logs, workers")
        began = time.monotonic()
        enqueue_many(connection, (NewJob(QUEUE, {}) for _ in range(jobs)))
        enqueued = time.monotonic() - began
        processes = _start(stores, workers, in_children=in_children)
        try:
            _wait(connection, "SELECT count(*) > 0 FROM workers WHERE kind = 'worker'")
            first = time.monotonic()
            already = _completed(connection)
            _wait(connection, "SELECT NOT EXISTS (SELECT FROM jobs WHERE status <> 'completed')")
            drained = time.monotonic() - first
            latencies = _latencies(connection)
        finally:
            for process in processes:
                process.kill()
                process.join()
    return {
        "enqueue_jobs_per_second": jobs / enqueued,
        "drain_jobs_per_second": (jobs - already) / drained,
        **latencies,
    }


def _start(stores: Stores, workers: int, *, in_children: bool) -> list[BaseProcess]:
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [context.Process(target=_relay, args=(stores, os.getpid()))]
    processes += [context.Process(target=_worker, args=(stores, in_children, os.getpid())) for _ in range(workers)]
    for process in processes:
        process.start()
    return processes


def _relay(stores: Stores, parent: int) -> None:
    Relay(stores).run(lambda: os.getppid() != parent)


def _worker(stores: Stores, in_children: bool, parent: int) -> None:
    handlers = Handlers({QUEUE: PING})
    executor: Executor = ChildProcesses(handlers, slots=1) if in_children else InlineExecutor(handlers)
    Worker(stores, [QUEUE], executor).run(lambda: os.getppid() != parent)


def _latencies(connection: psycopg.Connection) -> dict[str, float]:
    """Milliseconds from commit to start at 100 jobs a second for five seconds."""
    connection.execute("DELETE FROM jobs")
    for _ in range(500):
        enqueue(connection, QUEUE, {})
        time.sleep(0.01)
    _wait(connection, "SELECT NOT EXISTS (SELECT FROM jobs WHERE status <> 'completed')")
    rows = connection.execute("SELECT extract(epoch FROM started - created) * 1000 FROM jobs").fetchall()
    cuts = quantiles([float(row[0]) for row in rows], n=100)
    return {"hand_off_p50_milliseconds": cuts[49], "hand_off_p99_milliseconds": cuts[98]}


def _completed(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM jobs WHERE status = 'completed'").fetchone()
    return int(row[0]) if row else 0


def _wait(connection: psycopg.Connection, question: str) -> None:
    while True:
        row = connection.execute(question.encode()).fetchone()
        if row and row[0]:
            return
        time.sleep(0.02)
