"""Dagster's instance beside the platform's data: its folder, its storage, and runs whose process was killed.

Belongs here: where the instance lives and how it is opened. Does not belong here: its policies (dagster.yaml).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import yaml
from psycopg import sql

from penguinmails.stack.stores import Stores

if TYPE_CHECKING:
    import dagster as dg

STORAGE_VARIABLE = "PENGUINMAILS_DAGSTER_STORAGE_URL"
PROCESS_TAG = "penguinmails/process"
MARTS_POOL = "marts_build"
"""The pool of what writes the marts' build file: one at a time. The tier's own lock makes sure even without Dagster."""
_STATEMENT_MS = 60_000
_RECYCLE_SECONDS = 3_600
_POLICIES = Path(__file__).with_name("dagster.yaml")
_ADVISORY_LOCK = 7_364_285_190_002
"""Any number, the same for every process: only one makes Dagster's tables."""
_BEING_MADE = "penguinmails_tables_being_made"
"""A table that is there while Dagster makes its own, which it does in many transactions."""


def prepare(stores: Stores) -> dict[str, str]:
    """Writes the instance's dagster.yaml and returns the environment its processes need.

    The URL itself stays in the environment, so that no file but the credentials' own holds a password.
    """
    folder = stores.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = yaml.safe_load(_POLICIES.read_text()) | {
        "storage": {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}},
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(folder / "logs")},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(folder / "artifacts")},
        },
    }
    unfinished = folder / f"dagster.yaml.{os.getpid()}"
    unfinished.write_text(yaml.safe_dump(configuration))
    unfinished.replace(folder / "dagster.yaml")
    return {
        "DAGSTER_HOME": str(folder),
        "PENGUINMAILS_HOME": str(stores.home),
        # dagster-postgres speaks psycopg2's dialect, SQLAlchemy 2.1 takes psycopg 3 unless told.
        # Written one at a time, the events of a run over many days take longer than its work.
        "DAGSTER_EVENT_BATCH_SIZE": "500",
        STORAGE_VARIABLE: "postgresql+psycopg2://" + stores.dagster_url.get_secret_value().split("://", 1)[1],
    }


@contextmanager
def open_instance(stores: Stores) -> Iterator[dg.DagsterInstance]:
    """Opens the instance; its tables are made by one process at a time, and made anew when that was killed half-way."""
    import dagster as dg

    os.environ.update(prepare(stores))
    with _making_tables(stores):
        instance = dg.DagsterInstance.get()
        instance.get_run_records(limit=1)  # opens every storage, which makes its tables
        # Two first runs that make a pool at the same moment: in PostgreSQL, Dagster's second one fails.
        storage = instance.event_log_storage
        if MARTS_POOL not in storage.get_concurrency_keys():
            storage.initialize_concurrency_limit_to_default(MARTS_POOL)
    # Otherwise Dagster opens a connection for every statement: some 900 in one run, a third of its time.
    instance.optimize_for_webserver(statement_timeout=_STATEMENT_MS, pool_recycle=_RECYCLE_SECONDS, max_overflow=10)
    with instance:
        yield instance


@contextmanager
def _making_tables(stores: Stores) -> Iterator[None]:
    """Lets the block make Dagster's tables, alone; what a killed process began to make goes first.

    Only tables in a database that had none are ever dropped, and none once a run was recorded.
    """
    with psycopg.connect(stores.dagster_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        tables = _tables(connection)
        if _BEING_MADE in tables and not _holds_runs(connection, tables):
            connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.SQL(", ").join(map(sql.Identifier, tables))))
            tables = []
        if not tables:
            connection.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(_BEING_MADE)))
        yield
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(_BEING_MADE)))


def _holds_runs(connection: psycopg.Connection, tables: list[str]) -> bool:
    return "runs" in tables and connection.execute("SELECT FROM runs LIMIT 1").fetchone() is not None


def _tables(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


def close_runs_of_killed_processes(instance: dg.DagsterInstance) -> int:
    """Marks as failed the runs of `penguinmails run` whose process is gone; returns how many there were.

    Their places in pools go too: without a daemon nobody else frees them, and the next run would wait for ever.
    """
    import dagster as dg

    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    closed = 0
    for run in instance.get_runs(filters=started):
        process = run.tags.get(PROCESS_TAG)
        if process is not None and not _is_alive(process):
            instance.report_run_failed(run, "The process of this run was killed. Run it again: nothing is done twice.")
            closed += 1
    _free_places_of_ended_runs(instance)
    return closed


def _free_places_of_ended_runs(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        held = storage.get_concurrency_info(pool)
        for run_id in held.active_run_ids | held.pending_run_ids | held.assigned_run_ids:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


def this_process() -> str:
    """Returns a text that names this process for ever, for `PROCESS_TAG`."""
    return f"{os.getpid()}@{psutil.Process().create_time():.2f}"


def _is_alive(process: str) -> bool:
    pid, started = process.split("@")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1.0
    except psutil.NoSuchProcess:
        return False
