"""The reaper: takes back what dead processes held. One is active at a time; a second waits its turn.

First a process is marked dead under its row's lock, then its jobs are taken back; never "read, then reclaim". The rest of a
sweep is the reconciler's (reconciler.py).

Belongs here: sweeps. Does not belong here: deciding about jobs one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg

from penguinmails.queue.configuration import DEFAULTS, Configuration
from penguinmails.queue.connections import Connection, open_protocol_connection
from penguinmails.queue.errors import FastLaneUnavailable
from penguinmails.queue.fast_lane import FastLane
from penguinmails.queue.leases import QUERIES as LEASES
from penguinmails.queue.leases import Lease
from penguinmails.queue.outages import Outage
from penguinmails.queue.reconciler import QUERIES, mirror_dead_letters, notice_another_redis, reconcile
from penguinmails.queue.relay import put_back
from penguinmails.stack.errors import ServerError
from penguinmails.stack.stores import Stores

_KEEP_DEAD_SECONDS = 3_600
_RECONNECT_SECONDS = 0.5


@dataclass
class Sweep:
    """What one sweep found."""

    processes_died: int = 0
    jobs_reclaimed: int = 0
    jobs_buried: int = 0
    runs_overdue: int = 0
    """Of these, taken from living processes."""
    jobs_poisoned: int = 0
    """Of these, dead letters because processes died with them."""
    hand_offs_lost: int = 0
    redis_changed: bool = False

    @property
    def jobs_moved(self) -> int:
        return self.jobs_reclaimed + self.jobs_buried + self.hand_offs_lost


@dataclass
class ReaperCounts:
    """What this reaper has found since it was made."""

    processes_died: int = 0
    jobs_reclaimed: int = 0
    jobs_buried: int = 0
    runs_overdue: int = 0
    jobs_poisoned: int = 0
    hand_offs_lost: int = 0
    redis_changes: int = 0

    def add(self, sweep: Sweep) -> None:
        self.processes_died += sweep.processes_died
        self.jobs_reclaimed += sweep.jobs_reclaimed
        self.jobs_buried += sweep.jobs_buried
        self.runs_overdue += sweep.runs_overdue
        self.jobs_poisoned += sweep.jobs_poisoned
        self.hand_offs_lost += sweep.hand_offs_lost
        self.redis_changes += sweep.redis_changed


class Reaper:
    """One reaper. `step` is one sweep; `run` sweeps until told to stop."""

    def __init__(self, stores: Stores, *, configuration: Configuration = DEFAULTS) -> None:
        self.counts = ReaperCounts()
        self._stores = stores
        self._configuration = configuration
        self._fast_lane = FastLane.open(stores)
        self._connection: Connection | None = None
        self._is_active = False
        self._mirrored_until: datetime | None = None

    def run(self, stop: Callable[[], bool]) -> None:
        """Sweeps until `stop` says so; waits while another reaper is at work."""
        lease: Lease | None = None
        outage = Outage("reaper", "PostgreSQL")
        try:
            while not stop():
                try:
                    lease = lease or Lease(self._stores.queue_url, "reaper", self._configuration, begins_anew=True)
                    if self._take_turn():
                        self.step()
                    outage.ended()
                except (psycopg.OperationalError, ServerError) as error:
                    outage.began(error)
                    self._disconnect()
                    time.sleep(_RECONNECT_SECONDS)
                    continue
                time.sleep(self._configuration.sweep_seconds)
        finally:
            if lease is not None:
                lease.close()
            self.close()

    def step(self) -> Sweep:
        """One sweep. Safe at any time, beside any other.

        Raises:
            ServerError, psycopg.OperationalError: PostgreSQL is away; try again later.
        """
        connection = self._ready_connection()
        sweep = Sweep()
        sweep.processes_died = connection.execute(LEASES["mark_dead"]).rowcount
        self._reclaim(connection, sweep)
        dead = [row[0] for row in connection.execute(LEASES["dead_workers"])]
        try:
            sweep.redis_changed = notice_another_redis(connection, self._fast_lane)
            sweep.hand_offs_lost += self._clear_lists_of_dead(connection, dead)
            since = None if sweep.redis_changed else self._mirrored_until
            self._mirrored_until = mirror_dead_letters(connection, self._fast_lane, since)
        except FastLaneUnavailable:
            pass  # looked at again in the next sweep; overdue hand-offs are put back below
        living = [row[0] for row in connection.execute(LEASES["living_workers"])]
        sweep.hand_offs_lost += reconcile(connection, self._fast_lane, self._configuration, living)
        connection.execute(LEASES["forget_dead"], {"keep_seconds": _KEEP_DEAD_SECONDS})
        self.counts.add(sweep)
        return sweep

    def close(self) -> None:
        self._disconnect()
        self._fast_lane.close()

    def _reclaim(self, connection: Connection, sweep: Sweep) -> None:
        batch = self._configuration.batch
        while True:
            rows = connection.execute(
                QUERIES["reclaim"], {"batch": batch, "crash_limit": self._configuration.crash_limit}
            ).fetchall()
            sweep.jobs_buried += sum(is_final for _, is_final, _ in rows)
            sweep.jobs_reclaimed += sum(not is_final for _, is_final, _ in rows)
            sweep.runs_overdue += sum(not worker_died for _, _, worker_died in rows)
            sweep.jobs_poisoned += sum(is_final and worker_died for _, is_final, worker_died in rows)
            if len(rows) < batch:
                return

    def _clear_lists_of_dead(self, connection: Connection, dead: list[UUID]) -> int:
        """Puts back at once what the dead had reserved and not started."""
        lost = 0
        for worker_id in dead:
            tickets = self._fast_lane.tickets_reserved([worker_id])
            if tickets:
                lost += put_back(connection, sorted(tickets))
                self._fast_lane.clear_reserved(worker_id)
        return lost

    def _take_turn(self) -> bool:
        """True for the active reaper, and for any other while that one is silent: two sweeps at once do no harm."""
        connection = self._ready_connection()
        if not self._is_active:
            row = connection.execute(QUERIES["only_one_reaper"]).fetchone()
            self._is_active = bool(row and row[0])
        if self._is_active:
            return True
        row = connection.execute(QUERIES["reaper_is_silent"], {"seconds": self._configuration.lease_seconds}).fetchone()
        return bool(row and row[0])

    def _ready_connection(self) -> Connection:
        self._connection = self._connection or open_protocol_connection(self._stores.queue_url)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._is_active = False
