"""The probe: one consistent look at the whole queue, and the history of looks.

Belongs here: reading figures. Does not belong here: what is too much of something (thresholds.py), how it is shown (cli.py,
pipelines/).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from psycopg.rows import dict_row

from penguinmails.queue.connections import Connection, connect
from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.fast_lane import FastLane, FastLaneState
from penguinmails.queue.queues import Band
from penguinmails.queue.reconciler import missing_hand_offs
from penguinmails.stack.clock import Clock, utc_now
from penguinmails.stack.sql import Queries
from penguinmails.stack.stores import Stores

QUERIES = Queries(Path(__file__).parent / "sql" / "probe.sql")
KEEP_PROBES = timedelta(days=90)
_OVERDUE_SECONDS = 60.0
"""A hand-off this long past its lease was missed by every sweep."""


@dataclass(frozen=True)
class LaneSnapshot:
    """One band of one queue.

    Args:
        ready: may run now and wait in PostgreSQL.
        in_redis: messages in the lane's Redis list; None when Redis is away.
        handed_off: what PostgreSQL counts as handed over.
        scheduled: wait for their time.
    """

    queue_name: str
    band: str
    ready: int
    in_redis: int | None
    handed_off: int
    running: int
    scheduled: int
    oldest_ready_seconds: float

    @property
    def waiting(self) -> int:
        """The lane's depth: ready, wherever they wait."""
        return self.ready + (self.handed_off if self.in_redis is None else self.in_redis)


@dataclass(frozen=True)
class QueueEnds:
    """What ended on one queue within five minutes, and how long it had waited and run.

    Args:
        rate: jobs completed a second, of the last 10 seconds.
    """

    queue_name: str
    completed: int
    failed: int
    retried: int
    rate: float
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_p99_seconds: float
    run_p95_seconds: float


@dataclass(frozen=True)
class ProcessSnapshot:
    """One living relay, worker or reaper."""

    id: str
    kind: str
    age_seconds: float
    silent_seconds: float
    slots: int
    busy: int


@dataclass(frozen=True)
class TenantSnapshot:
    """What one tenant has in all queues; the nil id stands for jobs of no tenant."""

    tenant_id: str
    ready: int
    handed_off: int
    running: int
    oldest_ready_seconds: float


def probe_tenants(stores: Stores, *, at_most: int = 20) -> list[TenantSnapshot]:
    """Returns the tenants with the most live jobs.

    Raises:
        ServerError: PostgreSQL does not answer.
    """
    with connect(stores.queue_url) as connection:
        rows = _read(connection, "tenants", {"most": at_most})
    return [TenantSnapshot(**{**row, "tenant_id": str(row["tenant_id"])}) for row in rows]


@dataclass(frozen=True)
class QueueSnapshot:
    """The whole queue at one moment.

    Args:
        redis: None when Redis is away.
        overdue_hand_offs: handed over, long past their lease, and looked for by nobody.
        missing_hand_offs: handed over some time ago and not in Redis; None when Redis is away.
        jobs_inserted: since PostgreSQL's statistics were last reset.
        paused: queues that are not active.
    """

    probed_at: datetime
    lanes: tuple[LaneSnapshot, ...]
    ends: tuple[QueueEnds, ...]
    processes: tuple[ProcessSnapshot, ...]
    paused: tuple[str, ...]
    dead_letters: int
    overdue_hand_offs: int
    reconciler_silent_seconds: float
    oldest_transaction_seconds: float
    dead_rows: int
    jobs_inserted: int
    redis: FastLaneState | None
    missing_hand_offs: int | None

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self.lanes)

    @property
    def running(self) -> int:
        return sum(lane.running for lane in self.lanes)

    @property
    def oldest_ready_seconds(self) -> float:
        """Age of the oldest job that may run, by its time to run; paused queues do not count."""
        active = (lane.oldest_ready_seconds for lane in self.lanes if lane.queue_name not in self.paused)
        return max(active, default=0.0)

    @property
    def completed_5_minutes(self) -> int:
        return sum(each.completed for each in self.ends)

    @property
    def rate(self) -> float:
        """Jobs completed a second, of the last 10 seconds."""
        return sum(each.rate for each in self.ends)

    @property
    def failed_5_minutes(self) -> int:
        """Jobs that became dead letters, not attempts."""
        return sum(each.failed for each in self.ends)

    @property
    def finished_5_minutes(self) -> int:
        return self.completed_5_minutes + self.failed_5_minutes

    @property
    def failure_rate(self) -> float:
        """Dead letters among the finished of five minutes."""
        return self.failed_5_minutes / self.finished_5_minutes if self.finished_5_minutes else 0.0

    def processes_of(self, kind: str) -> int:
        """How many processes of a kind live."""
        return sum(process.kind == kind for process in self.processes)


def probe(stores: Stores, *, clock: Clock = utc_now) -> QueueSnapshot:
    """Looks at the queue; changes nothing. PostgreSQL is read in one snapshot, Redis in one transaction right after.

    Raises:
        ServerError: PostgreSQL does not answer. Without Redis the snapshot says so instead.
    """
    with connect(stores.queue_url) as connection:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            queues = {row["name"]: row["is_active"] for row in _read(connection, "queues")}
            bounds = {"high_until": Band.HIGH.priorities[1], "normal_until": Band.NORMAL.priorities[1]}
            in_postgres = {(row["queue_name"], row["band"]): row for row in _read(connection, "lanes", bounds)}
            ends = [QueueEnds(**row) for row in _read(connection, "recent_ends")]
            totals = _read(connection, "totals", {"overdue_seconds": _OVERDUE_SECONDS})[0]
            found = _read(connection, "processes")
        workers = [row["id"] for row in found if row["kind"] == "worker"]
        redis, missing = _look_at_redis(stores, connection, list(queues), workers)
    processes = [ProcessSnapshot(**{**row, "id": str(row["id"])}) for row in found]
    depths = redis.depths if redis else None
    return QueueSnapshot(
        probed_at=clock(),
        lanes=tuple(_lane(name, band, in_postgres, depths) for name in queues for band in Band),
        ends=tuple(ends),
        processes=tuple(processes),
        paused=tuple(name for name, is_active in queues.items() if not is_active),
        redis=redis,
        missing_hand_offs=missing,
        **totals,
    )


def keep(stores: Stores, snapshot: QueueSnapshot) -> None:
    """Adds a snapshot to the history and ends the history where it is older than `KEEP_PROBES`."""
    with connect(stores.queue_url) as connection, connection.transaction():
        connection.execute(
            QUERIES["keep_probe"],
            {
                "probed_at": snapshot.probed_at,
                "waiting_jobs": snapshot.waiting,
                "running_jobs": snapshot.running,
                "oldest_ready_seconds": snapshot.oldest_ready_seconds,
                "finished_5_minutes": snapshot.finished_5_minutes,
                "failed_5_minutes": snapshot.failed_5_minutes,
                "dead_letters": snapshot.dead_letters,
                "live_workers": snapshot.processes_of("worker"),
                "redis_memory_bytes": snapshot.redis.memory_bytes if snapshot.redis else None,
                "redis_evicted_keys": snapshot.redis.evicted_keys if snapshot.redis else None,
                "snapshot": orjson.dumps(as_document(snapshot)).decode(),
            },
        )
        connection.execute(QUERIES["forget_probes"], {"before": snapshot.probed_at - KEEP_PROBES})


def as_document(snapshot: QueueSnapshot) -> dict[str, Any]:
    """Returns the snapshot as plain JSON values, with the derived figures; lanes and queues without jobs left out."""
    document = asdict(snapshot)
    document["lanes"] = [
        asdict(lane) | {"waiting": lane.waiting}
        for lane in snapshot.lanes
        if lane.waiting or lane.running or lane.scheduled or lane.handed_off
    ]
    if snapshot.redis is not None:
        document["redis"].pop("depths")
    derived = (
        "waiting",
        "running",
        "oldest_ready_seconds",
        "rate",
        "completed_5_minutes",
        "failed_5_minutes",
        "failure_rate",
    )
    return document | {name: getattr(snapshot, name) for name in derived}


def _lane(
    queue_name: str,
    band: Band,
    in_postgres: dict[tuple[str, str], dict[str, Any]],
    in_redis: dict[tuple[str, Band], int] | None,
) -> LaneSnapshot:
    row = in_postgres.get((queue_name, band.value), {})
    return LaneSnapshot(
        queue_name=queue_name,
        band=band.value,
        ready=row.get("ready", 0),
        in_redis=None if in_redis is None else in_redis[queue_name, band],
        handed_off=row.get("handed_off", 0),
        running=row.get("running", 0),
        scheduled=row.get("scheduled", 0),
        oldest_ready_seconds=row.get("oldest_ready_seconds", 0.0),
    )


def _look_at_redis(
    stores: Stores, connection: Connection, queue_names: list[str], workers: list[UUID]
) -> tuple[FastLaneState | None, int | None]:
    """Returns the state of Redis and the drift; neither when it is away."""
    fast_lane = FastLane.open(stores)
    try:
        state = fast_lane.state(queue_names, [str(worker) for worker in workers])
        return state, missing_hand_offs(connection, fast_lane, workers)
    except FastLaneUnavailable:
        return None, None
    finally:
        fast_lane.close()


def _read(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES[name], parameters).fetchall()
